// One pass over the jets of a chunk.
class Walk {
  public:
    explicit Walk(Words& words) : words_(words) {}

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
        for (std::size_t i = 0; i < jets; ++i) contexts_[i] = grid_.pt_class[pt[i]];
        eta_.read(words_, contexts_.data(), eta, jets, grid_.etas(pt));
        for (std::size_t i = 0; i < jets; ++i)
            contexts_[i] = static_cast<std::uint16_t>(contexts_[i] * 4 + grid_.eta_class(pt[i], eta[i]));
        mass_.read(words_, contexts_.data(), mu, jets, grid_.masses(pt));
        for (std::size_t i = 0; i < jets; ++i) mu[i] = grid_.mass(pt[i], mu[i]);
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
                const double size = grid_.sizes_of_pt[pt[i]];
                const int at = grid_.direction(pt[i], phi[i]);
                x_[i] += size * cosine[at], y_[i] += size * sine[at], last_[i] = size;
            }
            before = begin, begin += n;
        }
        pt_.read(words_, nullptr, pt_cells_.data() + begin, jets - begin);
        any_phi_.read(words_, nullptr, phi_cells_.data() + begin, jets - begin, grid_.phis(pt_cells_.data() + begin));
    }

    void first(const std::int64_t* counts, std::int32_t* pt, std::int32_t* phi, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i)
            contexts_[i] = static_cast<std::uint16_t>(std::min<std::int64_t>(counts[event_[i]], 5));
        pt_.read(words_, in_context ? contexts_.data() : nullptr, pt, n);
        any_phi_.read(words_, nullptr, phi, n, grid_.phis(pt));
    }

    // The jets that follow in their events: pt below that of the jet before, phi from the direction of the recoil.
    void next(const std::int64_t* counts, int rank, const std::int32_t* before, std::int32_t* pt, std::int32_t* phi,
              std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) {
            const double square = rounded(x_[i] * x_[i]) + rounded(y_[i] * y_[i]);
            const int place = (counts[event_[i]] == rank + 1) + 2 * (std::min(rank, 4) - 1);
            const int balance = octave(square / square_of(last_[i]), 1023 - 6, 6);
            contexts_[i] = static_cast<std::uint16_t>((place + 8 * balance) * 9 + grid_.pt_class[before[i]]);
        }
        fall_.read(words_, contexts_.data(), pt, n, grid_.falls(before));
        for (std::size_t i = 0; i < n; ++i) {
            const std::int64_t cell = std::int64_t{before[i]} - pt[i];  // forged words may exceed the grid
            pt[i] = static_cast<std::int32_t>(cell < 0 ? 0 : cell < cells_of_pt ? cell : cells_of_pt - 1);
            const double square = rounded(x_[i] * x_[i]) + rounded(y_[i] * y_[i]);
            const int ratio = octave(square_of(grid_.sizes_of_pt[pt[i]]) / (square > 1 ? square : 1), 1023 - 14, 20);
            contexts_[i] = static_cast<std::uint16_t>(ratio + 20 * (std::min(rank, 3) - 1));
        }
        phi_.read(words_, contexts_.data(), phi, n, grid_.phis(pt));
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t cell = phi[i] + grid_.phi_from(pt[i], direction(x_[i], y_[i])), turn = grid_.turn(pt[i]);
            phi[i] = cell < turn ? cell : cell - turn;
        }
    }

    Words& words_;
    const Grid& grid_ = Grid::known();
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

// The coordinates of a jet at this place in its chunk.
inline void coordinates(const std::int32_t (&cell)[4], std::int64_t place, std::int64_t key, double (&y)[4]) {
    std::int64_t state = mixed((place + key) & 0x7FFFFFFF);
    double middle[4];
    for (int i = 0; i < 4; ++i) {
        middle[i] = cell[i] + 0.5;
        if (!shifted[i]) continue;
        if (i < 3 || cell[i] >= first_heavy) middle[i] -= static_cast<double>(state) / 2147483648;
        state = mixed(state);
    }
    Grid::known().coordinates(cell[0], middle, y);
}

// What the bytes of a chunk tell of its jets.
struct Unpacked {
    std::vector<std::uint8_t> is_exact;
    std::vector<std::size_t> where;      // of the exact jets
    std::vector<std::uint8_t> raw;       // of these: byte planes,
    std::size_t originals = 0;           // from here on those of their columns
    std::vector<std::int32_t> codes;     // of the others: of padding, or 0
    std::vector<std::int32_t> cells[4];  // of those that are neither
    std::int64_t key = 0;                // of the offsets

