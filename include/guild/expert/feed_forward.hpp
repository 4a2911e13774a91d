#pragma once
#include <guild/core/view.hpp>
#include <guild/dispatch/groups.hpp>
#include <guild/format/stack.hpp>

/// Step 3 of 4, expert: feed-forward networks over groups of rows, routed and shared alike.
///
///     out = act(x gate^T + gate_bias, x up^T + up_bias) down^T + down_bias
namespace guild::inline v0 {

/// gate, up [E, F, H], down [E, H, F], each with a bias [E, out] or none; gate is empty where the activation has one input.
template <class Matrix, class Bias> struct feed_forward {
    /// [E, F, H], [E, F, H], [E, H, F].
    Matrix gate{}, up{}, down{};
    /// [E, F], [E, F], [E, H]; without data: none.
    Bias gate_bias{}, up_bias{}, down_bias{};
};

namespace expert {

namespace detail {
/// f(e, r) for the rows [begin, end) of the groups.
template <class S, class F> void each_row(const groups<S>& g, long begin, long end, F f) {
    int e = 0;
    for (long r = begin; r < end; ++r) {
        while (r >= g.offset[e + 1]) ++e;
        f(e, r);
    }
}
template <class S> void add_bias(S* row, long n, const stack<const S>& bias, int e) {
    if (!bias.data) return;
    for (long i = 0; i < n; ++i) row[i] += bias(e, i, 0);
}
}  // namespace detail

/// x [.., H] -> a [R, F] =. h [R, inputs F] keeps what the activation read, [gate | up].
template <class B, class Act, class S, class Network>
void up(const B& b, const Act& act, const groups<S>& g, view<const S> x, const Network& w, view<S> h, view<S> a) {
    const long F = a.cols;
    if constexpr (Act::inputs == 2) b.product(g, x, w.gate, h.columns(0, F));
    b.product(g, x, w.up, h.columns(h.cols - F, F));
    b.each(a.rows, [&](long begin, long end) {
        detail::each_row(g, begin, end, [&](int e, long r) {
            S* const in = h.row(r);
            S* const out = a.row(r);
            detail::add_bias(in + h.cols - F, F, w.up_bias, e);
            if constexpr (Act::inputs == 2) {
                detail::add_bias(in, F, w.gate_bias, e);
                b.activation(act, in, in + F, F, out);
            } else {
                for (long f = 0; f < F; ++f) out[f] = act(in[f]);
            }
        });
    });
}

/// a [R, F] -> out [R, H] =
template <class B, class S, class Network> void down(const B& b, const groups<S>& g, view<const S> a, const Network& w, view<S> out) {
    b.product(g.direct(), a, w.down, out);
    if (w.down_bias.data)
        b.each(out.rows, [&](long begin, long end) {
            detail::each_row(g, begin, end, [&](int e, long r) { detail::add_bias(out.row(r), out.cols, w.down_bias, e); });
        });
}

namespace detail {
/// d_bias_e [n] += sum over the rows of e of d [R, n], in ascending row.
template <class B, class S> void bias_gradient(const B& b, const groups<S>& g, view<const S> d, const stack<S>& d_bias) {
    if (!d_bias.data) return;
    b.each(g.count, [&](long first, long last) {
        for (long e = first; e < last; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long i = 0; i < d.cols; ++i) *d_bias.row(e, i) += d(r, i);
    });
}
}  // namespace detail

/// d_out [R, H] -> d_a [R, F] =
template <class B, class S, class Network>
void down_inputs_backward(const B& b, const groups<S>& g, const Network& w, view<const S> d_out, view<S> d_a) {
    b.input_gradient(g.direct(), d_out, w.down, d_a, into::overwrite);
}
/// d_a [R, F] -> d_h [R, inputs F] =, d_x [R, H] = by the rows as they were read
template <class B, class Act, class S, class Network>
void up_inputs_backward(const B& b, const Act& act, const groups<S>& g, const Network& w, view<const S> h, view<const S> d_a, view<S> d_h,
                        view<S> d_x) {
    const long F = d_a.cols;
    b.each(d_a.rows, [&](long begin, long end) {
        using D = dual<S>;
        for (long r = begin; r < end; ++r) {
            const S *in = h.row(r), *by = d_a.row(r);
            S* const out = d_h.row(r);
            if constexpr (Act::inputs == 2) {
                b.activation_gradient(act, in, in + F, by, F, out, out + F);
            } else {
                for (long f = 0; f < F; ++f) out[f] = by[f] * act(D(in[f], S(1))).d;
            }
        }
    });
    b.input_gradient(g.direct(), view<const S>(d_h.columns(d_h.cols - F, F)), w.up, d_x, into::overwrite);
    if constexpr (Act::inputs == 2) b.input_gradient(g.direct(), view<const S>(d_h.columns(0, F)), w.gate, d_x, into::add);
}

/// After these: dw += by x [.., H], a [R, F], d_out [R, H] and d_h [R, inputs F].
template <class B, class S>
void weights_backward(const B& b, const groups<S>& g, view<const S> x, view<const S> a, view<const S> d_out, view<const S> d_h,
                      const feed_forward<stack<S>, stack<S>>& dw) {
    const long F = a.cols;
    b.weight_gradient(g.direct(), d_out, a, dw.down);
    detail::bias_gradient(b, g, d_out, dw.down_bias);
    const view<const S> d_up = d_h.columns(d_h.cols - F, F), d_gate = d_h.columns(0, F);
    b.weight_gradient(g, d_up, x, dw.up);
    detail::bias_gradient(b, g, d_up, dw.up_bias);
    if (d_h.cols == F) return;
    b.weight_gradient(g, d_gate, x, dw.gate);
    detail::bias_gradient(b, g, d_gate, dw.gate_bias);
}

}  // namespace expert
}  // namespace guild::inline v0
