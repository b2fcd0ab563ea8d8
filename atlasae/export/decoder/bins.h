// Where the cells of a row lie on those of a table: here they are the same.
struct SameCells {
    std::int64_t start(std::size_t, std::int64_t edge) const { return edge; }  // the first cell at an edge or above
};

// The probabilities of bins of cells by context, from counts.
class Bins {
  public:
    static constexpr std::int64_t share = 1 << 16;  // shares are integers in units of 1 / share

    // `edges`: the first cells of the bins, and the end of the last one; counts: by context and bin.
    Bins(const std::int32_t* edges, int contexts, int bins, std::vector<std::int64_t> counts)
        : edges_(edges), contexts_(contexts), bins_(bins), counts_(std::move(counts)) {
        seen_.assign(counts_.size(), 0), known_.assign(contexts_, 0);
        starts_.resize(counts_.size() + contexts_), guesses_.resize(256 * static_cast<std::size_t>(contexts_));
        for (int b = 0; b < bins_; ++b) widest_ = std::max(widest_, edges_[b + 1] - edges_[b]);
    }

    // Read n cells, those of each context together; a ruler puts cells of unequal widths on those of the table.
    template <class Ruler = SameCells>
    void read(Words& words, const std::uint16_t* contexts, std::int32_t* cells, std::size_t n, Ruler ruler = {}) {
        sort(contexts, n);
        firsts_.resize(n), widths_.resize(n);
        std::size_t i = 0;
        for (int context = 0; context < (contexts ? contexts_ : 1); ++context) {
            const std::size_t end = runs_[context];
            if (i == end) continue;
            if (bins_ > 1 && !known_[context]) prepare(context);
            const std::uint32_t* starts = &starts_[static_cast<std::size_t>(context) * (bins_ + 1)];
            const std::uint16_t* guesses = &guesses_[256 * static_cast<std::size_t>(context)];
            std::int64_t* seen = &seen_[static_cast<std::size_t>(context) * bins_];
            for (; i < end; ++i) {
                int bin = 0;
                if (bins_ > 1) {
                    const std::uint32_t quantile = words.quantile();
                    bin = guesses[quantile >> 16];
                    while (starts[bin + 1] <= quantile) ++bin;
                    words.step(quantile, starts[bin], starts[bin + 1] - starts[bin]);
                }
                ++seen[bin];
                const std::int64_t first = ruler.start(order_[i], edges_[bin]);
                const std::int64_t width = ruler.start(order_[i], edges_[bin + 1]) - first;
                if (width < 1) refuse("words of jets");
                firsts_[i] = static_cast<std::int32_t>(first), widths_[i] = static_cast<std::int32_t>(width);
            }
        }
        const bool two = widest_ > largest_uniform;  // digits
        for (std::size_t k = 0; two && k < n; ++k)
            cells[order_[k]] = static_cast<std::int32_t>(words.uniform((widths_[k] - 1) / largest_uniform + 1));
        for (std::size_t k = 0; k < n; ++k) {
            std::int32_t& cell = cells[order_[k]];
            const std::int64_t high = two ? cell : 0;
            const std::int64_t place = high * largest_uniform + words.uniform(std::min(widths_[k], largest_uniform));
            cell = firsts_[k] + static_cast<std::int32_t>(std::min<std::int64_t>(place, widths_[k] - 1));
        }
    }

  protected:
    std::size_t place(int context, int bin) const { return static_cast<std::size_t>(context) * bins_ + bin; }

    const std::int32_t* edges_;
    int contexts_, bins_;
    std::vector<std::int64_t> counts_, seen_;
    std::vector<std::uint8_t> known_;

  private:
    static constexpr std::int32_t largest_uniform = 1 << 16;

    void prepare(int context) {
        const std::int64_t* counts = &counts_[place(context, 0)];
        std::uint32_t* starts = &starts_[static_cast<std::size_t>(context) * (bins_ + 1)];
        double total = 0, sum = 0;
        for (int b = 0; b < bins_; ++b) total += static_cast<double>(counts[b]);
        const double scale = static_cast<double>((1u << 24) - static_cast<unsigned>(bins_)) / total;
        for (int b = 0; b < bins_; ++b) {
            starts[b] = static_cast<std::uint32_t>(sum * scale) + static_cast<std::uint32_t>(b);
            sum += static_cast<double>(counts[b]);
        }
        starts[bins_] = 1u << 24;
        int bin = 0;
        for (std::uint32_t i = 0; i < 256; ++i) {
            while (starts[bin + 1] <= i << 16) ++bin;
            guesses_[256 * static_cast<std::size_t>(context) + i] = static_cast<std::uint16_t>(bin);
        }
        known_[context] = 1;
    }

    void sort(const std::uint16_t* contexts, std::size_t n) {
        order_.resize(n), runs_.assign(contexts_ + 1, 0);
        if (!contexts) {
            for (std::size_t i = 0; i < n; ++i) order_[i] = static_cast<std::int32_t>(i);
            runs_[0] = n;
            return;
        }
        for (std::size_t i = 0; i < n; ++i) ++runs_[contexts[i] + 1];
        for (int c = 0; c < contexts_; ++c) runs_[c + 1] += runs_[c];
        for (std::size_t i = 0; i < n; ++i) order_[runs_[contexts[i]]++] = static_cast<std::int32_t>(i);
    }

    std::int32_t widest_ = 0;
    std::vector<std::uint32_t> starts_;
    std::vector<std::uint16_t> guesses_;
    std::vector<std::int32_t> order_, firsts_, widths_;
    std::vector<std::size_t> runs_;
};

