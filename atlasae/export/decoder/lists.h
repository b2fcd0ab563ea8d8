#if __has_include(<ROOT/RDataFrame.hxx>)
namespace detail {

// A column of RDataFrame; each thread has rows of its own, in its slot.
template <int i>
auto column(std::shared_ptr<std::vector<Rows>> slots) {
    return [slots](unsigned slot, {words},
                   const List<std::int32_t>& exact_index, const List<Type<i>>& exact) {
        Rows& rows = (*slots)[slot];
        {read}
    };
}

inline std::vector<std::string> read_beside(const char* exact) {
    return {{branches}, exact};
}

}  // namespace detail

// df with the columns of the list, which are decoded where they are asked for; for any files of this grid, and any
// number of threads.
ATLASAE_FUNCTION ROOT::RDF::RNode unpack(ROOT::RDF::RNode df) {
    auto slots = std::make_shared<std::vector<Rows>>(df.GetNSlots());
    return df{defines};
}
#endif

