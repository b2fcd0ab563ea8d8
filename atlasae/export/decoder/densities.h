// log to 1e-12 of a positive number: that of 2^n, and of what lies between sqrt(1/2) and sqrt(2) a series.
ATLASAE_INLINE void logarithm(Block& block) {
    constexpr double shift = 0x1.8p52;
    const Bits bits = (Bits)block.pack() + (0x3ff0000000000000 - 0x3fe6a09e667f3bcd);
    const Bits power = (Bits)((Shifted)bits >> 52) - 1023;
    const Pack n = (Pack)(power + 0x4338000000000000) - shift;
    const Pack part = (Pack)((Bits)block.pack() - (power << 52));
    const Pack s = (part - 1) / (part + 1), square = s * s, fourth = square * square;
    const Pack lower = (1 + square * (1.0 / 3)) + fourth * (1.0 / 5 + square * (1.0 / 7));
    const Pack upper = (1.0 / 9 + square * (1.0 / 11)) + fourth * (1.0 / 13 + square * (1.0 / 15));
    block.pack() = n * 0.69314718055994531 + 2 * s * (lower + fourth * fourth * upper);
}

// Where a network has a say: the mass of each bin, the density to the power a, from its logits.
template <int bins>
ATLASAE_INLINE void masses(Block* x, const double (&share)[bins], const double (&stretch)[bins], double a,
                           double uniform) {
    Pack top = x[0].pack(), sum = {};
    for (int b = 1; b < bins; ++b) {
        const Bits above = x[b].pack() > top;
        top = (Pack)((above & (Bits)x[b].pack()) | (~above & (Bits)top));
    }
    for (int b = 0; b < bins; ++b) {
        x[b].pack() -= top;
        exponential(x[b]);
        sum += x[b].pack();
    }
    const Pack part = (1 - uniform) / sum;
    sum = Pack{};
    for (int b = 0; b < bins; ++b) {
        x[b].pack() = x[b].pack() * part + uniform * share[b];
        logarithm(x[b]);
        x[b].pack() *= a;
        exponential(x[b]);
        x[b].pack() *= stretch[b];
        sum += x[b].pack();
    }
    const Pack whole = 1 / sum;
    for (int b = 0; b < bins; ++b) x[b].pack() *= whole;
}

// The y below which a part u of the masses lies.
template <int edges>
ATLASAE_INLINE Block quantile(const Block& u, const double (&edge)[edges], const Block* mass) {
    Pack sum = {}, below = {};
    Bits bin = {};
    for (int b = 0; b < edges - 2; ++b) {
        sum += mass[b].pack();
        const Bits beyond = sum < u.pack();
        below = (Pack)((beyond & (Bits)sum) | (~beyond & (Bits)below));
        bin -= beyond;
    }
    Block y;
    for (int k = 0; k < size; ++k) {
        const double inside = (u.at[k] - below[k]) / mass[bin[k]].at[k];
        y.at[k] = edge[bin[k]] + (edge[bin[k] + 1] - edge[bin[k]]) * within(inside, 0, 1);
    }
    return y;
}

