// Eight floats in one register with AVX, in two without. Where a network expects a variable is told in float: it moves a
// jet by less than 1e-6, and what is compressed leaves room for 3e-6.
typedef float Floats __attribute__((vector_size(32), may_alias));
typedef std::int32_t FloatBits __attribute__((vector_size(32), may_alias));
constexpr int units = 8;

// x / (1 + exp(-x)), as for doubles.
ATLASAE_INLINE void silu(Floats& x) {
    constexpr float shift = 0x1.8p23f;
    const Floats zero = {}, low = zero - 87, high = zero + 87, minus = -x;
    const FloatBits below = minus < low, above = minus > high;
    const Floats y = (Floats)((below & (FloatBits)low) | (above & (FloatBits)high) |
                              (~(below | above) & (FloatBits)minus));
    const Floats shifted = y * 1.44269504f + shift;
    const Floats n = shifted - shift;
    const Floats r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    const Floats square = r * r;
    const Floats series = (1 + r) + square * ((0.5f + r * (1 / 6.f)) +
                                              square * ((1 / 24.f + r * (1 / 120.f)) + square * (1 / 720.f)));
    x /= 1 + series * (Floats)(((FloatBits)shifted + 127) << 23);
}

template <int... p>
ATLASAE_INLINE void add_input(const float* weight, float x, Floats* sum, std::integer_sequence<int, p...>) {
    ((sum[p] += reinterpret_cast<const Floats*>(weight)[p] * x), ...);
}

// Two sums, so that an addition need not wait for the one before.
template <int width, int... i, class Packs>
ATLASAE_INLINE void add_inputs(const float (*weight)[width], const float* x, Floats* even, Floats* odd,
                               std::integer_sequence<int, i...>, Packs packs) {
    (add_input(weight[i], x[i], i % 2 ? odd : even, packs), ...);
}

template <int inputs, int width, int... p>
ATLASAE_INLINE void layer(const float (&weight)[inputs][width], const float (&bias)[width], const float* x, Floats* y,
                          std::integer_sequence<int, p...> packs) {
    constexpr int whole = inputs / 8 * 8;
    Floats even[] = {reinterpret_cast<const Floats*>(bias)[p]...}, odd[width / units] = {};
    for (int i = 0; i < whole; i += 8)
        add_inputs(weight + i, x + i, even, odd, std::make_integer_sequence<int, 8>{}, packs);
    if constexpr (whole < inputs)
        add_inputs(weight + whole, x + whole, even, odd, std::make_integer_sequence<int, inputs - whole>{}, packs);
    ((y[p] = even[p] + odd[p]), ...);
    (silu(y[p]), ...);
}

template <int inputs, int width>
ATLASAE_INLINE double location(const float (&first)[inputs][width], const float (&first_bias)[width],
                               const float (&second)[width][width], const float (&second_bias)[width],
                               const float (&last)[width], float last_bias, const Block* given, std::size_t k) {
    constexpr std::make_integer_sequence<int, width / units> packs{};
    alignas(32) float x[inputs], y[width], z[width];
    for (int i = 0; i < inputs; ++i) x[i] = static_cast<float>(given[i].at[k]);
    layer(first, first_bias, x, reinterpret_cast<Floats*>(y), packs);
    layer(second, second_bias, y, reinterpret_cast<Floats*>(z), packs);
    alignas(32) float sums[units];
    Floats sum = reinterpret_cast<const Floats*>(last)[0] * reinterpret_cast<const Floats*>(z)[0];
    for (int p = 1; p < width / units; ++p)
        sum += reinterpret_cast<const Floats*>(last)[p] * reinterpret_cast<const Floats*>(z)[p];
    *reinterpret_cast<Floats*>(sums) = sum;
    return last_bias + (((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])));
}