    // One more than the cells of each jet, or 0: what tells of its other numbers.
    std::vector<std::vector<std::int32_t>> told() const {
        std::vector<std::vector<std::int32_t>> found(4, std::vector<std::int32_t>(is_exact.size()));
        for (std::size_t jet = 0, i = 0, k = 0; jet < is_exact.size(); ++jet) {
            if (is_exact[jet] || codes[k++]) continue;
            for (int v = 0; v < 4; ++v) found[v][jet] = cells[v][i] + 1;
            ++i;
        }
        return found;
    }
};

// What is before the words of a chunk; returns where they begin.
inline std::size_t unpack_head(const std::vector<std::uint8_t>& bytes, std::size_t jets, Unpacked& found) {
    const std::size_t head = any_shifted ? 12 : 8;
    if (bytes.size() < head || bytes.size() % 4) refuse("bytes of a chunk");
    const std::size_t kept = integer(bytes, 0), size = integer(bytes, 4);
    if (any_shifted) found.key = integer(bytes, 8);
    if (kept > jets || size > bytes.size() - head || size % 4) refuse("exact jets");
    if (kept) found.raw = Lzma(bytes.data() + head, size, "exact jets").unpack(kept * (4 + Columns::width));
    const std::vector<std::uint32_t> steps_to = from_planes<std::uint32_t>(found.raw, kept, found.originals);
    found.is_exact.assign(jets, 0), found.where.resize(kept);
    std::size_t last = 0;
    for (std::size_t i = 0; i < kept; ++i) {
        last += steps_to[i];
        if (last >= jets || (i && !steps_to[i])) refuse("indices of exact jets");
        found.where[i] = last, found.is_exact[last] = 1;
    }
    return head + size;
}

// The cells of a chunk, from its bytes and the number of jets in each of its entries.
inline Unpacked unpack_cells(const std::vector<std::uint8_t>& bytes, const std::vector<std::int64_t>& counts) {
    const std::size_t jets = all_jets(counts);
    Unpacked found;
    const std::size_t begin = unpack_head(bytes, jets, found);
    std::vector<std::int64_t> left(counts);
    for (std::size_t e = 0, jet = 0; e < counts.size(); ++e)
        for (std::int64_t i = 0; i < counts[e]; ++i) left[e] -= found.is_exact[jet++];
    Words words(bytes.data() + begin, (bytes.size() - begin) / 4);
    found.codes.assign(jets - found.where.size(), 0);
    Walk walk(words);
    if (paddings) walk.padding(left, found.codes);
    for (std::size_t e = 0, jet = 0; paddings && e < counts.size(); ++e)
        for (std::int64_t i = 0, all = left[e]; i < all; ++i) left[e] -= found.codes[jet++] != 0;
    walk.through(left, static_cast<std::size_t>(std::count(found.codes.begin(), found.codes.end(), 0)), found.cells);
    if (words.left || words.state) refuse("words of jets");
    return found;
}

// The columns of the jets of a chunk.
inline void restore(const Unpacked& found, Columns& out) {
    const std::size_t jets = found.is_exact.size();
    const auto& cells = found.cells;
    out.resize(jets);
    Jets some;
    for (std::size_t jet = 0, i = 0, k = 0; jet < jets; ++jet) {
        if (found.is_exact[jet]) continue;
        if (const std::int32_t code = found.codes[k++]) {
            out.pad(jet, code);
            continue;
        }
        double y[4];
        const auto place = static_cast<std::int64_t>(jet);
        coordinates({cells[0][i], cells[1][i], cells[2][i], cells[3][i]}, place, found.key, y);
        ++i;
        some.pt.at[0] = std::exp(y[0]), some.eta.at[0] = y[1];
        some.phi.at[0] = within(y[2], -largest_phi, largest_phi), some.m.at[0] = from_symlog(y[3]) * mass_floor;
        out.set(jet, some);
    }
    const auto keep = [](auto& column, const auto& planes, const auto& rows, std::size_t& from) {
        const auto originals = from_planes<typename std::decay_t<decltype(column)>::value_type>(planes, rows.size(), from);
        for (std::size_t k = 0; k < rows.size(); ++k) column[rows[k]] = originals[k];
    };
    out.keep(found.raw, found.where, found.originals, keep);
}
