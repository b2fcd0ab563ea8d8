// Other numbers of the jets of a chunk: `ColumnsCodec` of atlasae/codecs/columns.py, `Kind` of atlasae/jets/kinds.py.
// All that is decoded is integers, but for what floats on a grid or within a bound are made of at the end.
enum class Steps { integers, flags, bits, multiples, powers };

struct Column {
    Steps steps;        // what they are: integers, 0 or 1, bits of floats by value, multiples, also in the logarithm
    int bytes;          // of a number
    std::int64_t low;   // the lowest step, in units of 2^tail
    std::int32_t size;  // the number of symbols of steps
    int cut, tail;      // bits: zeros at the end of a float, and what is behind a symbol
    double step;
    std::int64_t one;   // of multiples of a logarithm, the step of 1
    const std::uint64_t* marks;  // bits of numbers that have a symbol of their own
    std::int32_t marked;
    int parents[2];   // the columns that tell of it, those of the four-momenta first; -1: none
    int bins, trust;  // of its tables
    bool tells;       // of others
};

// Every so many-th of n symbols, at most 2^16 of them, in the order of their sizes.
inline std::vector<std::int32_t> sorted_some(const std::int32_t* symbols, std::size_t n) {
    std::vector<std::int32_t> found;
    for (std::size_t i = 0, every = n / (1u << 16) + 1; i < n; i += every) found.push_back(symbols[i]);
    std::sort(found.begin(), found.end());
    return found;
}

// The first symbols of all parts but the lowest, of sorted symbols; one that is common has a part of its own.
inline std::vector<std::int32_t> quantiles(const std::vector<std::int32_t>& sorted, std::size_t parts) {
    std::vector<std::int32_t> found;
    std::int32_t last = -1;
    for (std::size_t i = 1; i < parts && !sorted.empty(); ++i) {
        const std::int32_t symbol = sorted[i * sorted.size() / parts], edge = symbol + (symbol == last);
        if (found.empty() || found.back() < edge) found.push_back(edge);
        last = symbol;
    }
    return found;
}

// The number of edges up to a symbol, for about n symbols.
class Places {
  public:
    Places(const std::int32_t* edges, std::size_t number, std::size_t n) : edges_(edges), end_(edges + number) {
        const std::size_t last = number ? static_cast<std::size_t>(edges[number - 1]) : 0;
        if (!number || last > 4 * n + 1024) return;
        table_.assign(last + 1, static_cast<std::uint16_t>(number));
        for (std::size_t i = 0, from = 0; i < number; from = static_cast<std::size_t>(edges[i++]))
            std::fill(&table_[from], &table_[edges[i]], static_cast<std::uint16_t>(i));
    }

    std::uint16_t of(std::int32_t symbol) const {
        const auto at = static_cast<std::size_t>(symbol);
        if (!table_.empty()) return table_[std::min(at, table_.size() - 1)];
        return static_cast<std::uint16_t>(std::upper_bound(edges_, end_, symbol) - edges_);
    }

  private:
    const std::int32_t *edges_, *end_;
    std::vector<std::uint16_t> table_;
};

// The class of each symbol, by which they tell of others.
struct Classes {
    std::vector<std::uint16_t> of;
    int kinds = 1;
};

inline Classes classes_of(std::vector<std::int32_t> symbols) {
    constexpr std::size_t most = 12;
    const std::int32_t lowest = symbols.empty() ? 0 : std::min(0, *std::min_element(symbols.begin(), symbols.end()));
    for (std::int32_t& symbol : symbols) symbol = static_cast<std::int32_t>(std::int64_t{symbol} - lowest);
    const auto sorted = sorted_some(symbols.data(), symbols.size());
    auto edges = sorted;
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    if (edges.size() > most)
        edges = quantiles(sorted, most);
    else if (!edges.empty())
        edges.erase(edges.begin());
    const Places places(edges.data(), edges.size(), symbols.size());
    Classes found{std::vector<std::uint16_t>(symbols.size()), 1};
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        found.of[i] = places.of(symbols[i]);
        found.kinds = std::max(found.kinds, found.of[i] + 1);
    }
    return found;
}

