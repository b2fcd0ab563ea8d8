constexpr int cells_of_pt = sizes[0];

// A uniform grid, and what follows from its steps for every cell.
class Grid {
  public:
    static const Grid& known() {
        static const Grid grid;
        return grid;
    }

    std::vector<std::uint16_t> pt_class;
    std::vector<double> sizes_of_pt;

    int eta_class(std::int32_t, std::int32_t eta) const { return eta_class_[eta]; }
    int direction(std::int32_t, std::int32_t phi) const { return directions_[phi]; }
    std::int32_t turn(std::int32_t) const { return sizes[2]; }
    std::int32_t phi_from(std::int32_t, int direction) const { return phi_from_[direction]; }

    SameCells falls(const std::int32_t*) const { return {}; }
    SameCells etas(const std::int32_t*) const { return {}; }
    SameCells phis(const std::int32_t*) const { return {}; }
    SameCells masses(const std::int32_t*) const { return {}; }

    // The cell of mu from the one that is coded.
    std::int32_t mass(std::int32_t pt, std::int32_t relative) const {
        const std::int64_t found =
            relative < sizes[3] ? std::int64_t{relative} + anchors_[pt] : relative - (sizes[3] - zero_mass);
        if (found < 0 || found >= sizes[3]) refuse("masses");
        return static_cast<std::int32_t>(found);
    }

    void coordinates(std::int32_t, const double (&middle)[4], double (&y)[4]) const {
        for (int i = 0; i < 4; ++i) y[i] = rounded(middle[i] * steps[i]) + low[i];
    }

  private:
    Grid() {
        for (int k = 0; k < sizes[0]; ++k) {
            anchors_.push_back(static_cast<std::int32_t>(std::floor((k + 0.5) * anchor_ratio)));
            sizes_of_pt.push_back(exponential_at(std::floor((k + 0.5) * exponential_ratio)));
            pt_class.push_back(class_of(pt_edges, k));
        }
        for (int k = 0; k < sizes[1]; ++k) {
            eta_class_.push_back(class_of(eta_edges, std::fabs(low[1] + rounded((k + 0.5) * steps[1]))));
        }
        for (int k = 0; k < sizes[2]; ++k) {
            const int place = static_cast<int>(std::min<double>(std::floor((k + 0.5) * direction_ratio), 4095));
            directions_.push_back((place + 2048) % 4096);
        }
        for (int k = 0; k < 4096; ++k) {
            const double place = std::floor(((k + 2048) % 4096 + 0.5) * phi_ratio);
            phi_from_.push_back(static_cast<std::int32_t>(std::min<double>(place, sizes[2] - 1)));
        }
    }

    std::vector<std::int32_t> anchors_, phi_from_, directions_;
    std::vector<std::uint16_t> eta_class_;
};

