#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

// The chunks of a file, of which that of the last entry asked for is kept.
class Chunks {
  public:
    explicit Chunks(const std::string& path) : file_(TFile::Open(path.c_str())) {
        if (!file_ || file_->IsZombie()) throw std::invalid_argument("atlasae: '" + path + "' can't be opened");
        auto* chunks = file_->Get<TTree>("atlasae/chunks");
        tree_ = file_->Get<TTree>(tree_name);
        TLeaf* entries = chunks ? chunks->GetLeaf("entries") : nullptr;
        if (!tree_ || !entries) refuse("trees");
        for (Long64_t i = 0; i < chunks->GetEntries(); ++i) {
            if (std::binary_search(std::begin(other_chunks), std::end(other_chunks), i)) continue;
            entries->GetBranch()->GetEntry(i);
            const auto some = static_cast<std::int64_t>(entries->GetValue());
            if (some < 0 || some > tree_->GetEntries() - starts_.back()) refuse("chunks");
            starts_.push_back(starts_.back() + some);
        }
        if (starts_.back() != tree_->GetEntries()) refuse("chunks");
        reader_.SetTree(tree_);
    }

    // A branch of bytes, or of other numbers, to be read by `at`.
    template <class Branch>
    Branch branch(const char* name) {
        if (!tree_->GetBranch(name)) refuse("trees");
        return Branch(reader_, name);
    }

    // The place of the chunk among all, or -1, and the number of its jets.
    std::int64_t place() const { return place_; }
    std::size_t jets() const { return ends_.back(); }

    // The jets of an entry of this chunk: the first one, and that after the last.
    std::pair<std::size_t, std::size_t> range(ULong64_t entry) const {
        const std::size_t at = static_cast<std::size_t>(static_cast<std::int64_t>(entry) - begin_);
        return {ends_[at], ends_[at + 1]};
    }

    // The checksums of the runs that made the file.
    std::vector<std::uint64_t> runs() const {
        TTreeReader reader("atlasae/runs", file_.get());
        TTreeReaderValue<ULong64_t> checksum(reader, "checksum");
        std::vector<std::uint64_t> found;
        while (reader.Next()) found.push_back(*checksum);
        return found;
    }

    // All bytes of the chunk, which are in its first entry.
    std::vector<std::uint8_t> bytes(TTreeReaderArray<UChar_t>& branch) {
        at(begin_);
        return {branch.begin(), branch.end()};
    }

  protected:
    // Go to the chunk of an entry; if that is another one than before, `count` has the jets of its entries.
    template <class Count>
    bool go_to(ULong64_t wanted, Count count) {
        const auto entry = static_cast<std::int64_t>(wanted);
        if (entry >= begin_ && entry < end_) return false;
        if (entry < 0 || entry >= starts_.back()) refuse("entries");
        const auto next = std::upper_bound(starts_.begin(), starts_.end(), entry);
        begin_ = end_ = 0, place_ = -1;  // of none, if what follows throws
        counts_ = count(*(next - 1), *next);
        all_jets(counts_), ends_.assign(1, 0);
        for (const std::int64_t some : counts_) ends_.push_back(ends_.back() + static_cast<std::size_t>(some));
        begin_ = *(next - 1), end_ = *next, place_ = next - starts_.begin() - 1;
        return true;
    }

    void at(std::int64_t entry) {
        if (reader_.SetEntry(entry) != TTreeReader::kEntryValid) refuse("entries");
    }

    std::unique_ptr<TFile> file_;
    TTree* tree_ = nullptr;
    TTreeReader reader_;
    std::vector<std::int64_t> counts_;  // of the jets of each entry of the chunk

  private:
    std::vector<std::int64_t> starts_ = {0};
    std::int64_t begin_ = 0, end_ = 0, place_ = -1;
    std::vector<std::size_t> ends_ = {0};
};

}  // namespace detail
#endif

