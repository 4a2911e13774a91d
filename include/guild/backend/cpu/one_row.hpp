#pragma once
#include <guild/backend/cpu/packed_network.hpp>
#include <guild/dispatch/choice.hpp>
#include <guild/gate/rank.hpp>

/// Layers so small, and rows so few, that calls, threads and gathered rows would cost more than the products: each token goes alone through its
/// experts, with the bits that fused.hpp gives it.
namespace guild::inline v0::cpu {

/// Most outputs of a row of sums, gate and up of a network whose down product has a single block, twice; and most rows.
inline constexpr long few_outputs = 4 * depth_block, few_rows = 8;

/// Whether fp32 products over w are of a single block, and those of so many rows less than what a thread is woken for.
inline bool fits_by_rows(const packed_matrix<float>& w, long rows) {
    const layout& l = w.shape();
    return w.computed().by == arithmetic::fp32 && l.blocks() == 1 && l.outputs() <= few_outputs && rows <= few_rows &&
           rows * l.panels() * l.columns() * l.depth() <= 1L << 18;
}
/// The same of a whole network, where it has no bias.
inline bool fits_by_rows(const packed_network<float>& w, long rows) {
    return fits_by_rows(w.up, rows) && fits_by_rows(w.down, rows) && !w.gate_bias.data && !w.up_bias.data && !w.down_bias.data;
}

/// c = a w^T for rows [first, last)
inline void product_by_rows(const kernels& with, long first, long last, view<const float> a, const packed_matrix<float>& w, view<float> c) {
    alignas(64) float sums[few_outputs + most_columns];
    for (long r = first; r < last; ++r) {
        with.one_row(a.row(r), reinterpret_cast<const float*>(w.block(0, 0, 0)), a.cols, w.shape().panels(), sums);
        std::copy_n(sums, c.cols, c.row(r));
    }
}

/// f(i, out [H]) for n experts e(i) of the row x [H].
template <class E, class F> void through(const kernels& with, const packed_network<float>& w, const float* x, int n, E e, F f) {
    static_assert(depth_block % most_columns == 0);
    alignas(64) float a[most_networks * depth_block], out[most_networks * depth_block];
    const layout &up = w.up.shape(), &down = w.down.shape();
    const auto weights = [](const packed_matrix<float>& m, long of) { return reinterpret_cast<const float*>(m.block(of, 0, 0)); };
    for (int i = 0; i < n; i += most_networks) {
        const int together = std::min(n - i, most_networks);
        one_network some[most_networks];
        for (int j = 0; j < together; ++j) some[j] = {weights(w.up, e(i + j)), weights(w.down, e(i + j))};
        with.few_swiglu(x, up.depth(), down.depth(), some, together, a, out);
        for (int j = 0; j < together; ++j) f(i + j, out + j * down.panels() * with.columns);
    }
}
/// y [T, H] = the network of x [T, H]
inline void network_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, view<float> y) {
    for (long t = 0; t < x.rows; ++t)
        through(
            with, w, x.row(t), 1, [](int) { return 0; }, [&](int, const float* out) { std::copy_n(out, y.cols, y.row(t)); });
}
/// y [T, H] += weight expert(x), a token's experts in ascending id; at most few_rows of them.
inline void experts_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, const choice<float>& chosen, view<float> y) {
    for (long t = 0; t < x.rows; ++t) {
        long slot[few_rows];
        int n = 0;
        for (long s = t * chosen.slots; s < (t + 1) * chosen.slots; ++s) {
            const int e = chosen.expert[s];
            if (e == no_expert) continue;
            int i = n++;
            for (; i > 0 && chosen.expert[slot[i - 1]] > e; --i) slot[i] = slot[i - 1];
            slot[i] = s;
        }
        float* const to = y.row(t);
        through(
            with, w, x.row(t), n, [&](int i) { return chosen.expert[slot[i]]; },
            [&](int i, const float* out) {
                const float by = chosen.weight[slot[i]];
                for (long h = 0; h < y.cols; ++h) to[h] += by * out[h];
            });
    }
}

}  // namespace guild::inline v0::cpu
