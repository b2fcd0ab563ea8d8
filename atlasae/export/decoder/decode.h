// n jets: pt and m in MeV, eta, phi.
ATLASAE_FUNCTION void decode(const float* z0, const float* z1, const float* z2, std::size_t n, double* pt, double* eta,
                             double* phi, double* m) {
    detail::Jets jets;
    for (std::size_t start = 0; start < n; start += detail::size) {
        const std::size_t count = detail::some<15>(z0, z1, z2, start, n, jets);
        for (std::size_t k = 0; k < count; ++k) {
            pt[start + k] = jets.pt.at[k], eta[start + k] = jets.eta.at[k];
            phi[start + k] = jets.phi.at[k], m[start + k] = jets.m.at[k];
        }
    }
}

