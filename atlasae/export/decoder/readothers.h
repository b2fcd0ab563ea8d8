namespace detail {

// The run with this checksum: those of other files may be coded otherwise.
inline const Run& run_of(std::uint64_t checksum) {
    for (const Run& run : runs)
        if (run.checksum == checksum) return run;
    refuse("runs");
}

}  // namespace detail

#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

template <class T>
using Value = std::conditional_t<jagged, List<T>, T>;

template <class T>
T number_at(const std::uint8_t* bytes) {
    if constexpr (std::is_same_v<T, bool>) return *bytes != 0;
    T number;
    std::memcpy(&number, bytes, sizeof number);
    return number;
}

// Other numbers of the jets of the chunk that their reader has.
class OtherReader {
  public:
    explicit OtherReader(std::shared_ptr<Reader> jets)
        : jets_(std::move(jets)), bytes_(jets_->branch<TTreeReaderArray<UChar_t>>(others_name)) {
        for (const std::uint64_t checksum : jets_->runs()) {
            const Run& run = run_of(checksum);
            codings_.insert(codings_.end(), static_cast<std::size_t>(run.chunks), codings[run.coding]);
        }
    }

    template <class T>
    Value<T> get(int column, ULong64_t entry) {
        jets_->load(entry);
        if (place_ != jets_->place()) start();
        const auto [first, last] = jets_->range(entry);
        const std::uint8_t* numbers = others_.numbers(column).data();
        if constexpr (jagged) {
            List<T> found(last - first);
            for (std::size_t i = first; i < last; ++i) found[i - first] = number_at<T>(numbers + i * sizeof(T));
            return found;
        } else {
            return number_at<T>(numbers + first * sizeof(T));
        }
    }

  private:
    void start() {
        place_ = -1;  // none, if what follows throws
        const auto place = static_cast<std::size_t>(jets_->place());
        if (place >= codings_.size()) refuse("chunks");
        const Coding& coding = codings_[place];
        others_ = Others(jets_->bytes(bytes_), jets_->jets(), coding, [this] { return jets_->told(); });
        place_ = jets_->place();
    }

    std::shared_ptr<Reader> jets_;
    TTreeReaderArray<UChar_t> bytes_;
    std::vector<Coding> codings_;  // of all chunks
    std::int64_t place_ = -1;
    Others others_;
};

// df with a column of the header. RDataFrame compiles its own part once for each type, not for each column.
template <class T>
ROOT::RDF::RNode define(ROOT::RDF::RNode df, std::shared_ptr<OtherReader> others, int column, const char* name) {
    const std::function<Value<T>(unsigned, ULong64_t)> of_entry = [others, column](unsigned, ULong64_t entry) {
        return others->get<T>(column, entry);
    };
    return df.DefineSlotEntry(name, of_entry);
}