// The classes of both.
inline Classes both(const Classes& outer, const Classes& inner) {
    Classes found{outer.of, outer.kinds * inner.kinds};
    for (std::size_t i = 0; i < found.of.size(); ++i)
        found.of[i] = static_cast<std::uint16_t>(found.of[i] * inner.kinds + inner.of[i]);
    return found;
}

// Reads the symbols of a column, in spans: the tables of each are made of all symbols before it.
class Spans {
  public:
    Spans(const Column& column, std::vector<Classes> contexts)
        : size_(1 + column.marked + column.size), bins_(column.bins), trust_(column.trust),
          contexts_(std::move(contexts)) {}

    std::vector<std::int32_t> read(Words& words, std::size_t n) const {
        std::vector<std::int32_t> found(n);
        for (std::size_t begin = 0, end; size_ > 1 && begin < n; begin = end) {
            end = std::min(n, begin + std::max<std::size_t>(32, begin < early ? begin / 8 : begin));
            const auto edges = this->edges(found.data(), begin);
            const int kinds = contexts_.empty() ? 1 : contexts_.back().kinds;
            Bins table(edges.data(), kinds, static_cast<int>(edges.size()) - 1, counts(found.data(), begin, edges));
            table.read(words, contexts_.empty() ? nullptr : &contexts_.back().of[begin], &found[begin], end - begin);
        }
        return found;
    }

  private:
    static constexpr std::size_t early = 1 << 15;

    // The edges of bins of about as many of the symbols that were seen.
    std::vector<std::int32_t> edges(const std::int32_t* seen, std::size_t n) const {
        std::size_t root = 0, most = bins_;
        while ((root + 1) * (root + 1) <= n / early) ++root;
        if (n >= early) most = std::min<std::size_t>(256, most * root);
        std::vector<std::int32_t> found = {0, 1, size_};
        if (static_cast<std::size_t>(size_) <= most) {
            found.resize(size_ + 1);
            std::iota(found.begin(), found.end(), 0);
            return found;
        }
        for (const std::int32_t edge : quantiles(sorted_some(seen, n), std::min(most, std::max<std::size_t>(8, n / 8))))
            if (edge < size_) found.push_back(edge);
        std::sort(found.begin(), found.end());
        found.erase(std::unique(found.begin(), found.end()), found.end());
        return found;
    }

    // The counts of bins in contexts, which start from the shares in those of the first parent, and of none.
    std::vector<std::int64_t> counts(const std::int32_t* seen, std::size_t n,
                                     const std::vector<std::int32_t>& edges) const {
        const std::size_t bins = edges.size() - 1;
        const Places places(&edges[1], bins - 1, n);
        std::vector<std::uint16_t> bin(n);
        std::vector<std::int64_t> found(bins, 1);
        for (std::size_t i = 0; i < n; ++i) found[bin[i] = places.of(seen[i])] += 2;
        to_shares(found, bins);
        int kinds = 1;
        for (std::size_t level = 0; level < contexts_.size(); ++level) {
            if (level) to_shares(found, bins);
            const Classes& context = contexts_[level];
            const std::vector<std::int64_t> shares = std::move(found);
            found.assign(context.kinds * bins, 0);
            for (std::size_t i = 0; i < n; ++i) ++found[context.of[i] * bins + bin[i]];
            for (std::size_t at = 0; at < found.size(); ++at) {
                const std::size_t before = at / bins / (context.kinds / kinds);
                found[at] = found[at] * Bins::share + trust_ * shares[before * bins + at % bins];
            }
            kinds = context.kinds;
        }
        return found;
    }

