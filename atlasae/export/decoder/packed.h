// The class of a number by the edges between classes.
template <std::size_t n>
std::uint16_t class_of(const double (&edges)[n], double x) {
    return static_cast<std::uint16_t>(std::upper_bound(edges, edges + n, x) - edges);
}

// pt at a place of the table of exponentials, in its unit.
inline double exponential_at(double place) {
    return exponentials[static_cast<std::size_t>(std::min<double>(place, std::size(exponentials) - 1))];
}

// Bins whose probabilities adapt to the cells that were read.
class Table : public Bins {
  public:
    explicit Table(const Prior& prior)
        : Bins(prior.edges, prior.contexts, prior.bins,
               {prior.counts, prior.counts + static_cast<std::size_t>(prior.contexts) * prior.bins}),
          prior_(prior.counts), adapts_(prior.adapts) {
        learned_.assign(counts_.size(), 0);
        if (adapts_) prepare_shares();
    }

    // Let the cells read since the last call change the probabilities.
    void settle() {
        if (!adapts_) return;
        std::vector<std::int64_t> expected(bins_), found(bins_);
        for (int c = 0; c < contexts_; ++c) {
            std::int64_t total = 0;
            for (int b = 0; b < bins_; ++b) {
                const std::size_t at = place(c, b);
                learned_[at] += seen_[at], seen_[at] = 0;
                total += learned_[at], found[b] += learned_[at];
            }
            if (total)
                for (int b = 0; b < bins_; ++b) expected[b] += total * shares_[place(c, b)];
        }
        for (int b = 0; b < bins_; ++b) {
            const std::int64_t faith = 600 * usual_[b] + 1;
            const double ratio = static_cast<double>(found[b] * share + faith) / static_cast<double>(expected[b] + faith);
            for (int c = 0; c < contexts_; ++c) {
                const std::int64_t corrected = static_cast<std::int64_t>(std::floor(prior_[place(c, b)] * ratio));
                counts_[place(c, b)] = 64 * learned_[place(c, b)] + std::max<std::int64_t>(1, corrected);
            }
        }
        std::fill(known_.begin(), known_.end(), 0);
    }

  private:
    void prepare_shares() {
        shares_.resize(learned_.size()), usual_.assign(bins_, 0);
        std::int64_t all = 0;
        for (int c = 0; c < contexts_; ++c) {
            std::int64_t total = 0;
            for (int b = 0; b < bins_; ++b) total += prior_[place(c, b)], usual_[b] += prior_[place(c, b)];
            all += total;
            for (int b = 0; b < bins_; ++b)
                shares_[place(c, b)] = prior_[place(c, b)] * share / std::max<std::int64_t>(1, total);
        }
        for (auto& usual : usual_) usual = usual * share / std::max<std::int64_t>(1, all);
    }

    const std::int32_t* prior_;
    bool adapts_;
    std::vector<std::int64_t> learned_, shares_, usual_;
};

