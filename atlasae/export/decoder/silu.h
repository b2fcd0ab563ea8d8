ATLASAE_INLINE void silu(Block& x) {
    Block e;
    e.pack() = -x.pack();
    exponential(e);
    x.pack() /= 1 + e.pack();
}

ATLASAE_INLINE void silu(Block* x, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4) silu(x[i]), silu(x[i + 1]), silu(x[i + 2]), silu(x[i + 3]);
    for (; i < n; ++i) silu(x[i]);
}

