constexpr int cells_of_pt = std::size(places);

// The quotient of a number by a positive one, rounded up.
inline std::int64_t ceiling(std::int64_t number, std::int64_t divisor) {
    return number / divisor + (number % divisor > 0);
}

// A grid whose steps follow the resolution: of eta, phi and mu, cells have the width of the jet's cell of pt, in units of
// 1 / per_one; `places` are the lower edges of those of pt.
class Grid {
  public:
    static const Grid& known() {
        static const Grid grid;
        return grid;
    }

    std::vector<std::uint16_t> pt_class;
    std::vector<double> sizes_of_pt;

    int eta_class(std::int32_t pt, std::int32_t eta) const {
        const std::int64_t step = eta_steps[pt];
        return class_of(eta_edges, static_cast<double>(std::abs(eta * step + (shifted[1] ? 0 : step / 2))));
    }
    int direction(std::int32_t pt, std::int32_t phi) const {
        const std::int64_t step = phi_steps[pt], place = (phi * step + (shifted[2] ? 0 : step / 2)) * 4096 / full;
        return static_cast<int>(std::min<std::int64_t>(place, 4095) + 2048) % 4096;
    }
    static std::int32_t turn(std::int32_t pt) {
        return static_cast<std::int32_t>(ceiling(full, phi_steps[pt]) + shifted[2]);
    }
    std::int32_t phi_from(std::int32_t pt, int direction) const {
        return static_cast<std::int32_t>((2 * ((direction + 2048) % 4096) + 1) * full / 8192 / phi_steps[pt]);
    }

    // Distances in cells of pt below the cell before.
    struct Falls {
        const std::int32_t* before;
        std::int64_t start(std::size_t row, std::int64_t edge) const {
            const std::int64_t farthest = places[before[row]] - edge;
            return before[row] + 1 - (std::upper_bound(places, places + cells_of_pt, farthest) - places);
        }
    };
    struct Etas {
        const std::int32_t* pt;
        std::int64_t start(std::size_t row, std::int64_t edge) const {
            return ceiling(edge + lowest_eta, eta_steps[pt[row]]);
        }
    };
    struct Phis {
        const std::int32_t* pt;
        std::int64_t start(std::size_t row, std::int64_t edge) const {
            return std::min<std::int64_t>(ceiling(edge, phi_steps[pt[row]]), turn(pt[row]));
        }
    };
    // Those of mu, relative to log pt; massless ones come after the others, from `top`.
    struct Masses {
        const std::int32_t* pt;
        std::int64_t start(std::size_t row, std::int64_t edge) const {
            return edge > top ? last_mass(pt[row]) + edge - top : ceiling(edge - shift(pt[row]), mass_steps[pt[row]]);
        }
    };
    Falls falls(const std::int32_t* before) const { return {before}; }
    Etas etas(const std::int32_t* pt) const { return {pt}; }
    Phis phis(const std::int32_t* pt) const { return {pt}; }
    Masses masses(const std::int32_t* pt) const { return {pt}; }

    // The cell of mu from the one that is coded.
    std::int32_t mass(std::int32_t pt, std::int32_t relative) const {
        const std::int64_t last = last_mass(pt);
        return static_cast<std::int32_t>(relative < last ? relative : relative - last);
    }

    void coordinates(std::int32_t pt, const double (&middle)[4], double (&y)[4]) const {
        y[0] = std::log(pt_at(middle[0]));
        y[1] = middle[1] * (eta_steps[pt] / per_one);
        y[2] = rounded(middle[2] * (phi_steps[pt] / per_one)) - 3.141592653589793;
        y[3] = middle[3] * (mass_steps[pt] / per_one);
    }

  private:
    Grid() {
        for (const std::int32_t place : places) {
            sizes_of_pt.push_back(exponential_at(std::int64_t{place} * 256 / static_cast<std::int64_t>(per_one)));
            pt_class.push_back(class_of(pt_edges, place));
        }
    }

    static std::int64_t shift(std::int32_t pt) { return -lowest_mass - places[pt]; }
    static std::int64_t last_mass(std::int32_t pt) { return ceiling(top - shift(pt), mass_steps[pt]); }
};

