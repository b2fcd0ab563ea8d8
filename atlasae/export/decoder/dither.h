// The state of the offsets, from 0 to 2^31 - 1, with one more number.
inline std::int64_t with(std::int64_t state, std::int64_t number, std::int64_t weight) {
    return (state + number) * weight & 0x7fffffff;
}

// A hash of a state: rounds of a linear step and the middle of the square.
inline std::int64_t mixed(std::int64_t state, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        state = (state * 1103515245 + 1013904223) & 0x7fffffff;
        state = (state * state >> 15) & 0x7fffffff;
    }
    return state;
}

