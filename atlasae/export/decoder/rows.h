}  // namespace detail

// The rows of an entry. A variable is decoded when it is first asked for, after those before it that tell of it.
class Rows {
  public:
    // Take the words of n rows. The same ones as before are what is known of them already.
    void read(const float* const (&z)[detail::words], std::size_t n) {
        bool same = n == n_;
        for (int j = 0; same && n && j < detail::words; ++j) same = !std::memcmp(&words_[j * n], z[j], n * sizeof(float));
        if (same) return;
        n_ = 0, known_.fill(false), words_.clear();
        for (const float* word : z) words_.insert(words_.end(), word, word + n);
        sides_.resize((n + detail::size - 1) / detail::size);
        for (std::size_t b = 0; b < sides_.size(); ++b) take(b * detail::size, n, sides_[b]);
        n_ = n;
    }

    // The values of a variable, by its place in the list, from 0.
    template <int i>
    List<detail::Type<i>> list(const List<std::int32_t>& exact_index, const List<detail::Type<i>>& exact) {
        if (exact.size() != exact_index.size()) detail::refuse_lengths();
        decode<i>();
        List<detail::Type<i>> values(n_);
        for (std::size_t k = 0; k < n_; ++k) values[k] = value<i>(k);
        detail::put_exact(exact_index, exact, values);
        return values;
    }

  private:
    // Rows from `start` on, side by side; any in the place of padding, and beyond the last.
    void take(std::size_t start, std::size_t n, detail::Side& side) const {
        float z[detail::words][detail::size];
        for (std::size_t k = 0; k < detail::size; ++k) {
            const std::size_t row = start + k < n ? start + k : start;
            const bool none = detail::paddings && words_[row] < 0;
            for (int j = 0; j < detail::words; ++j) z[j][k] = none ? 1 : words_[j * n + row];
        }
        detail::find_cells(z, side);
    }

    template <int i>
    void decode() {
        if (known_[i]) return;
        decode_given(typename detail::Link<i>::Given{});
        for (detail::Side& side : sides_) detail::Link<i>::decode(side);
        known_[i] = true;
    }

    template <int... given>
    void decode_given(std::integer_sequence<int, given...>) {
        (decode<given>(), ...);
    }

    template <int i>
    detail::Type<i> value(std::size_t row) const {
        if constexpr (detail::paddings > 0)
            if (words_[row] < 0) return detail::Link<i>::padding(words_[row]);
        return detail::Link<i>::stored(sides_[row / detail::size].y[i].at[row % detail::size]);
    }

    std::size_t n_ = 0;
    std::vector<float> words_;
    std::vector<detail::Side> sides_;
    std::array<bool, detail::variables> known_ = {};
};

