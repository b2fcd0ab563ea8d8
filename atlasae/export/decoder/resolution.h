// The pt (MeV) at a position of the grid, in steps: at this coordinate, whose unit is the resolution or, without one, 1 in
// log pt.
inline double pt_at(double position) {
    const double x = pt_constant * (rounded((position > 0 ? position : 0) * pt_share) + pt_first);
    if (!pt_noisy) return pt_unit * std::exp(x);
    const double e = std::expm1(x);
    return pt_unit * e * (pt_linear + rounded(pt_square * e)) / (pt_whole * (1 + e));
}

