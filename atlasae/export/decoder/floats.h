#ifdef ATLASAE_TWICE
// Whether the machine has AVX2 and FMA, and its system saves their registers: __builtin_cpu_supports, which ROOT's
// interpreter has not.
inline bool find_avx2() {
    unsigned a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_OSXSAVE)) return false;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    return (saved & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}
#endif

[[noreturn]] inline void refuse_lengths() {
    throw std::invalid_argument("atlasae: branches of different lengths: not one collection");
}

// The exact values of an entry, at their indices in it.
template <class T>
void put_exact(const List<std::int32_t>& index, const List<T>& exact, List<T>& values) {
    for (std::size_t i = 0; i < exact.size(); ++i) {
        if (index[i] < 0 || static_cast<std::size_t>(index[i]) >= values.size())
            throw std::invalid_argument("atlasae: exact jets that are not in their event");
        values[index[i]] = exact[i];
    }
}

