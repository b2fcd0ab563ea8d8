#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

// The chunks of a file, of which the last one asked for is kept.
class Reader {
  public:
    explicit Reader(const std::string& path) : file_(TFile::Open(path.c_str())) {
        if (!file_ || file_->IsZombie()) throw std::invalid_argument("atlasae: '" + path + "' can't be opened");
        auto* chunks = file_->Get<TTree>("atlasae/chunks");
        tree_ = file_->Get<TTree>(tree_name);
        TLeaf* entries = chunks ? chunks->GetLeaf("entries") : nullptr;
        if (!tree_ || !entries || !tree_->GetBranch(packed_name)) refuse("trees");
        for (Long64_t i = 0; i < chunks->GetEntries(); ++i) {
            if (std::binary_search(std::begin(other_chunks), std::end(other_chunks), i)) continue;
            entries->GetBranch()->GetEntry(i);
            const auto some = static_cast<std::int64_t>(entries->GetValue());
            if (some < 0 || some > tree_->GetEntries() - starts_.back()) refuse("chunks");
            starts_.push_back(starts_.back() + some);
        }
        if (starts_.back() != tree_->GetEntries()) refuse("chunks");
        if (*counter_name && !(counter_ = tree_->GetLeaf(counter_name))) refuse("counters");
        reader_.SetTree(tree_);
        bytes_ = std::make_unique<TTreeReaderArray<UChar_t>>(reader_, packed_name);
    }

    template <class T>
    List<T> list(std::vector<T> Columns::* column, ULong64_t entry) {
        load(static_cast<std::int64_t>(entry));
        const auto at = (columns_.*column).data(), first = at + ends_[entry - begin_];
        return List<T>(first, at + ends_[entry - begin_ + 1]);
    }

    template <class T>
    T single(std::vector<T> Columns::* column, ULong64_t entry) {
        load(static_cast<std::int64_t>(entry));
        return (columns_.*column)[entry - begin_];
    }

  private:
    void load(std::int64_t entry) {
        if (entry >= begin_ && entry < end_) return;
        if (entry < 0 || entry >= starts_.back()) refuse("entries");
        const auto next = std::upper_bound(starts_.begin(), starts_.end(), entry);
        begin_ = end_ = 0;  // of none, if what follows throws
        const std::int64_t begin = *(next - 1), end = *next;
        std::vector<std::int64_t> counts(end - begin, 1);
        for (std::int64_t e = begin; counter_ && e < end; ++e) {
            counter_->GetBranch()->GetEntry(e);
            counts[e - begin] = static_cast<std::int64_t>(counter_->GetValue());
        }
        if (reader_.SetEntry(begin) != TTreeReader::kEntryValid) refuse("entries");
        unpack_chunk(std::vector<std::uint8_t>(bytes_->begin(), bytes_->end()), counts, columns_);
        ends_.assign(1, 0);
        for (const std::int64_t count : counts) ends_.push_back(ends_.back() + count);
        begin_ = begin, end_ = end;
    }

    std::unique_ptr<TFile> file_;
    TTree* tree_ = nullptr;
    TLeaf* counter_ = nullptr;
    TTreeReader reader_;
    std::unique_ptr<TTreeReaderArray<UChar_t>> bytes_;
    std::vector<std::int64_t> starts_ = {0};
    std::int64_t begin_ = 0, end_ = 0;
    std::vector<std::size_t> ends_;
    Columns columns_;
};

}  // namespace detail

// df with the columns of the jets, which are decoded chunk by chunk from the file that df reads: that one alone, without
// implicit multi-threading, in which entries have no numbers.
ATLASAE_FUNCTION ROOT::RDF::RNode unpack(ROOT::RDF::RNode df, const std::string& path) {
    if (ROOT::IsImplicitMTEnabled()) throw std::invalid_argument("atlasae: unpack needs ROOT::DisableImplicitMT()");
    auto reader = std::make_shared<detail::Reader>(path);
    return df{defines};
}
#endif

