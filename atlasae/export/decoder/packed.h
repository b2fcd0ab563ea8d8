// What a chunk's bytes are: see docs/format.md. Everything up to the cells of jets is integers, or sums, products and
// quotients of doubles, which are the same on all machines.
[[noreturn]] inline void refuse(const char* what) {
    throw std::invalid_argument(std::string("atlasae: ") + what + " are damaged, or not of this header");
}

// LZMA without headers (Pavlov's specification), with lc = 1, lp = 0 and pb = 0.
class Lzma {
  public:
    Lzma(const std::uint8_t* in, std::size_t n) : in_(in), end_(in + n) {
        if (n < 5 || *in_++ != 0) refuse("exact jets");
        for (int i = 0; i < 4; ++i) code_ = code_ << 8 | *in_++;
        for (auto& length : lengths_) length.reset();
    }

    std::vector<std::uint8_t> unpack(std::size_t size) {
        std::vector<std::uint8_t> out;
        std::uint32_t rep0 = 0, rep1 = 0, rep2 = 0, rep3 = 0;
        int state = 0;
        while (out.size() < size) {
            if (beyond_ > 4) refuse("exact jets");
            if (!bit(match_[state])) {
                out.push_back(literal(out, state, rep0));
                state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
                continue;
            }
            std::uint32_t length;
            if (bit(rep_[state])) {
                if (out.empty()) refuse("exact jets");
                if (!bit(rep_g0_[state])) {
                    if (!bit(rep0_long_[state])) {
                        state = state < 7 ? 9 : 11;
                        out.push_back(before(out, rep0));
                        continue;
                    }
                } else {
                    std::uint32_t distance = rep1;
                    if (bit(rep_g1_[state])) {
                        distance = rep2;
                        if (bit(rep_g2_[state])) distance = rep3, rep3 = rep2;
                        rep2 = rep1;
                    }
                    rep1 = rep0, rep0 = distance;
                }
                length = this->length(lengths_[1]);
                state = state < 7 ? 8 : 11;
            } else {
                rep3 = rep2, rep2 = rep1, rep1 = rep0;
                length = this->length(lengths_[0]);
                state = state < 7 ? 7 : 10;
                rep0 = distance(length);
            }
            for (length += 2; length && out.size() < size; --length) out.push_back(before(out, rep0));
        }
        return out;
    }

  private:
    struct Probability {
        std::uint16_t value = 1024;
    };
    struct Length {
        Probability choice, choice2, low[8], mid[8], high[256];
        void reset() { *this = Length(); }
    };

    static std::uint8_t before(const std::vector<std::uint8_t>& out, std::uint32_t distance) {
        if (distance >= out.size()) refuse("exact jets");
        return out[out.size() - 1 - distance];
    }

    void normalise() {
        if (range_ >= 1u << 24) return;
        range_ <<= 8;
        code_ = code_ << 8 | (in_ < end_ ? *in_++ : (++beyond_, 0));
    }

    unsigned bit(Probability& p) {
        const std::uint32_t bound = (range_ >> 11) * p.value;
        const unsigned found = code_ >= bound;
        if (found)
            code_ -= bound, range_ -= bound, p.value = static_cast<std::uint16_t>(p.value - (p.value >> 5));
        else
            range_ = bound, p.value = static_cast<std::uint16_t>(p.value + ((2048 - p.value) >> 5));
        normalise();
        return found;
    }

    unsigned tree(Probability* p, int bits) {
        unsigned m = 1;
        for (int i = 0; i < bits; ++i) m = m << 1 | bit(p[m]);
        return m - (1u << bits);
    }

    unsigned length(Length& p) {
        if (!bit(p.choice)) return tree(p.low, 3);
        return bit(p.choice2) ? 16 + tree(p.high, 8) : 8 + tree(p.mid, 3);
    }

    std::uint8_t literal(const std::vector<std::uint8_t>& out, int state, std::uint32_t rep0) {
        Probability* p = literals_ + 0x300 * (out.empty() ? 0 : out.back() >> 7);
        unsigned symbol = 1;
        if (state >= 7) {
            unsigned match = before(out, rep0);
            while (symbol < 0x100) {
                const unsigned expected = match >> 7 & 1;
                match <<= 1;
                const unsigned found = bit(p[(1 + expected) * 0x100 + symbol]);
                symbol = symbol << 1 | found;
                if (expected != found) break;
            }
        }
        while (symbol < 0x100) symbol = symbol << 1 | bit(p[symbol]);
        return static_cast<std::uint8_t>(symbol);
    }

    std::uint32_t reversed(Probability* p, int bits) {
        std::uint32_t m = 1, found = 0;
        for (int i = 0; i < bits; ++i) {
            const unsigned one = bit(p[m]);
            m = m << 1 | one;
            found |= one << i;
        }
        return found;
    }

