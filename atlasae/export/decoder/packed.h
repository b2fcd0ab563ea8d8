// What a chunk's bytes are: see docs/format.md. Everything up to the cells of jets is integers, or sums, products and
// quotients of doubles, which are the same on all machines.
[[noreturn]] inline void refuse(const char* what) {
    throw std::invalid_argument(std::string("atlasae: ") + what + " are damaged, or not of this header");
}

// A product that is rounded before a sum takes it: contexts must be the same on all machines.
ATLASAE_INLINE double rounded(double x) {
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
    return x;
#else
    volatile double found = x;
    return found;
#endif
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

    // Read n cells, those of each context together.
    void read(Words& words, const std::uint16_t* contexts, std::int32_t* cells, std::size_t n) {
        sort(contexts, n);
        bin_.resize(n);
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
                bin_[i] = bin;
            }
        }
        const bool two = widest_ > largest_uniform;  // digits
        for (std::size_t k = 0; two && k < n; ++k)
            cells[order_[k]] = static_cast<std::int32_t>(words.uniform((width(k) - 1) / largest_uniform + 1));
        for (std::size_t k = 0; k < n; ++k) {
            std::int32_t& cell = cells[order_[k]];
            const std::int64_t high = two ? cell : 0;
            const std::int64_t place = high * largest_uniform + words.uniform(std::min(width(k), largest_uniform));
            cell = edges_[bin_[k]] + static_cast<std::int32_t>(std::min<std::int64_t>(place, width(k) - 1));
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
    std::int32_t width(std::size_t k) const { return edges_[bin_[k] + 1] - edges_[bin_[k]]; }

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
    std::vector<std::int32_t> order_, bin_;
    std::vector<std::size_t> runs_;
};

// What follows from the steps of the grid for every cell.
struct Classes {
    std::vector<std::int32_t> anchors, phi_from;
    std::vector<std::uint16_t> pt_class, eta_class;
    std::vector<double> sizes_of_pt, cosines, sines;

    Classes() {
        for (int k = 0; k < sizes[0]; ++k) {
            anchors.push_back(static_cast<std::int32_t>(std::floor((k + 0.5) * anchor_ratio)));
            const double place = std::floor((k + 0.5) * exponential_ratio);
            const int last = static_cast<int>(std::size(exponentials)) - 1;
            sizes_of_pt.push_back(exponentials[place < last ? static_cast<int>(place) : last]);
            std::uint16_t found = 0;
            for (const double edge : pt_edges) found = static_cast<std::uint16_t>(found + (edge <= k));
            pt_class.push_back(found);
        }
        for (int k = 0; k < sizes[1]; ++k) {
            const double eta = std::fabs(low[1] + rounded((k + 0.5) * steps[1]));
            std::uint16_t found = 0;
            for (const double edge : eta_edges) found = static_cast<std::uint16_t>(found + (edge <= eta));
            eta_class.push_back(found);
        }
        for (int k = 0; k < sizes[2]; ++k) {
            const double place = std::floor((k + 0.5) * direction_ratio);
            const int direction = ((place < 4095 ? static_cast<int>(place) : 4095) + 2048) % 4096;
            cosines.push_back(cosine[direction]), sines.push_back(sine[direction]);
        }
        for (int k = 0; k < 4096; ++k) {
            const double place = std::floor(((k + 2048) % 4096 + 0.5) * phi_ratio);
            phi_from.push_back(static_cast<std::int32_t>(std::min<double>(place, sizes[2] - 1)));
        }
    }
};

// One pass over the jets of a chunk.
class Walk {
  public:
    explicit Walk(Words& words) : words_(words) {
        static const Classes known;
        of_ = &known;
    }

    // The codes of padding of the jets of events with so many each; 0 is a jet.
    void padding(const std::vector<std::int64_t>& counts, std::vector<std::int32_t>& codes) {
        Table table(padding_prior);
        blocks(counts, codes.size(), [&](const std::int64_t* some, std::size_t events, std::size_t jets, std::size_t at) {
            order(some, events, jets);
            contexts_.resize(jets), relative_.resize(jets);
            codes_by_rank(table, jets);
            for (std::size_t i = 0; i < jets; ++i) codes[at + row_[i]] = relative_[i];
            table.settle();
        });
    }

    // The cells of the jets of events with so many each, a column per coordinate.
    void through(const std::vector<std::int64_t>& counts, std::size_t jets, std::vector<std::int32_t> (&cells)[4]) {
        for (auto& column : cells) column.assign(jets, 0);
        blocks(counts, jets, [&](const std::int64_t* some, std::size_t events, std::size_t n, std::size_t at) {
            block(some, events, n, cells, at);
            for (Table* table : {&pt_, &fall_, &eta_, &phi_, &mass_}) table->settle();
        });
    }

