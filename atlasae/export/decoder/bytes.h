// What a chunk's bytes are: see docs/format.md. Everything up to the cells of jets is integers, or sums, products and
// quotients of doubles, which are the same on all machines.
[[noreturn]] inline void refuse(const char* what) {
    throw std::invalid_argument(std::string("atlasae: ") + what + " are damaged, or not of this header");
}

// The number of jets of entries with so many each.
inline std::size_t all_jets(const std::vector<std::int64_t>& counts) {
    std::size_t jets = 0;
    for (const std::int64_t count : counts)
        if (count < 0 || (jets += static_cast<std::size_t>(count)) > 1u << 25) refuse("numbers of jets");
    return jets;
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

// LZMA without headers (Pavlov's specification), with lc = 1, lp = 0 and pb = 0.
class Lzma {
  public:
    Lzma(const std::uint8_t* in, std::size_t n, const char* what) : in_(in), end_(in + n), what_(what) {
        if (n < 5 || *in_++ != 0) refuse(what_);
        for (int i = 0; i < 4; ++i) code_ = code_ << 8 | *in_++;
        for (auto& length : lengths_) length.reset();
    }

    std::vector<std::uint8_t> unpack(std::size_t size) {
        std::vector<std::uint8_t> out;
        std::uint32_t rep0 = 0, rep1 = 0, rep2 = 0, rep3 = 0;
        int state = 0;
        while (out.size() < size) {
            if (beyond_ > 4) refuse(what_);
            if (!bit(match_[state])) {
                out.push_back(literal(out, state, rep0));
                state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
                continue;
            }
            std::uint32_t length;
            if (bit(rep_[state])) {
                if (out.empty()) refuse(what_);
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

    std::uint8_t before(const std::vector<std::uint8_t>& out, std::uint32_t distance) const {
        if (distance >= out.size()) refuse(what_);
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
    const char* what_;
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

