#pragma once
#include <guild/backend/cpu/packed_network.hpp>
#include <guild/core/rank.hpp>
#include <guild/dispatch/choice.hpp>

/// Layers so small, and rows so few, that calls, threads and gathered rows would cost more than the products: each token goes alone through its
/// experts, with the bits that fused.hpp gives it.
namespace guild::inline v0::cpu {

/// c = a w^T for rows [first, last)
inline void product_by_rows(const kernels& with, long first, long last, view<const float> a, const packed_matrix<float>& w, view<float> c) {
    alignas(64) float sums[few_outputs + most_columns];
    for (long r = first; r < last; ++r) {
        with.one_row(a.row(r), static_cast<const float*>(w.begin(0)), a.cols, w.shape().panels(), sums);
        std::copy_n(sums, c.cols, c.row(r));
    }
}

/// A row x [H] through n <= most_networks experts e(i): out [n, H] =, a row a whole number of panels.
template <class E> void through(const kernels& with, const packed_network<float>& w, const float* x, int n, E e, float* out) {
    static_assert(depth_block % most_columns == 0);
    alignas(64) float a[most_networks * depth_block];
    one_network some[most_networks];
    for (int i = 0; i < n; ++i) some[i] = {static_cast<const float*>(w.up.begin(e(i))), static_cast<const float*>(w.down.begin(e(i)))};
    with.few_swiglu(x, w.up.shape().depth(), w.down.shape().depth(), some, n, a, out);
}
/// y [T, H] = the network of x [T, H]
inline void network_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, view<float> y) {
    alignas(64) float out[depth_block];
    for (long t = 0; t < x.rows; ++t) {
        through(
            with, w, x.row(t), 1, [](int) { return 0; }, out);
        std::copy_n(out, y.cols, y.row(t));
    }
}
/// y [T, H] += weight expert(x), a token's experts in ascending id; at most few_rows of them.
inline void experts_by_rows(const kernels& with, view<const float> x, const packed_network<float>& w, const choice<float>& chosen, view<float> y) {
    alignas(64) float out[most_networks * depth_block];
    const long width = w.down.shape().panels() * with.columns;
    for (long t = 0; t < x.rows; ++t) {
        const int* const expert = chosen.expert.data() + t * chosen.slots;
        const float* const weight = chosen.weight.data() + t * chosen.slots;
        int slot[few_rows], n = 0;
        for (int s = 0; s < chosen.slots; ++s) {
            if (expert[s] == no_expert) continue;
            const auto key = [&](int i) { return static_cast<unsigned>(expert[i]); };  // holes come last
            int before = 0;
            for (int i = 0; i < chosen.slots; ++i) before += key(i) < key(s) || (key(i) == key(s) && i < s);
            slot[before] = s;
            ++n;
        }
        float* const to = y.row(t);
        for (int i = 0; i < n; i += most_networks) {
            const int together = (std::min)(n - i, most_networks);
            through(
                with, w, x.row(t), together, [&](int j) { return expert[slot[i + j]]; }, out);
            for (int j = 0; j < together; ++j) {
                const float by = weight[slot[i + j]], *const from = out + j * width;
                for (long h = 0; h < y.cols; ++h) to[h] += by * from[h];
            }
        }
    }
}

}  // namespace guild::inline v0::cpu
