#pragma once
#include <guild/backend/cpu/packed_network.hpp>
#include <guild/combine/weighted_sum.hpp>
#include <guild/expert/activation.hpp>

/// Layers so small, and rows so few, that calls, threads and gathered rows would cost more than the products: each row goes alone through a whole
/// expert, with the bits that fused.hpp gives it.
namespace guild::inline v0::cpu {

/// Most outputs of a row of sums: gate and up of a network whose down product has a single block, twice.
inline constexpr long few_outputs = 4 * depth_block;

/// Whether fp32 products over w are of a single block, and those of so many rows less than what a thread is woken for.
inline bool fits_by_rows(const packed_matrix<float>& w, long rows) {
    const layout& l = w.shape();
    return w.computed().by == arithmetic::fp32 && l.blocks() == 1 && l.outputs() <= few_outputs && rows <= 8 &&
           rows * l.panels() * l.columns() * l.depth() <= 1L << 18;
}
/// The same of a whole network, where it has no bias.
inline bool fits_by_rows(const packed_network<float>& w, long rows) {
    return fits_by_rows(w.up, rows) && fits_by_rows(w.down, rows) && !w.gate_bias.data && !w.up_bias.data && !w.down_bias.data;
}

/// A row of sums.
struct one_row {
    alignas(64) float at[few_outputs + most_columns];
};

/// c = a w^T for rows [first, last)
inline void product_by_rows(const kernels& with, long first, long last, view<const float> a, const packed_matrix<float>& w, view<float> c) {
    one_row sums;
    for (long r = first; r < last; ++r) {
        with.one_row(a.row(r), reinterpret_cast<const float*>(w.block(0, 0, 0)), a.cols, w.shape().panels(), sums.at);
        std::copy_n(sums.at, c.cols, c.row(r));
    }
}

/// f(out [H]) for expert e of the row x [H].
template <class F> void through(const kernels& with, const packed_network<float>& w, long e, const float* x, F f) {
    one_row a, out;
    with.one_swiglu(x, w.up.shape().depth(), reinterpret_cast<const float*>(w.up.block(e, 0, 0)), w.down.shape().depth(),
                    reinterpret_cast<const float*>(w.down.block(e, 0, 0)), a.at, out.at);
    f(out.at);
}
/// y [T, H] = the network of x [T, H]
inline void network_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, view<float> y) {
    for (long t = 0; t < x.rows; ++t) through(with, w, 0, x.row(t), [&](const float* out) { std::copy_n(out, y.cols, y.row(t)); });
}
/// y [T, H] += weight expert(x), a token's experts in ascending id.
inline void experts_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, const choice<float>& chosen, const plan& plan,
                            view<float> y) {
    for (long t = 0; t < x.rows; ++t)
        combine::detail::each_row(plan, t, chosen.slots, [&](long, long slot) {
            if (chosen.expert[slot] >= w.up.experts()) return;
            const float by = chosen.weight[slot];
            float* const to = y.row(t);
            through(with, w, chosen.expert[slot], x.row(t), [&](const float* out) {
                for (long h = 0; h < y.cols; ++h) to[h] += by * out[h];
            });
        });
}

}  // namespace guild::inline v0::cpu
