namespace detail {

// How the columns of the chunk in this place are coded.
inline const Coding& coding_of(std::int64_t place) {
    for (const Stretch& stretch : stretches)
        if (place < stretch.end) return codings[stretch.coding];
    refuse("chunks");
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
        : jets_(std::move(jets)), bytes_(jets_->branch<TTreeReaderArray<UChar_t>>(others_name)) {}

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
        const Coding& coding = coding_of(jets_->place());
        others_ = Others(jets_->bytes(bytes_), jets_->jets(), coding, [this] { return jets_->told(); });
        place_ = jets_->place();
    }

    std::shared_ptr<Reader> jets_;
    TTreeReaderArray<UChar_t> bytes_;
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