    // Counts to shares of each bin in its context, of which none is 0.
    static void to_shares(std::vector<std::int64_t>& counts, std::size_t bins) {
        for (std::size_t first = 0; first < counts.size(); first += bins) {
            const auto sum = std::accumulate(&counts[first], &counts[first] + bins, std::int64_t{0});
            for (std::size_t at = first; at < first + bins; ++at)
                counts[at] = std::max<std::int64_t>(1, counts[at] * Bins::share / sum);
        }
    }

    std::int32_t size_;
    int bins_, trust_;
    std::vector<Classes> contexts_;  // of the first parent, and of both
};

template <class Bits, class Number>
std::uint64_t bits_of(Number number) {
    Bits bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}

// The bits of the number of a symbol and its tail.
inline std::uint64_t number_of(const Column& column, std::int32_t symbol, std::uint64_t tail) {
    if (symbol <= column.marked) return symbol ? column.marks[symbol - 1] : 0;
    const auto place = static_cast<std::uint64_t>(symbol - 1 - column.marked) + static_cast<std::uint64_t>(column.low);
    const std::uint64_t step = place << column.tail | tail;
    const auto whole = static_cast<std::int64_t>(step);
    double x = 0;
    switch (column.steps) {
        case Steps::integers: return step;
        case Steps::flags: return step != 0;
        case Steps::bits: {
            const std::uint64_t sign = whole < 0, size = (sign ? ~step : step) << column.cut;
            return size | sign << (8 * column.bytes - 1);
        }
        case Steps::multiples: x = static_cast<double>(whole) * column.step; break;
        case Steps::powers: {
            const std::uint64_t size = whole < 0 ? -step : step;
            x = static_cast<double>(static_cast<std::int64_t>(size - static_cast<std::uint64_t>(column.one)));
            x = whole < 0 ? -std::exp(x * column.step) : std::exp(x * column.step);
        }
    }
    return column.bytes == 4 ? bits_of<std::uint32_t>(static_cast<float>(x)) : bits_of<std::uint64_t>(x);
}

// Columns as they are coded in some chunks: where each one of the header is among them.
struct Coding {
    const Column* columns;
    int number, given;  // columns, and those of the four-momenta
    const int* places;
};

// A run of the compression: the checksum by which it is known, and the number of its chunks.
struct Run {
    std::uint64_t checksum;
    std::int64_t chunks;
    int coding;
};

// Other numbers of the jets of a chunk. A column is decoded when it is first asked for, after those that tell of it.
class Others {
  public:
    using Told = std::function<std::vector<std::vector<std::int32_t>>()>;  // what the four-momenta tell

    Others() = default;
    Others(std::vector<std::uint8_t> bytes, std::size_t jets, const Coding& coding, Told told)
        : bytes_(std::move(bytes)), jets_(jets), coding_(coding), told_(std::move(told)) {
        const std::size_t parts = 2 * static_cast<std::size_t>(coding_.number);
        if (bytes_.size() < 4 * parts) refuse("columns of a chunk");
        ends_.assign(1, 4 * parts);
        for (std::size_t part = 0; part < parts; ++part) ends_.push_back(ends_.back() + integer(bytes_, 4 * part));
        if (ends_.back() != bytes_.size()) refuse("columns of a chunk");
        numbers_.resize(coding_.number), known_.resize(coding_.number), classes_.resize(coding_.given + coding_.number);
    }

    // The numbers of a column of the header, as bytes.
    const std::vector<std::uint8_t>& numbers(int of_header) {
        const int wanted = coding_.places[of_header];
        std::vector<std::uint8_t> needed(wanted + 1, 0);
        needed[wanted] = 1;
        for (int place = wanted; place >= 0; --place) {
            if (!needed[place] || known_[place]) continue;
            for (const int parent : coding_.columns[place].parents)
                if (parent >= coding_.given) needed[parent - coding_.given] = 1;
        }
        for (int place = 0; place <= wanted; ++place)
            if (needed[place] && !known_[place]) decode(place);
        return numbers_[wanted];
    }

