namespace detail {

// What the floats of jets tell of their other numbers: their bits behind the exponent, or 0 where they are negative.
inline std::vector<std::vector<std::int32_t>> told_by(const std::vector<float> (&floats)[3]) {
    std::vector<std::vector<std::int32_t>> found(3);
    for (int j = 0; j < 3; ++j)
        for (const float z : floats[j]) {
            std::int32_t bits;
            std::memcpy(&bits, &z, sizeof bits);
            found[j].push_back(bits < 0 ? 0 : bits & 0x7fffff);
        }
    return found;
}

}  // namespace detail

#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

inline void append(TTreeReaderArray<Float_t>& word, std::vector<float>& all) {
    all.insert(all.end(), word.begin(), word.end());
}
inline void append(TTreeReaderValue<Float_t>& word, std::vector<float>& all) { all.push_back(*word); }

// The jets of chunks in floats, which tell of their other numbers.
class Reader : public Chunks {
  public:
    explicit Reader(const std::string& path)
        : Chunks(path), words_{branch<Word>(word_names[0]), branch<Word>(word_names[1]), branch<Word>(word_names[2])} {}

    void load(ULong64_t entry) {
        go_to(entry, [this](std::int64_t begin, std::int64_t end) { return count(begin, end); });
    }

    std::vector<std::vector<std::int32_t>> told() const { return told_by(floats_); }

  private:
    using Word = std::conditional_t<jagged, TTreeReaderArray<Float_t>, TTreeReaderValue<Float_t>>;

    std::vector<std::int64_t> count(std::int64_t begin, std::int64_t end) {
        for (auto& all : floats_) all.clear();
        std::vector<std::int64_t> counts;
        for (std::int64_t e = begin; e < end; ++e) {
            const std::size_t before = floats_[0].size();
            at(e);
            for (int j = 0; j < 3; ++j) append(words_[j], floats_[j]);
            if (floats_[1].size() != floats_[0].size() || floats_[2].size() != floats_[0].size()) refuse("floats");
            counts.push_back(static_cast<std::int64_t>(floats_[0].size() - before));
        }
        return counts;
    }

    Word words_[3];
    std::vector<float> floats_[3];
};

}  // namespace detail
#endif

