#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/step/parts.hpp>

/// The shared experts, forward and back. dx is overwritten here, by what comes first, and added to by the others; gradients of parameters accumulate.
/// dy of a padded token counts as 0, whatever it holds: its dx is 0, and no sum over tokens includes it.
namespace guild::inline v0::step {

namespace detail {
/// a [T, G] of the rows g by the weights of the shared experts, each of which owns G / S columns.
template <class P, class S> view<S> weigh_shared(const P& p, const groups<S>& g, view<const S> a, auto& ws) {
    const long shared = p.model.config.shared_experts, width = a.cols / shared;
    const view<S> weighted = ws.shared_weighted.shape(a.rows, a.cols);
    p.backend.each(a.rows, [&](long begin, long end) {
        for (long r = begin; r < end; ++r)
            for (long t = g.from(r), i = 0; i < a.cols; ++i) weighted(r, i) = a(r, i) * ws.gate.shared[t * shared + i / width];
    });
    return weighted;
}
template <class S> void zero(view<S> y) {
    for (long t = 0; t < y.rows; ++t)
        for (long h = 0; h < y.cols; ++h) y(t, h) = S(0);
}
/// d_a [T', G] of the T' tokens that are present, by the weighted a -> by a; d_shared [T, S] of these tokens =
template <class P, class S> void weigh_shared_backward(const P& p, view<const S> a, view<S> d_a, tape<S>& tp) {
    const long shared = p.model.config.shared_experts, width = a.cols / shared;
    const view<S> d_shared = tp.d_shared.shape(tp.x.rows, shared);
    p.backend.each(a.rows, [&](long begin, long end) {
        for (long r = begin; r < end; ++r) {
            const long t = tp.gate.present[r];
            for (long s = 0; s < shared; ++s) {
                S dot(0);
                for (long i = s * width; i < (s + 1) * width; ++i) {
                    dot += d_a(r, i) * a(r, i);
                    d_a(r, i) = d_a(r, i) * tp.gate.shared[t * shared + s];
                }
                d_shared(t, s) = dot;
            }
        }
    });
}
/// The rows of the tokens that are present, one after the other -> each at its token, the others 0.
template <class S> void spread(const present_tokens& present, view<S> v) {
    if (!present.source()) return;
    for (long r = present.count() - 1; r >= 0; --r)  // a row moves down, to where those after it have moved away from
        for (long i = 0; present[r] != r && i < v.cols; ++i) v(present[r], i) = v(r, i);
    for (long r = present.count(); r < v.rows; ++r)
        for (long i = 0; i < v.cols; ++i) v(present[r], i) = S(0);
}
}  // namespace detail

/// y = shared(x), or 0. A tape has the rows of padded tokens last, so that the adjoint's sums leave them out.
template <class P, class S> void shared(const P& p, view<const S> x, view<S> y, auto& ws) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    const long T = x.rows, G = p.G();
    if (G == 0) return detail::zero(y);
    const one_group<S> all(T, WS::keeps ? ws.gate.present.source() : nullptr);
    const groups<S> g = all;
    const view<S> h = P::fused_up && !WS::keeps ? view<S>{} : ws.shared_h.shape(T, P::inputs * G);
    view<S> a = ws.shared_a.shape(T, G);
    const bool in_place = !P::shared_learns && !g.source;
    const view<S> rows = in_place ? y : ws.shared_rows.shape(T, p.H());
    expert::up(p.backend, p.model.activation, g, x, p.w.shared, h, a);
    if constexpr (P::weighs_shared) a = detail::weigh_shared(p, g, view<const S>(a), ws);
    expert::down(p.backend, g, view<const S>(a), p.w.shared, rows);
    if (in_place) return;
    p.backend.each(T, [&](long begin, long end) {
        for (long r = begin; r < end; ++r) {
            const long t = g.from(r);
            if constexpr (P::shared_learns) {
                S dot(0);
                for (long i = 0; i < p.H(); ++i) dot += p.w.shared_gate[i] * x(t, i);
                const S f = p.model.shared.factor(dot);
                for (long i = 0; i < p.H(); ++i) y(t, i) = f * rows(r, i);
            } else {
                for (long i = 0; i < p.H(); ++i) y(t, i) = rows(r, i);
            }
        }
    });
}