    std::uint32_t distance(std::uint32_t length) {
        const unsigned slot = tree(slots_[length < 3 ? length : 3], 6);
        if (slot < 4) return slot;
        const int direct = static_cast<int>(slot >> 1) - 1;
        std::uint32_t found = (2 | (slot & 1)) << direct;
        if (slot < 14) return found + reversed(special_ + found - slot, direct);
        std::uint32_t high = 0;
        for (int i = 0; i < direct - 4; ++i) {
            range_ >>= 1;
            const unsigned one = code_ >= range_;
            if (one) code_ -= range_;
            normalise();
            high = high << 1 | one;
        }
        return found + (high << 4) + reversed(align_, 4);
    }

    const std::uint8_t *in_, *end_;
    std::uint32_t range_ = 0xFFFFFFFF, code_ = 0;
    int beyond_ = 0;
    Probability literals_[2 * 0x300], match_[12], rep_[12], rep_g0_[12], rep_g1_[12], rep_g2_[12], rep0_long_[12];
    Probability slots_[4][64], special_[128], align_[16];
    Length lengths_[2];
};

// The words of a chunk, read from the end: asymmetric numeral systems, as constriction has them.
struct Words {
    const std::uint8_t* bytes;  // little-endian words
    std::size_t left;
    std::uint64_t state = 0;

    Words(const std::uint8_t* given, std::size_t n) : bytes(given), left(n) {
        if (left && !word(left - 1)) refuse("words of jets");
        while (left && state < 1ull << 32) state = state << 32 | word(--left);
    }
    std::uint32_t word(std::size_t i) const {
        const std::uint8_t* at = bytes + 4 * i;
        return at[0] | at[1] << 8 | at[2] << 16 | static_cast<std::uint32_t>(at[3]) << 24;
    }
    void step(std::uint32_t quantile, std::uint32_t start, std::uint32_t probability) {
        state = (state >> 24) * probability + (quantile - start);
        if (state < 1ull << 32 && left) state = state << 32 | word(--left);
    }
    std::uint32_t quantile() const { return static_cast<std::uint32_t>(state) & 0xFFFFFF; }
    std::uint32_t uniform(std::uint32_t size) {
        if (size < 2) return 0;
        const std::uint32_t each = (1u << 24) / size, found = quantile();
        std::uint32_t number = found / each;
        if (number > size - 1) number = size - 1;
        const std::uint32_t start = number * each;
        step(found, start, number == size - 1 ? (1u << 24) - start : each);
        return number;
    }
};

// The class of a number by the edges between classes.
template <std::size_t n>
std::uint16_t class_of(const double (&edges)[n], double x) {
    return static_cast<std::uint16_t>(std::upper_bound(edges, edges + n, x) - edges);
}

// pt at a place of the table of exponentials, in its unit.
inline double exponential_at(double place) {
    return exponentials[static_cast<std::size_t>(std::min<double>(place, std::size(exponentials) - 1))];
}

// Where the cells of a row lie on those of a table: here they are the same.
struct SameCells {
    std::int64_t start(std::size_t, std::int64_t edge) const { return edge; }  // the first cell at an edge or above
};

// The probabilities of bins of cells by context, which adapt to the cells that were read.
class Table {
  public:
    explicit Table(const Prior& prior)
        : edges_(prior.edges), prior_(prior.counts), contexts_(prior.contexts), bins_(prior.bins), adapts_(prior.adapts) {
        const std::size_t n = static_cast<std::size_t>(contexts_) * bins_;
        counts_.assign(prior_, prior_ + n);
        seen_.assign(n, 0), learned_.assign(n, 0), known_.assign(contexts_, 0);
        starts_.resize(n + contexts_), guesses_.resize(256 * static_cast<std::size_t>(contexts_));
        for (int b = 0; b < bins_; ++b) widest_ = std::max(widest_, edges_[b + 1] - edges_[b]);
        if (adapts_) prepare_shares();
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
    static constexpr std::int64_t share = 1 << 16;
    static constexpr std::int32_t largest_uniform = 1 << 16;

    std::size_t place(int context, int bin) const { return static_cast<std::size_t>(context) * bins_ + bin; }

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

    const std::int32_t* edges_;
    const std::int32_t* prior_;
    int contexts_, bins_;
    bool adapts_;
    std::int32_t widest_ = 0;
    std::vector<std::int64_t> counts_, seen_, learned_, shares_, usual_;
    std::vector<std::uint32_t> starts_;
    std::vector<std::uint16_t> guesses_;
    std::vector<std::uint8_t> known_;
    std::vector<std::int32_t> order_, firsts_, widths_;
    std::vector<std::size_t> runs_;
};

