#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

// What RDataFrame passes of word j, and gets of a variable. ACLiC fails for a Word that does not depend on j.
template <std::size_t j>
using Word = std::conditional_t<jagged && j < words, const List<float>&, float>;
template <class T>
using Value = std::conditional_t<jagged, List<T>, T>;

inline const float* begin_of(const List<float>& z) { return z.data(); }
inline const float* begin_of(const float& z) { return &z; }
inline std::size_t size_of(const List<float>& z) { return z.size(); }
inline std::size_t size_of(float) { return 1; }

// df with the column of variable i. RDataFrame compiles its own part once for each type, not for each variable.
template <int i, std::size_t... j>
ROOT::RDF::RNode define(ROOT::RDF::RNode df, std::shared_ptr<std::vector<Rows>> slots, std::index_sequence<j...>) {
    using T = Type<i>;
    const std::function<Value<T>(unsigned, Word<j>..., const List<std::int32_t>&, const List<T>&)> column =
        [slots](unsigned slot, Word<j>... z, const List<std::int32_t>& exact_index, const List<T>& exact) -> Value<T> {
        const std::size_t sizes[] = {size_of(z)...};
        for (const std::size_t n : sizes)
            if (n != sizes[0]) refuse_lengths();
        Rows& rows = (*slots)[slot];
        rows.read({begin_of(z)...}, sizes[0]);
        if constexpr (jagged)
            return rows.list<i>(exact_index, exact);
        else
            return rows.list<i>(exact_index, exact)[0];
    };
    std::vector<std::string> names(std::begin(word_names), std::end(word_names));
    names.insert(names.end(), {index_name, exact_names[i]});
    return df.DefineSlot(column_names[i], column, names);
}

template <int... i>
ROOT::RDF::RNode define_all(ROOT::RDF::RNode df, std::integer_sequence<int, i...>) {
    auto slots = std::make_shared<std::vector<Rows>>(df.GetNSlots());  // each thread has rows of its own
    ((df = define<i>(df, slots, std::make_index_sequence<words>{})), ...);
    return df;
}

}  // namespace detail

// df with the columns of the list, which are decoded where they are asked for; for any files of this grid, and any
// number of threads.
ATLASAE_FUNCTION ROOT::RDF::RNode unpack(ROOT::RDF::RNode df) {
    return detail::define_all(df, std::make_integer_sequence<int, detail::variables>{});
}
#endif

