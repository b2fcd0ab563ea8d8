// Rows that are decoded side by side: cells, offsets, and the coordinates known of them.
struct Side {
    std::int64_t cell[variables][size];
    Block shift[variables], y[variables];
};

// How a variable is decoded, given those before it that tell of it.
template <int i>
struct Link;

template <int i>
using Type = typename Link<i>::Type;

// A whole number as the type that stores it.
template <class T>
T whole(double x) {
    constexpr double most = 9007199254740992;  // 2^53: a double has no larger ones one by one
    constexpr auto least = static_cast<double>(std::numeric_limits<T>::lowest());
    constexpr auto largest = static_cast<double>(std::numeric_limits<T>::max());
    return static_cast<T>(within(std::nearbyint(x), least > -most ? least : -most, largest < most ? largest : most));
}