/// dy -> dx = what reaches x through the shared experts and the residual, grad.shared +=
template <class P, class S> void shared_backward(const P& p, view<const S> dy, view<S> dx, auto& grad, tape<S>& tp) {
    const present_tokens& present = tp.gate.present;
    const long T = present.count(), G = p.G(), H = p.H();
    if (G == 0) {
        for (long t = 0; t < dx.rows; ++t)
            for (long h = 0; h < H; ++h) dx(t, h) = S(0);
    } else {
        const one_group<S> all(present);
        view<const S> d_rows = dy;
        if (P::shared_learns || present.source()) {
            const view<S> rows = tp.shared_rows.shape(T, H), scaled = tp.shared_d_rows.shape(T, H);
            if constexpr (P::shared_learns) tp.shared_d_logit.shape(1, T);
            p.backend.each(T, [&](long begin, long end) {
                for (long r = begin; r < end; ++r) {
                    const long t = present[r];
                    if constexpr (P::shared_learns) {
                        S logit(0), dot(0);
                        for (long h = 0; h < H; ++h) logit += p.w.shared_gate[h] * tp.x(t, h);
                        const dual<S> f = p.model.shared.factor(dual<S>(logit, S(1)));
                        for (long h = 0; h < H; ++h) {
                            dot += dy(t, h) * rows(r, h);
                            scaled(r, h) = f.v * dy(t, h);
                        }
                        tp.shared_d_logit[r] = slope::along(dot, f.d);
                    } else {
                        for (long h = 0; h < H; ++h) scaled(r, h) = dy(t, h);
                    }
                }
            });
            if constexpr (P::shared_learns)
                for (long r = 0; r < T; ++r)
                    for (long h = 0; h < H; ++h) grad.shared_gate[static_cast<std::size_t>(h)] += tp.shared_d_logit[r] * tp.x(present[r], h);
            d_rows = scaled;
        }
        const auto d_network = grad.shared.lend(G, H);
        const view<S> d_a = tp.shared_d_a.shape(T, G), a = tp.shared_a.shape(T, G), d_x(dx.data, T, H, dx.stride);
        const view<const S> used = P::weighs_shared ? tp.shared_weighted.shape(T, G) : a;
        expert::down_backward(p.backend, groups<S>(all), p.w.shared, used, d_rows, d_a, d_network);
        if constexpr (P::weighs_shared) detail::weigh_shared_backward(p, view<const S>(a), d_a, tp);
        expert::up_backward(p.backend, p.model.activation, groups<S>(all), tp.x, p.w.shared, view<const S>(tp.shared_h.shape(T, P::inputs * G)),
                            view<const S>(d_a), tp.shared_d_h.shape(T, P::inputs * G), d_x, d_network);
        if constexpr (P::shared_learns)
            for (long r = 0; r < T; ++r)
                for (long h = 0; h < H; ++h) d_x(r, h) += tp.shared_d_logit[r] * p.w.shared_gate[h];
        detail::spread(present, dx);
    }
    guild::combine::residual_backward(p.backend, p.model.residual, tp.gate.choice, tp.plan, present, dy, dx);
}

/// d_shared [T, S] = 0: a gradient that comes by the routed experts alone.
template <class P, class S> void shared_untouched(const P& p, tape<S>& tp) {
    if constexpr (P::weighs_shared) {
        const view<S> d_shared = tp.d_shared.shape(tp.x.rows, p.model.config.shared_experts);
        for (long i = 0; i < d_shared.rows * d_shared.cols; ++i) d_shared.data[i] = S(0);
    }
}

}  // namespace guild::inline v0::step
