"""Write, with ROOT, small RNTuples with layouts that uproot can't write: golden files of the tests.

    python scripts/make_rntuples.py FOLDER    (a Python with ROOT 6.40; as in test_interop.sh)

`records` has jets as records, with projected fields; `types` a field of nearly every type, of which some columns begin
late; `nanoaod` is made from NanoAOD by ROOT's RNTupleImporter; `physlite` has the names and types of PHYSLITE;
`quantized` has Real32Quant columns, as have jets of `steps`, those of `cut` have Real32Trunc ones; jets of `edm4hep`
have momenta and arrays of fixed size in their records, and E beside m.
"""

import sys
from pathlib import Path

CODE = r"""
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>
#include <TRandom3.h>

using namespace ROOT;
using Model = std::unique_ptr<RNTupleModel>;

struct Four { float pt, eta, phi, m; };
struct Numbered { int number; };
struct AnyJet : public Numbered {
    float pt, eta, phi, mass;
    short constituents;
    bool good;
    double btag;
    std::vector<float> weights;
    std::string tagger;
};
struct Vertex { float x, y; };
struct Track { Four p4; Vertex vertex; int charge; };
struct Nothing {};
struct Link { std::uint32_t key, index; };
enum class Kind : int { one, two, three };

TRandom3& dice() { static TRandom3 numbers(1); return numbers; }

Four some_jet() {
    const float pt = 20 + dice().Exp(50);
    const float eta = dice().Gaus(0, 1.5), phi = dice().Uniform(-3.1, 3.1);
    return {pt, eta, phi, float(pt * dice().Uniform(.05, .2))};
}

std::unique_ptr<RNTupleWriter> writer(Model model, const std::string& path) {
    RNTupleWriteOptions options;
    options.SetCompression(505);
    return RNTupleWriter::Recreate(std::move(model), "Events", path, options);
}

void project(RNTupleModel& model, const char* name, const char* type, std::map<std::string, std::string> sources) {
    auto field = RFieldBase::Create(name, type).Unwrap();
    model.AddProjectedField(std::move(field), [=](const std::string& part) { return sources.at(part); });
}

std::unique_ptr<RFieldBase> untyped(const char* name, std::vector<std::string> floats) {
    std::vector<std::unique_ptr<RFieldBase>> members;
    for (const auto& member : floats) members.emplace_back(std::make_unique<RField<float>>(member));
    return RVectorField::CreateUntyped(name, std::make_unique<RRecordField>("_0", std::move(members)));
}

// Entries and clusters are few: each page has bytes of its own.
constexpr int entries = 30, per_cluster = 12;

void records(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto jets = model->MakeField<std::vector<AnyJet>>("Jet");
    auto lead = model->MakeField<Four>("leadjet");
    auto tracks = model->MakeField<std::vector<Track>>("trackjets");
    auto event = model->MakeField<std::uint64_t>("event");
    model->AddField(untyped("FatJet", {"pt", "eta", "phi", "mass", "area"}));
    project(*model, "nJet", "ROOT::RNTupleCardinality<std::uint32_t>", {{"nJet", "Jet"}});
    project(*model, "Jet_pt", "ROOT::VecOps::RVec<float>", {{"Jet_pt", "Jet"}, {"Jet_pt._0", "Jet._0.pt"}});
    project(*model, "number", "std::uint64_t", {{"number", "event"}});
    auto out = writer(std::move(model), path);
    auto entry = out->CreateEntry();
    auto fat = entry->GetPtr<void>("FatJet");
    entry->BindRawPtr("Jet", jets.get());
    entry->BindRawPtr("leadjet", lead.get());
    entry->BindRawPtr("trackjets", tracks.get());
    entry->BindRawPtr("event", event.get());
    for (int i = 0; i < entries; ++i) {
        jets->clear();
        tracks->clear();
        auto& fats = *static_cast<std::vector<std::array<float, 5>>*>(fat.get());
        fats.clear();
        for (int j = 0; j < (i * 7) % 5; ++j) {
            const auto four = some_jet();
            AnyJet jet;
            std::tie(jet.pt, jet.eta, jet.phi, jet.mass) = std::tie(four.pt, four.eta, four.phi, four.m);
            jet.number = 10 * i + j;
            jet.constituents = j + 3;
            jet.good = j % 2;
            jet.btag = dice().Rndm();
            jet.weights.assign(j, i);
            jet.tagger = std::string(j, 'b');
            jets->push_back(jet);
            tracks->push_back({some_jet(), {float(i), float(j)}, j - 1});
            fats.push_back({4 * four.pt, four.eta, four.phi, four.m, 1.f + j});
        }
        *lead = some_jet();
        *event = (1ull << 40) + i;
        out->Fill(*entry);
        if (i % per_cluster == per_cluster - 1) out->CommitCluster();
    }
}

void types(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto jets = model->MakeField<std::vector<Four>>("jets");
    auto text = model->MakeField<std::string>("text");
    auto texts = model->MakeField<std::vector<std::string>>("texts");
    auto array = model->MakeField<std::array<float, 3>>("array");
    auto arrays = model->MakeField<std::vector<std::array<int, 2>>>("arrays");
    auto flag = model->MakeField<bool>("flag");
    auto flags = model->MakeField<std::vector<bool>>("flags");
    auto maybe = model->MakeField<std::optional<float>>("maybe");
    auto maybes = model->MakeField<std::vector<std::optional<int>>>("maybes");
    auto either = model->MakeField<std::variant<int, float>>("either");
    auto nested = model->MakeField<std::vector<std::vector<float>>>("nested");
    auto pair = model->MakeField<std::pair<int, float>>("pair");
    auto map = model->MakeField<std::map<std::string, int>>("map");
    auto set = model->MakeField<std::set<int>>("set");
    auto letter = model->MakeField<char>("letter");
    auto kind = model->MakeField<Kind>("kind");
    auto bits = model->MakeField<std::bitset<10>>("bits");
    auto pointer = model->MakeField<std::unique_ptr<float>>("pointer");
    auto several = model->MakeField<std::array<Vertex, 2>>("several");
    auto nothing = model->MakeField<Nothing>("nothing");
    model->AddField(std::make_unique<RStreamerField>("streamed", "Vertex"));
    auto half = std::make_unique<RField<float>>("half");
    half->SetHalfPrecision();
    model->AddField(std::move(half));
    auto halves = std::make_unique<RField<std::vector<float>>>("halves");
    static_cast<RField<float>*>(halves->GetMutableSubfields()[0])->SetHalfPrecision();
    model->AddField(std::move(halves));
    auto cut = std::make_unique<RField<float>>("cut");
    cut->SetTruncated(20);
    model->AddField(std::move(cut));
    auto less = std::make_unique<RField<double>>("less");
    less->SetColumnRepresentatives({{ENTupleColumnType::kReal32}});
    model->AddField(std::move(less));
    const auto at = [&](const char* name) { return model->GetDefaultEntry().GetPtr<float>(name); };
    auto half_value = at("half"), cut_value = at("cut");
    auto halves_value = model->GetDefaultEntry().GetPtr<std::vector<float>>("halves");
    auto less_value = model->GetDefaultEntry().GetPtr<double>("less");
    auto out = writer(std::move(model), path);
    std::shared_ptr<float> late;
    std::shared_ptr<std::vector<float>> lates;
    std::shared_ptr<std::optional<int>> late_maybe;
    for (int i = 0; i < entries; ++i) {
        if (i == per_cluster + 3) {
            auto updater = out->CreateModelUpdater();
            updater->BeginUpdate();
            late = updater->MakeField<float>("late");
            lates = updater->MakeField<std::vector<float>>("lates");
            late_maybe = updater->MakeField<std::optional<int>>("late_maybe");
            updater->CommitUpdate();
        }
        jets->clear();
        for (int j = 0; j < i % 4; ++j) jets->push_back(some_jet());
        *text = std::string(i % 5, 'x');
        texts->assign(i % 3, *text);
        *array = {1.f * i, 2, 3};
        arrays->assign(i % 3, std::array<int, 2>{i, -i});
        *flag = i % 3 == 0;
        flags->assign(i % 4, i % 2);
        *maybe = i % 3 ? std::optional<float>(i * .5f) : std::nullopt;
        maybes->assign(i % 4, i % 2 ? std::optional<int>(i) : std::nullopt);
        if (i % 2) *either = i; else *either = i * .25f;
        nested->assign(i % 3, std::vector<float>(i % 2, i));
        *pair = {i, i * 2.f};
        *map = {{*text, i}};
        *set = {i, i + 1};
        *letter = 'a' + i % 26;
        *kind = Kind(i % 3);
        *bits = i;
        pointer->reset(i % 2 ? new float(i) : nullptr);
        *several = {Vertex{1.f * i, 1}, Vertex{2.f * i, 2}};
        *half_value = i * .5;
        halves_value->assign(i % 3, i * .5);
        *cut_value = i * .1;
        *less_value = float(i * .3);
        if (late) {
            *late = i;
            lates->assign(i % 3, i);
            *late_maybe = i % 2 ? std::optional<int>(i) : std::nullopt;
        }
        out->Fill();
        if (i % per_cluster == per_cluster - 1) out->CommitCluster();
    }
}

void nanoaod(const std::string& path) {
    auto model = RNTupleModel::Create();
    const std::vector<std::string> members = {"Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_area"};
    auto met = model->MakeField<float>("MET_pt");
    model->AddField(untyped("_collection0", members));
    for (const auto& name : members)
        project(*model, name.c_str(), "ROOT::VecOps::RVec<float>",
                {{name, "_collection0"}, {name + "._0", "_collection0._0." + name}});
    project(*model, "nJet", "ROOT::RNTupleCardinality<std::uint32_t>", {{"nJet", "_collection0"}});
    auto out = writer(std::move(model), path);
    auto entry = out->CreateEntry();
    auto jets = entry->GetPtr<void>("_collection0");
    entry->BindRawPtr("MET_pt", met.get());
    for (int i = 0; i < entries; ++i) {
        auto& all = *static_cast<std::vector<std::array<float, 5>>*>(jets.get());
        all.clear();
        for (int j = 0; j < (i * 7) % 5; ++j) {
            const auto jet = some_jet();
            all.push_back({jet.pt, jet.eta, jet.phi, jet.m, .5f + j});
        }
        *met = dice().Exp(30);
        out->Fill(*entry);
    }
}

void physlite(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto number = model->MakeField<std::uint64_t>("index_ref");
    model->MakeField<Nothing>("AnalysisJets");
    std::vector<std::shared_ptr<std::vector<float>>> four;
    for (const auto* v : {"pt", "eta", "phi", "m"})
        four.push_back(model->MakeField<std::vector<float>>(std::string("AnalysisJetsAuxDyn:") + v));
    auto tracks = model->MakeField<std::vector<std::vector<int>>>("AnalysisJetsAuxDyn:NumTrkPt500");
    auto links = model->MakeField<std::vector<std::vector<Link>>>("AnalysisJetsAuxDyn:GhostTrack");
    auto link = model->MakeField<std::vector<Link>>("AnalysisJetsAuxDyn:btaggingLink");
    auto jvt = model->MakeField<std::vector<char>>("AnalysisJetsAuxDyn:NNJvtPass");
    auto muons = model->MakeField<std::vector<float>>("AnalysisMuonsAuxDyn:pt");
    auto out = writer(std::move(model), path);
    for (int i = 0; i < entries; ++i) {
        for (auto& values : four) values->clear();
        const int n = (i * 7) % 5;
        for (int j = 0; j < n; ++j) {
            const auto jet = some_jet();
            const float values[] = {1000 * jet.pt, jet.eta, jet.phi, 1000 * jet.m};
            for (int v = 0; v < 4; ++v) four[v]->push_back(values[v]);
        }
        *number = i;
        tracks->assign(n, std::vector<int>(i % 3, i));
        links->assign(n, std::vector<Link>(i % 3, Link{77, std::uint32_t(i)}));
        link->assign(n, Link{78, std::uint32_t(i)});
        jvt->assign(n, i % 2);
        muons->assign(i % 3, 1e4 + i);
        out->Fill();
    }
}

template <typename T>
std::unique_ptr<RField<T>> steps(const char* name, int bits) {
    auto field = std::make_unique<RField<T>>(name);
    field->SetQuantized(-10, 20, bits);
    return field;
}

void quantized(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto jets = model->MakeField<std::vector<Four>>("jets");
    model->AddField(steps<double>("few", 7));
    model->AddField(steps<double>("all", 32));
    model->AddField(steps<float>("single", 29));
    model->AddField(std::make_unique<RVectorField>("list", steps<double>("_0", 20)));
    auto cut = std::make_unique<RField<double>>("cut");
    cut->SetTruncated(17);
    model->AddField(std::move(cut));
    const auto at = [&](const char* name) { return model->GetDefaultEntry().GetPtr<double>(name); };
    std::vector<std::shared_ptr<double>> doubles = {at("few"), at("all"), at("cut")};
    auto single = model->GetDefaultEntry().GetPtr<float>("single");
    auto list = std::static_pointer_cast<std::vector<double>>(model->GetDefaultEntry().GetPtr<void>("list"));
    auto out = writer(std::move(model), path);
    for (int i = 0; i < entries; ++i) {
        if (i == per_cluster + 3) {
            auto updater = out->CreateModelUpdater();
            updater->BeginUpdate();
            updater->AddField(steps<double>("late", 20));
            updater->CommitUpdate();
        }
        jets->assign(i % 3, some_jet());
        for (auto& value : doubles) *value = i / 7. - 2;
        *single = i / 7. - 2;
        list->assign(i % 3, i / 7. - 2);
        out->Fill();
        if (i % per_cluster == per_cluster - 1) out->CommitCluster();
    }
}

using List = std::shared_ptr<std::vector<float>>;

List add_cut(RNTupleModel& model, const char* name, int bits) {
    auto field = std::make_unique<RField<float>>("_0");
    field->SetTruncated(bits);
    model.AddField(std::make_unique<RVectorField>(name, std::move(field)));
    return std::static_pointer_cast<std::vector<float>>(model.GetDefaultEntry().GetPtr<void>(name));
}

List add_steps(RNTupleModel& model, const char* name, int bits, double low, double high) {
    auto field = std::make_unique<RField<float>>("_0");
    field->SetQuantized(low, high, bits);
    model.AddField(std::make_unique<RVectorField>(name, std::move(field)));
    return std::static_pointer_cast<std::vector<float>>(model.GetDefaultEntry().GetPtr<void>(name));
}

void fill(Model model, const std::string& path, List pt, List eta, List phi, List mass) {
    auto out = writer(std::move(model), path);
    for (int i = 0; i < entries; ++i) {
        for (auto* list : {&*pt, &*eta, &*phi, &*mass}) list->clear();
        for (int j = 0; j < 1 + i % 3; ++j) {
            const auto jet = some_jet();
            pt->push_back(jet.pt);
            eta->push_back(jet.eta);
            phi->push_back(jet.phi);
            mass->push_back(jet.m);
        }
        out->Fill();
        if (i % per_cluster == per_cluster - 1) out->CommitCluster();
    }
}

void cut(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto pt = add_cut(*model, "Jet_pt", 19), eta = add_cut(*model, "Jet_eta", 21), phi = add_cut(*model, "Jet_phi", 31);
    auto mass = add_cut(*model, "Jet_mass", 19);
    fill(std::move(model), path, pt, eta, phi, mass);
}

void steps(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto pt = add_steps(*model, "Jet_pt", 22, 0, 5000), eta = add_steps(*model, "Jet_eta", 13, -8, 8);
    auto phi = add_steps(*model, "Jet_phi", 12, -3.15, 3.15), mass = add_steps(*model, "Jet_mass", 32, 0, 1000);
    fill(std::move(model), path, pt, eta, phi, mass);
}

struct Momentum { float x, y, z; };
struct Covariance { std::array<float, 10> values; };
struct Reconstructed {
    int PDG;
    float energy;
    Momentum momentum, referencePoint;
    float charge, mass;
    Covariance covMatrix;
    unsigned begin, end;
};

void edm4hep(const std::string& path) {
    auto model = RNTupleModel::Create();
    auto jets = model->MakeField<std::vector<Reconstructed>>("Jets");
    auto numbers = model->MakeField<std::array<int, 3>>("numbers");
    auto out = writer(std::move(model), path);
    for (int i = 0; i < entries; ++i) {
        jets->resize(i % 4);
        for (auto& jet : *jets) {
            const auto [pt, eta, phi, m] = some_jet();
            jet = {0, 0, {pt * std::cos(phi), pt * std::sin(phi), pt * std::sinh(eta)}, {}, i % 3 - 1.f, m, {}, 1, 2};
            const auto& [x, y, z] = jet.momentum;
            jet.energy = std::sqrt(double(x) * x + double(y) * y + double(z) * z + double(m) * m);
            for (auto& value : jet.covMatrix.values) value = dice().Gaus();
        }
        for (auto& number : *numbers) number = i;
        out->Fill();
        if (i % per_cluster == per_cluster - 1) out->CommitCluster();
    }
}
"""
LAYOUTS = ("records", "types", "nanoaod", "physlite", "quantized", "cut", "steps", "edm4hep")


def main(folder: str) -> int:
    """Write a file of every layout."""
    import ROOT

    for library in ("libMathCore", "libROOTNTuple"):  # before code that needs them is compiled
        ROOT.gSystem.Load(library)
    ROOT.gInterpreter.Declare(CODE)
    for layout in LAYOUTS:
        getattr(ROOT, layout)(str(Path(folder) / f"{layout}.root"))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
