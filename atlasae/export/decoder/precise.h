// Where a variable is expected, told in double by a network with two hidden layers: lists have numbers of any size.
template <int inputs, int width>
struct Location {
    const double (&first)[width][inputs], (&first_bias)[width], (&second)[width][width], (&second_bias)[width];
    const double (&last)[1][width], (&last_bias)[1];

    ATLASAE_INLINE Block ask(const Block* given) const {
        Block x[width], y[width], where[1];
        linear(first, first_bias, given, x);
        silu(x, width);
        linear(second, second_bias, x, y);
        silu(y, width);
        linear(last, last_bias, y, where);
        return where[0];
    }

#ifdef ATLASAE_TWICE
    __attribute__((target("avx2,fma"))) Block ask_avx2(const Block* given) const { return ask(given); }
#endif

    Block at(const Block* given) const {
#ifdef ATLASAE_TWICE
        static const bool avx2 = find_avx2();
        if (avx2) return ask_avx2(given);
#endif
        return ask(given);
    }
};