  private:
    // Call with the counts of the events of each block, their number, that of their jets, and of all jets before.
    template <class Function>
    static void blocks(std::vector<std::int64_t> counts, std::size_t jets, Function function) {
        if (!in_context) counts.assign(jets, 1);
        std::size_t first = 0, done = 0, size = 128;
        while (first < counts.size()) {
            std::size_t last = first, end = done;
            while (last < counts.size() && (last == first || end + counts[last] <= done + size)) end += counts[last++];
            function(&counts[first], last - first, end - done, done);
            first = last, done = end;
            size = std::max<std::size_t>(128, done < 32768 ? done / 4 : done);
        }
    }

    void codes_by_rank(Table& table, std::size_t jets) {
        std::size_t begin = 0, before = 0;
        for (int rank = 0; rank < ranks && reached_[rank]; ++rank) {
            const std::size_t n = reached_[rank];
            for (std::size_t i = 0; rank && i < n; ++i)
                contexts_[i] = static_cast<std::uint16_t>(1 + (std::min(rank, 4) - 1) * (paddings + 1) + relative_[before + i]);
            table.read(words_, rank ? contexts_.data() : nullptr, relative_.data() + begin, n);
            before = begin, begin += n;
        }
        table.read(words_, nullptr, relative_.data() + begin, jets - begin);
    }

    static constexpr int ranks = 16;

    static int octave(double square, int lowest, int classes) {
        std::int64_t bits;
        std::memcpy(&bits, &square, sizeof bits);
        const std::int64_t found = (bits >> 52) - lowest;
        return found < 0 ? 0 : found < classes ? static_cast<int>(found) : classes - 1;
    }
    static double square_of(double size) { return (size * 16384) * (size * 16384); }
    static int direction(double x, double y) {
        const double across = std::fabs(x) + std::fabs(y);
        const int right = directions[static_cast<int>(y * 4096 / (across > 1 ? across : 1) + 4096)];
        return (x < 0 ? 2048 - right : right) & 4095;
    }

    void order(const std::int64_t* counts, std::size_t events, std::size_t jets) {
        std::size_t place[ranks + 1] = {}, begin = 0;
        for (std::size_t e = 0; e < events; ++e) ++place[ranks - std::min<std::int64_t>(ranks, counts[e])];
        for (int missing = 0; missing <= ranks; ++missing) {
            const std::size_t some = place[missing];
            place[missing] = begin, begin += some;
            if (missing < ranks) reached_[ranks - 1 - missing] = begin;
        }
        event_.resize(events), starts_.resize(events + 1), row_.clear(), row_.reserve(jets);
        for (std::size_t e = 0; e < events; ++e) {
            event_[place[ranks - std::min<std::int64_t>(ranks, counts[e])]++] = e;
            starts_[e + 1] = (e ? starts_[e] : starts_[0] = 0) + counts[e];
        }
        for (int rank = 0; rank < ranks; ++rank)
            for (std::size_t i = 0; i < reached_[rank]; ++i) row_.push_back(starts_[event_[i]] + rank);
        for (std::size_t e = 0; row_.size() < jets; ++e)
            for (std::size_t jet = starts_[e] + ranks; jet < starts_[e + 1]; ++jet) row_.push_back(jet);
    }

    void block(const std::int64_t* counts, std::size_t events, std::size_t jets, std::vector<std::int32_t> (&cells)[4],
               std::size_t at) {
        order(counts, events, jets);
        pt_cells_.resize(jets), phi_cells_.resize(jets), contexts_.resize(jets), relative_.resize(jets);
        transverse(counts, jets);
        std::int32_t *pt = cells[0].data() + at, *eta = cells[1].data() + at, *phi = cells[2].data() + at;
        std::int32_t* mu = cells[3].data() + at;
        for (std::size_t i = 0; i < jets; ++i) pt[row_[i]] = pt_cells_[i], phi[row_[i]] = phi_cells_[i];
        for (std::size_t i = 0; i < jets; ++i) contexts_[i] = of_->pt_class[pt[i]];
        eta_.read(words_, contexts_.data(), eta, jets);
        for (std::size_t i = 0; i < jets; ++i)
            contexts_[i] = static_cast<std::uint16_t>(contexts_[i] * 4 + of_->eta_class[eta[i]]);
        mass_.read(words_, contexts_.data(), relative_.data(), jets);
        for (std::size_t i = 0; i < jets; ++i) {
            const std::int64_t found = relative_[i] < sizes[3] ? std::int64_t{relative_[i]} + of_->anchors[pt[i]]
                                                               : relative_[i] - (sizes[3] - zero_mass);
            if (found < 0 || found >= sizes[3]) refuse("masses");
            mu[i] = static_cast<std::int32_t>(found);
        }
    }

