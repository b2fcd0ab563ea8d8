// Locations at the nodes of a table, which the network fills once; between the nodes they are interpolated.
template <int nodes>
class Nodes {
public:
    template <class Ask>
    Nodes(const double (&limits)[4], Ask ask) : table(nodes * nodes) {
        for (int a = 0; a < 2; ++a) {
            low[a] = limits[2 * a];
            high[a] = limits[2 * a + 1];
            scale[a] = high[a] > low[a] ? (nodes - 1) / (high[a] - low[a]) : 0;
        }
        for (int i = 0; i < nodes; ++i)
            for (int j = 0; j < nodes; ++j) table[i * nodes + j] = ask(node(0, i), node(1, j));
    }

    double at(double x, double y) const {
        double right, above;
        const int i = place(0, x, right), j = place(1, y, above);
        const double* corner = &table[i * nodes + j];
        const double below = corner[0] + above * (corner[1] - corner[0]);
        const double beyond = corner[nodes] + above * (corner[nodes + 1] - corner[nodes]);
        return below + right * (beyond - below);
    }

private:
    double node(int axis, int i) const { return low[axis] + (high[axis] - low[axis]) * i / (nodes - 1); }

    int place(int axis, double x, double& share) const {
        const double position = (within(x, low[axis], high[axis]) - low[axis]) * scale[axis];
        const int i = position < nodes - 2 ? static_cast<int>(position) : nodes - 2;
        share = position - i;
        return i;
    }

    double low[2], high[2], scale[2];
    std::vector<double> table;
};

