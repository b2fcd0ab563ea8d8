ATLASAE_INLINE void silu(Block* x, int n) {
    for (int i = 0; i < n; ++i) {
        Block e;
        e.pack() = -x[i].pack();
        exponential(e);
        x[i].pack() /= 1 + e.pack();
    }
}