    void transverse(const std::int64_t* counts, std::size_t jets) {
        x_.assign(event_.size(), 0), y_.assign(event_.size(), 0), last_.resize(event_.size());
        std::size_t begin = 0, before = 0;
        for (int rank = 0; rank < ranks && reached_[rank]; ++rank) {
            const std::size_t n = reached_[rank];
            std::int32_t *pt = pt_cells_.data() + begin, *phi = phi_cells_.data() + begin;
            if (rank == 0)
                first(counts, pt, phi, n);
            else
                next(counts, rank, pt_cells_.data() + before, pt, phi, n);
            for (std::size_t i = 0; i < n; ++i) {
                const double size = of_->sizes_of_pt[pt[i]];
                x_[i] += size * of_->cosines[phi[i]], y_[i] += size * of_->sines[phi[i]], last_[i] = size;
            }
            before = begin, begin += n;
        }
        pt_.read(words_, nullptr, pt_cells_.data() + begin, jets - begin);
        any_phi_.read(words_, nullptr, phi_cells_.data() + begin, jets - begin);
    }

    void first(const std::int64_t* counts, std::int32_t* pt, std::int32_t* phi, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i)
            contexts_[i] = static_cast<std::uint16_t>(std::min<std::int64_t>(counts[event_[i]], 5));
        pt_.read(words_, in_context ? contexts_.data() : nullptr, pt, n);
        any_phi_.read(words_, nullptr, phi, n);
    }

    // The jets that follow in their events: pt below that of the jet before, phi from the direction of the recoil.
    void next(const std::int64_t* counts, int rank, const std::int32_t* before, std::int32_t* pt, std::int32_t* phi,
              std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) {
            const double square = rounded(x_[i] * x_[i]) + rounded(y_[i] * y_[i]);
            const int place = (counts[event_[i]] == rank + 1) + 2 * (std::min(rank, 4) - 1);
            const int balance = octave(square / square_of(last_[i]), 1023 - 6, 6);
            contexts_[i] = static_cast<std::uint16_t>((place + 8 * balance) * 9 + of_->pt_class[before[i]]);
        }
        fall_.read(words_, contexts_.data(), pt, n);
        for (std::size_t i = 0; i < n; ++i) {
            const std::int64_t cell = std::int64_t{before[i]} - pt[i];  // forged words may exceed the grid
            pt[i] = static_cast<std::int32_t>(cell < 0 ? 0 : cell < sizes[0] ? cell : sizes[0] - 1);
            const double square = rounded(x_[i] * x_[i]) + rounded(y_[i] * y_[i]);
            const int ratio = octave(square_of(of_->sizes_of_pt[pt[i]]) / (square > 1 ? square : 1), 1023 - 14, 20);
            contexts_[i] = static_cast<std::uint16_t>(ratio + 20 * (std::min(rank, 3) - 1));
        }
        phi_.read(words_, contexts_.data(), phi, n);
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t cell = phi[i] + of_->phi_from[direction(x_[i], y_[i])];
            phi[i] = cell < sizes[2] ? cell : cell - sizes[2];
        }
    }

    Words& words_;
    const Classes* of_;
    Table pt_{pt_prior}, fall_{fall_prior}, eta_{eta_prior}, phi_{phi_prior}, mass_{mass_prior}, any_phi_{any_phi_prior};
    std::size_t reached_[ranks] = {};
    std::vector<std::size_t> event_, starts_, row_;
    std::vector<std::int32_t> pt_cells_, phi_cells_, relative_;
    std::vector<std::uint16_t> contexts_;
    std::vector<double> x_, y_, last_;
};

// The offsets of a jet, in steps, from its place in the chunk.
inline std::int64_t mixed(std::int64_t state) {
    for (int i = 0; i < 2; ++i) {
        state = (state * 1103515245 + 1013904223) & 0x7FFFFFFF;
        state = (state * state >> 15) & 0x7FFFFFFF;
    }
    return state;
}

