// The 23 bits of a float between 1 and 2.
inline std::uint32_t word_of(float z) {
    if (!(z >= 1 && z < 2)) throw std::invalid_argument("atlasae: latents are not between 1 and 2");
    std::uint32_t bits;
    std::memcpy(&bits, &z, sizeof z);
    return bits & 0x7fffff;
}

// The last digit of a word, which is taken off it.
template <std::uint32_t radix>
std::int64_t digit(std::uint32_t& word) {
    const std::uint32_t last = word % radix;
    word /= radix;
    return last;
}

ATLASAE_INLINE Block cumulative(const std::int64_t* cell, const Block& shift, double first, double cells) {
    Block u;
    for (int k = 0; k < size; ++k)
        u.at[k] = within((static_cast<double>(cell[k]) + (first + 0.5) - shift.at[k]) / cells, 0, 1);
    return u;
}

// m / 100 MeV of a jet: linear between -1 and 1, an exponential outside.
ATLASAE_INLINE Block from_symlog(const Block& y) {
    Block large, x;
    for (int k = 0; k < size; ++k) large.at[k] = std::fabs(y.at[k]) > 1 ? std::fabs(y.at[k]) - 1 : 0;
    exponential(large);
    for (int k = 0; k < size; ++k)
        x.at[k] = std::fabs(y.at[k]) < 1 ? y.at[k] : std::copysign(large.at[k], y.at[k]);
    return x;
}