  private:
    void decode(int place) {
        const Column& column = coding_.columns[place];
        const std::size_t begin = ends_[2 * place], middle = ends_[2 * place + 1], end = ends_[2 * place + 2];
        if ((middle - begin) % 4) refuse("columns of a chunk");
        Words words(bytes_.data() + begin, (middle - begin) / 4);
        const std::vector<std::int32_t> symbols = Spans(column, contexts(column)).read(words, jets_);
        const std::vector<std::uint64_t> tails = read_tails(words, column, symbols);
        if (words.left || words.state) refuse("columns of a chunk");
        std::vector<std::uint8_t> found;
        if (column.bytes == 1) found = stored<std::uint8_t>(column, symbols, tails, middle, end);
        if (column.bytes == 2) found = stored<std::uint16_t>(column, symbols, tails, middle, end);
        if (column.bytes == 4) found = stored<std::uint32_t>(column, symbols, tails, middle, end);
        if (column.bytes == 8) found = stored<std::uint64_t>(column, symbols, tails, middle, end);
        if (column.tells) classes_[coding_.given + place] = classes_of(symbols);
        numbers_[place] = std::move(found), known_[place] = 1;
    }

    // The contexts of the first parent, and of both.
    std::vector<Classes> contexts(const Column& column) {
        std::vector<Classes> found;
        for (const int parent : column.parents) {
            if (parent < 0) break;
            if (parent < coding_.given && told_) {
                const auto told = told_();
                for (int i = 0; i < coding_.given; ++i) classes_[i] = classes_of(told[i]);
                told_ = nullptr;
            }
            found.push_back(found.empty() ? classes_[parent] : both(found.back(), classes_[parent]));
        }
        return found;
    }

    // The tails of symbols that have one, digit by digit.
    static std::vector<std::uint64_t> read_tails(Words& words, const Column& column,
                                                 const std::vector<std::int32_t>& symbols) {
        std::vector<std::uint64_t> found(column.tail ? symbols.size() : 0);
        for (int shift = 0; shift < column.tail; shift += 16)
            for (std::size_t i = 0; i < symbols.size(); ++i) {
                if (symbols[i] <= column.marked) continue;
                found[i] |= std::uint64_t{words.uniform(1u << std::min(16, column.tail - shift))} << shift;
            }
        return found;
    }

    // The bytes of numbers, those of symbol 0 as they were kept.
    template <class Number>
    std::vector<std::uint8_t> stored(const Column& column, const std::vector<std::int32_t>& symbols,
                                     const std::vector<std::uint64_t>& tails, std::size_t begin, std::size_t end) const {
        const auto kept = static_cast<std::size_t>(std::count(symbols.begin(), symbols.end(), 0));
        if (!kept && begin != end) refuse("columns of a chunk");
        std::vector<std::uint8_t> raw;
        if (kept) raw = Lzma(bytes_.data() + begin, end - begin, "columns of a chunk").unpack(kept * sizeof(Number));
        std::size_t at = 0, next = 0;
        const std::vector<Number> originals = from_planes<Number>(raw, kept, at);
        std::vector<std::uint8_t> found(symbols.size() * sizeof(Number));
        for (std::size_t i = 0; i < symbols.size(); ++i) {
            const std::int32_t symbol = symbols[i];
            const auto number = static_cast<Number>(number_of(column, symbol, tails.empty() ? 0 : tails[i]));
            std::memcpy(&found[i * sizeof number], symbol ? &number : &originals[next++], sizeof number);
        }
        return found;
    }

    std::vector<std::uint8_t> bytes_;
    std::size_t jets_ = 0;
    Coding coding_ = {};
    Told told_;
    std::vector<std::size_t> ends_;  // of what is before the columns, and of the words and the kept numbers of each
    std::vector<std::vector<std::uint8_t>> numbers_;
    std::vector<std::uint8_t> known_;
    std::vector<Classes> classes_;  // of the four-momenta, and of columns that tell of others
};

