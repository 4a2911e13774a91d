#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/expert/feed_forward.hpp>
#include <guild/step/memory.hpp>

/// The shared experts, forward and back. dx is overwritten here, by what comes first, and added to by the others; gradients of parameters accumulate.
/// dy of a padded token counts as 0, whatever it holds: its dx is 0, and no sum over tokens includes it.
namespace guild::inline v0::step {

namespace detail {
/// a [T, G] of the rows g by the weights of the shared experts, each of which owns G / S columns.
template <class C, class S> view<S> weigh_shared(const C& c, const groups<S>& g, view<const S> a, auto& m) {
    const long shared = c.model.config.shared_experts, width = a.cols / shared;
    const view<S> weighted = m.shared_weighted.shape(a.rows, a.cols);
    c.backend.each(a.rows, [&](long begin, long end) {
        for (long r = begin; r < end; ++r)
            for (long t = g.from(r), i = 0; i < a.cols; ++i) weighted(r, i) = a(r, i) * m.gate.shared[t * shared + i / width];
    });
    return weighted;
}
/// d_a [T', G] of the T' tokens that are present, by the weighted a -> by a; d_shared [T, S] of these tokens =
template <class C, class S> void weigh_shared_backward(const C& c, view<const S> a, view<S> d_a, tape<S>& tp) {
    const long shared = c.model.config.shared_experts, width = a.cols / shared;
    const view<S> d_shared = tp.d_shared.all();
    c.backend.each(a.rows, [&](long begin, long end) {
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
/// The first rows of a buffer.
template <class S> view<S> first(buffer<S>& b, long rows) { return {b.data(), rows, b.all().cols}; }
}  // namespace detail

/// y = shared(x), or 0. Rows are those of the tokens in `source`, if there is one.
template <class C, class S> void shared(const C& c, view<const S> x, const int* source, auto& m, view<S> y) {
    const long T = x.rows;
    if (c.G() == 0) {
        zero(y);
        return;
    }
    const one_group<S> all(T, source);
    const groups<S> g = all;
    view<S> a = m.shared_a.all();
    const bool in_place = !C::shared_learns && !source;
    const view<S> rows = in_place ? y : m.shared_rows.all();
    c.backend.up(c, g, x, c.w.shared, m.shared_h.all(), a);
    if constexpr (C::weighs_shared) a = detail::weigh_shared(c, g, view<const S>(a), m);
    c.backend.down(c, g, view<const S>(a), c.w.shared, rows);
    if (in_place) return;
    c.backend.each(T, [&](long begin, long end) {
        for (long r = begin; r < end; ++r) {
            const long t = g.from(r);
            if constexpr (C::shared_learns) {
                S dot(0);
                for (long i = 0; i < c.H(); ++i) dot += c.w.shared_gate[i] * x(t, i);
                const S f = c.model.shared.factor(dot);
                for (long i = 0; i < c.H(); ++i) y(t, i) = f * rows(r, i);
            } else {
                for (long i = 0; i < c.H(); ++i) y(t, i) = rows(r, i);
            }
        }
    });
}

/// dy -> dx = what reaches x through the shared experts and the residual, and what shared_weights_backward reads
template <class C, class S> void shared_inputs_backward(const C& c, view<const S> dy, view<S> dx, tape<S>& tp) {
    const present_tokens& present = tp.gate.present;
    const long T = present.count(), H = c.H();
    if (c.G() == 0) {
        zero(dx);
    } else {
        const one_group<S> all(present);
        view<const S> d_rows = dy;
        if (C::shared_learns || present.source()) {
            const view<S> rows = detail::first(tp.shared_rows, T), scaled = detail::first(tp.shared_d_rows, T);
            c.backend.each(T, [&](long begin, long end) {
                for (long r = begin; r < end; ++r) {
                    const long t = present[r];
                    if constexpr (C::shared_learns) {
                        S logit(0), dot(0);
                        for (long h = 0; h < H; ++h) logit += c.w.shared_gate[h] * tp.x(t, h);
                        const dual<S> f = c.model.shared.factor(dual<S>(logit, S(1)));
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
            d_rows = scaled;
        }
        const view<S> d_a = detail::first(tp.shared_d_a, T), d_x(dx.data, T, H, dx.stride);
        expert::down_inputs_backward(c.backend, groups<S>(all), c.w.shared, d_rows, d_a);
        if constexpr (C::weighs_shared) detail::weigh_shared_backward(c, view<const S>(detail::first(tp.shared_a, T)), d_a, tp);
        expert::up_inputs_backward(c.backend, c.model.activation, groups<S>(all), c.w.shared, view<const S>(detail::first(tp.shared_h, T)),
                                   view<const S>(d_a), detail::first(tp.shared_d_h, T), d_x);
        if constexpr (C::shared_learns)
            for (long r = 0; r < T; ++r)
                for (long h = 0; h < H; ++h) d_x(r, h) += tp.shared_d_logit[r] * c.w.shared_gate[h];
        detail::spread(present, dx);
    }
    guild::combine::residual_backward(c.backend, c.model.residual, tp.gate.choice, tp.plan, present, dy, dx);
}
/// After that: grad.shared, grad.shared_gate +=
template <class C, class S> void shared_weights_backward(const C& c, view<const S> dy, auto& grad, tape<S>& tp) {
    if (c.G() == 0) return;
    const present_tokens& present = tp.gate.present;
    const long T = present.count(), H = c.H();
    if constexpr (C::shared_learns)
        for (long r = 0; r < T; ++r)
            for (long h = 0; h < H; ++h) grad.shared_gate[static_cast<std::size_t>(h)] += tp.shared_d_logit[r] * tp.x(present[r], h);
    const one_group<S> all(present);
    const view<const S> used = C::weighs_shared ? detail::first(tp.shared_weighted, T) : detail::first(tp.shared_a, T);
    const view<const S> d_rows = C::shared_learns || present.source() ? view<const S>(detail::first(tp.shared_d_rows, T)) : dy;
    expert::weights_backward(c.backend, groups<S>(all), tp.x, used, d_rows, view<const S>(detail::first(tp.shared_d_h, T)),
                             grad.shared.lend(c.G(), H));
}

/// d_shared [T, S] = 0: a gradient that comes by the routed experts alone.
template <class C, class S> void shared_untouched(const C&, tape<S>& tp) {
    if constexpr (C::weighs_shared) zero(tp.d_shared.all());
}

}  // namespace guild::inline v0::step