inline void coordinates(const std::int32_t (&cell)[4], std::int64_t place, std::int64_t key, double (&y)[4]) {
    std::int64_t state = mixed((place + key) & 0x7FFFFFFF);
    for (int i = 0; i < 4; ++i) {
        double middle = cell[i] + 0.5;
        if (shifted[i]) {
            if (i < 3 || cell[i] >= first_heavy) middle -= static_cast<double>(state) / 2147483648;
            state = mixed(state);
        }
        y[i] = rounded(middle * steps[i]) + low[i];
    }
}

inline double from_symlog(double y) {
    const double size = std::fabs(y);
    return std::copysign(size < 1 ? size : std::exp(size - 1), y);
}

inline std::uint32_t integer(const std::vector<std::uint8_t>& bytes, std::size_t at) {
    return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | static_cast<std::uint32_t>(bytes[at + 3]) << 24;
}

// Numbers whose first bytes come first, then all second ones and so on, from `at` on.
template <class T>
std::vector<T> from_planes(const std::vector<std::uint8_t>& raw, std::size_t n, std::size_t& at) {
    std::vector<T> found(n);
    for (std::size_t b = 0; b < sizeof(T); ++b)
        for (std::size_t i = 0; i < n; ++i) reinterpret_cast<std::uint8_t*>(&found[i])[b] = raw[at++];
    return found;
}

// The columns of a chunk, from its bytes and the number of jets in each of its entries.
inline void unpack_chunk(const std::vector<std::uint8_t>& bytes, const std::vector<std::int64_t>& counts, Columns& out) {
    std::size_t jets = 0;
    for (const std::int64_t count : counts) {
        if (count < 0 || (jets += static_cast<std::size_t>(count)) > 1u << 25) refuse("numbers of jets");
    }
    const std::size_t head = any_shifted ? 12 : 8;
    if (bytes.size() < head || bytes.size() % 4) refuse("bytes of a chunk");
    const std::size_t kept = integer(bytes, 0), size = integer(bytes, 4);
    const std::int64_t key = any_shifted ? integer(bytes, 8) : 0;
    if (kept > jets || size > bytes.size() - head || size % 4) refuse("exact jets");
    std::vector<std::uint8_t> raw;
    if (kept) raw = Lzma(bytes.data() + head, size).unpack(kept * (4 + Columns::width));
    std::size_t at = 0;
    const std::vector<std::uint32_t> steps_to = from_planes<std::uint32_t>(raw, kept, at);
    std::vector<std::uint8_t> is_exact(jets, 0);
    std::vector<std::size_t> where(kept);
    std::size_t last = 0;
    for (std::size_t i = 0; i < kept; ++i) {
        last += steps_to[i];
        if (last >= jets || (i && !steps_to[i])) refuse("indices of exact jets");
        where[i] = last, is_exact[last] = 1;
    }
    std::vector<std::int64_t> left(counts);
    for (std::size_t e = 0, jet = 0; e < counts.size(); ++e)
        for (std::int64_t i = 0; i < counts[e]; ++i) left[e] -= is_exact[jet++];
    Words words(bytes.data() + head + size, (bytes.size() - head - size) / 4);
    std::vector<std::int32_t> cells[4], codes(jets - kept, 0);
    Walk walk(words);
    if (paddings) walk.padding(left, codes);
    for (std::size_t e = 0, jet = 0; paddings && e < counts.size(); ++e)
        for (std::int64_t i = 0, all = left[e]; i < all; ++i) left[e] -= codes[jet++] != 0;
    walk.through(left, static_cast<std::size_t>(std::count(codes.begin(), codes.end(), 0)), cells);
    if (words.left || words.state) refuse("words of jets");
    out.resize(jets);
    Jets found;
    for (std::size_t jet = 0, i = 0, k = 0; jet < jets; ++jet) {
        if (is_exact[jet]) continue;
        if (const std::int32_t code = codes[k++]) {
            out.pad(jet, code);
            continue;
        }
        double y[4];
        coordinates({cells[0][i], cells[1][i], cells[2][i], cells[3][i]}, static_cast<std::int64_t>(jet), key, y);
        ++i;
        found.pt.at[0] = std::exp(y[0]), found.eta.at[0] = y[1], found.phi.at[0] = within(y[2], -largest_phi, largest_phi);
        found.m.at[0] = from_symlog(y[3]) * mass_floor;
        out.set(jet, found);
    }
    out.keep(raw, where, at, [](auto& column, const auto& planes, const auto& rows, std::size_t& from) {
        const auto originals = from_planes<typename std::decay_t<decltype(column)>::value_type>(planes, rows.size(), from);
        for (std::size_t k = 0; k < rows.size(); ++k) column[rows[k]] = originals[k];
    });
}
