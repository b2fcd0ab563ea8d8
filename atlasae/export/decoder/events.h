#ifdef ATLASAE_TWICE
template <unsigned wanted>
__attribute__((target("avx2,fma"))) void block_avx2(const float (&z)[3][size], std::size_t count, Jets& jets) {
    block<wanted>(z, count, jets);
}
#endif

template <unsigned wanted>
void block_here(const float (&z)[3][size], std::size_t count, Jets& jets) {
#ifdef ATLASAE_TWICE
    static const bool avx2 = find_avx2();
    if (avx2) return block_avx2<wanted>(z, count, jets);
#endif
    block<wanted>(z, count, jets);
}

// Jets from `start` on, at most `size` of them; any in the place of padding.
template <unsigned wanted>
std::size_t some(const float* z0, const float* z1, const float* z2, std::size_t start, std::size_t n, Jets& jets) {
    const std::size_t count = n - start < size ? n - start : size;
    float z[3][size];
    for (std::size_t k = 0; k < size; ++k) {
        const std::size_t i = start + (k < count ? k : 0);
        const bool none = paddings && z0[i] < 0;
        z[0][k] = none ? 1 : z0[i], z[1][k] = none ? 1 : z1[i], z[2][k] = none ? 1 : z2[i];
    }
    block_here<wanted>(z, count, jets);
    return count;
}

template <unsigned wanted, class T, class Stored>
List<T> restore(const List<float>& z0, const List<float>& z1, const List<float>& z2,
                const List<std::int32_t>& exact_index, const List<T>& exact, Stored stored) {
    const std::size_t n = z0.size();
    if (z1.size() != n || z2.size() != n || exact.size() != exact_index.size()) refuse_lengths();
    List<T> values(n);
    Jets jets;
    for (std::size_t start = 0; start < n; start += size) {
        const std::size_t count = some<wanted>(z0.data(), z1.data(), z2.data(), start, n, jets);
        for (std::size_t k = 0; k < count; ++k) values[start + k] = stored(jets, static_cast<int>(k));
    }
    put_exact(exact_index, exact, values);
    return values;
}

