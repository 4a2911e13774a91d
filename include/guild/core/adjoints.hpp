#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/combine/weighted_sum.hpp>
#include <guild/core/parts.hpp>

/// The adjoints of the steps, in the order of layer.hpp. dx is overwritten by the first that writes it, then added to; gradients of
/// parameters accumulate. dy of a padded token counts as 0, whatever it holds: its dx is 0, and no sum over tokens includes it.
namespace guild::inline v0::step {

/// dy [T, H] -> d_rows [R, H] =, d_weight [T, W] =
template <class P, class S> void combine_backward(const P& p, view<const S> dy, tape<S>& tp) {
    const long R = tp.plan.rows;
    guild::combine::backward<P::weighs_input>(p.backend, p.model.residual, tp.gate.choice, tp.plan, view<const S>(tp.rows.shape(R, p.H())), tp.x, dy,
                                              tp.d_rows.shape(R, p.H()), tp.d_weight.shape(dy.rows, p.W()));
}

namespace detail {
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
/// Its inverse; what the last rows then hold is unspecified.
template <class S> view<const S> gathered(const present_tokens& present, view<S> v) {
    for (long r = 0; r < present.count(); ++r)
        for (long i = 0; present[r] != r && i < v.cols; ++i) v(r, i) = v(present[r], i);
    return {v.data, present.count(), v.cols, v.stride};
}
}  // namespace detail

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

/// d_rows [R, H] -> d_read [R, H] = by what each expert read, grad.experts +=, grad.constant +=
template <class P, class S> void routed_backward(const P& p, auto& grad, tape<S>& tp) {
    const long R = tp.plan.rows, own = p.own_rows(tp), H = p.H(), F = p.F();
    const view<S> d_rows = tp.d_rows.shape(R, H), d_read = tp.d_read.shape(R, H);
    const groups<S> g = p.routed(tp);
    const auto d_network = grad.experts.lend(F, H);
    const view<S> d_a = tp.d_a.shape(own, F);
    expert::down_backward(p.backend, g, p.w.experts, view<const S>(tp.a.shape(own, F)), view<const S>(d_rows.data, own, H), d_a, d_network);
    expert::up_backward(p.backend, p.model.activation, g, tp.x, p.w.experts, view<const S>(tp.h.shape(own, P::inputs * F)), view<const S>(d_a),
                        tp.d_h.shape(own, P::inputs * F), view<S>(d_read.data, own, H), d_network);
    const auto& passive = p.model.passive;
    const int identity = p.routed_experts() + passive.zero, constant = identity + passive.identity, blend = constant + passive.constant;
    for (int e = p.routed_experts(); e < p.E(); ++e)
        for (long r = tp.plan.offset[e]; r < tp.plan.offset[e + 1]; ++r) {
            if (e >= blend) {
                const long first = (passive.constant + 3 * (e - blend)) * H;
                expert::blend::backward(p.w.constant + first, tp.x.row(tp.plan.token[r]), P::weighs_input ? tp.factor[r] : S(1), H,
                                        static_cast<const S*>(d_rows.row(r)), d_read.row(r), grad.constant.data() + first);
                continue;
            }
            for (long h = 0; h < H; ++h) {
                if (e >= constant) grad.constant[static_cast<std::size_t>((e - constant) * H + h)] += d_rows(r, h);
                d_read(r, h) = e >= identity && e < constant ? d_rows(r, h) : S(0);
            }
        }
}

/// d_read [R, H] -> dx +=; d_weight += where the weight is on the input
template <class P, class S> void dispatch_backward(const P& p, view<S> dx, tape<S>& tp) {
    guild::combine::input_backward<P::weighs_input>(p.backend, tp.gate.choice, tp.plan, tp.x, view<const S>(tp.d_read.shape(tp.plan.rows, p.H())), dx,
                                                    tp.d_weight.shape(dx.rows, p.W()));
}

/// -> d_logits [T, P] =, d_scored_logits, d_scores [T, E] =, d_weight +=, grad.router +=
template <class P, class S> void losses_backward(const P& p, auto& grad, tape<S>& tp) {
    const long T = tp.x.rows;
    const auto zero = [](view<S> v) {
        for (long i = 0; i < v.rows * v.cols; ++i) v.data[i] = S(0);
        return v;
    };
    const view<S> d_logits = zero(tp.d_logits.shape(T, p.P()));
    if constexpr (P::model_has_losses) {
        const routing_gradient<S> g{zero(tp.d_scored_logits.shape(T, p.E())),
                                    zero(tp.d_scores.shape(T, p.E())),
                                    tp.d_weight.shape(T, p.W()),
                                    d_logits,
                                    {grad.router.data(), 0, p.H()}};
        if (const auto d = tp.passed.d_own; d.data)
            for (long i = 0; i < tp.gate.present.count(); ++i)
                for (long t = tp.gate.present[i], e = 0; e < p.E(); ++e) g.logit(t, e) = d(t, e);
        p.each_loss(tp.side, [&](const auto& loss) { balance::backward(loss, p.routing_of(tp), g); });
    }
}

/// d_weight [T, W], d_shared, d_scored_logits, d_scores -> d_logits +=, grad.learned +=, what is passed back =
template <class P, class S> void choose_backward(const P& p, auto& grad, tape<S>& tp) {
    const long T = tp.x.rows;
    gate::result_gradient<S> by{.weight = tp.d_weight.shape(T, p.W()), .shared = P::weighs_shared ? tp.d_shared.data() : nullptr};
    if constexpr (P::model_has_losses) by.logit = tp.d_scored_logits.shape(T, p.E()), by.score = tp.d_scores.data();
    else by.logit = tp.passed.d_own;
    gate::backward(p.backend, p.model, p.gate_data_of(tp), tp.side, view<const S>(tp.logits.shape(T, p.P())), tp.gate, by,
                   tp.d_logits.shape(T, p.P()), grad.learned.data(), tp.partial, tp.passed.d_previous, &tp.notes);
}

/// d_logits [T, P] -> dx +=, grad.router +=, grad.input +=
template <class P, class S> void logits_backward(const P& p, view<S> dx, auto& grad, tape<S>& tp) {
    const long T = tp.x.rows, H = p.H();
    const present_tokens& present = tp.gate.present;
    const one_group<S> all(T), some(present);
    const view<S> d = tp.d_logits.shape(T, p.P());  // 0 for padded tokens
    const stack<S> d_router{grad.router.data(), 0, H};
    if constexpr (!P::changes_input) {
        p.backend.input_gradient(all.exact(), view<const S>(d), p.w.router, dx, into::add);
        p.backend.weight_gradient(some.exact(), detail::gathered(present, d), tp.x, d_router);
    } else {
        const view<S> d_read = tp.d_router_read.shape(T, H);
        p.backend.input_gradient(all.exact(), view<const S>(d), p.w.router, d_read, into::overwrite);
        p.backend.weight_gradient(some.exact(), detail::gathered(present, d), view<const S>(tp.read.shape(T, H)), d_router);
        for (long i = 0; i < present.count(); ++i) {  // in token order: the learned numbers are sums over tokens
            const long t = present[i];
            p.model.gate.input().backward(gate::token_at(t, tp.side, p.w.gate, nullptr), tp.x.row(t), H, p.w.input,
                                          static_cast<const S*>(d_read.row(t)), dx.row(t), grad.input.data());
        }
    }
}

}  // namespace guild::inline v0::step
