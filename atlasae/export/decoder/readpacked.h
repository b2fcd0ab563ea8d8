#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

// The jets of chunks in packed bytes, which are decoded when they are first asked for.
class Reader : public Chunks {
  public:
    explicit Reader(const std::string& path) : Chunks(path), bytes_(branch<TTreeReaderArray<UChar_t>>(packed_name)) {
        if (*counter_name && !(counter_ = tree_->GetLeaf(counter_name))) refuse("counters");
    }

    void load(ULong64_t entry) {
        if (!go_to(entry, [this](std::int64_t begin, std::int64_t end) { return count(begin, end); })) return;
        has_cells_ = has_columns_ = false;
    }

    template <class T>
    List<T> list(std::vector<T> Columns::* column, ULong64_t entry) {
        const auto [first, last] = range_of(entry);
        const T* jets = (columns_.*column).data();
        return List<T>(jets + first, jets + last);
    }

    template <class T>
    T single(std::vector<T> Columns::* column, ULong64_t entry) {
        return (columns_.*column)[range_of(entry).first];
    }

    std::vector<std::vector<std::int32_t>> told() { return cells().told(); }

  private:
    std::vector<std::int64_t> count(std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> counts(end - begin, 1);
        for (std::int64_t e = begin; counter_ && e < end; ++e) {
            counter_->GetBranch()->GetEntry(e);
            counts[e - begin] = static_cast<std::int64_t>(counter_->GetValue());
        }
        return counts;
    }

    const Unpacked& cells() {
        if (!has_cells_) cells_ = unpack_cells(bytes(bytes_), counts_);
        has_cells_ = true;
        return cells_;
    }

    std::pair<std::size_t, std::size_t> range_of(ULong64_t entry) {
        load(entry);
        if (!has_columns_) restore(cells(), columns_);
        has_columns_ = true;
        return range(entry);
    }

    TLeaf* counter_ = nullptr;
    TTreeReaderArray<UChar_t> bytes_;
    bool has_cells_ = false, has_columns_ = false;
    Unpacked cells_;
    Columns columns_;
};

}  // namespace detail
#endif

