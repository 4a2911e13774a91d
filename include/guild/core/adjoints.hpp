#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/combine/weighted_sum.hpp>
#include <guild/core/parts.hpp>

/// The adjoints of the steps, in the order of layer.hpp. dx is overwritten by the first that writes it, then added to; gradients of
/// parameters accumulate.
namespace guild::inline v0::step {

/// dy [T, H] -> d_rows [R, H] =, d_weight [T, W] =
template <class P, class S> void combine_backward(const P& p, view<const S> dy, tape<S>& tp) {
    const long R = tp.plan.rows;
    guild::combine::backward<P::weighs_input>(p.backend, p.model.residual, tp.gate.choice, tp.plan, view<const S>(tp.rows.shape(R, p.H())), tp.x, dy,
                                              tp.d_rows.shape(R, p.H()), tp.d_weight.shape(dy.rows, p.W()));
}

/// dy -> dx = what reaches x through the shared experts and the residual, grad.shared +=
template <class P, class S> void shared_backward(const P& p, view<const S> dy, view<S> dx, auto& grad, tape<S>& tp) {
    const long T = tp.x.rows, G = p.G(), H = p.H();
    if (G == 0) {
        for (long t = 0; t < T; ++t)
            for (long h = 0; h < H; ++h) dx(t, h) = S(0);
    } else {
        const one_group<S> all(T);
        view<const S> d_rows = dy;
        if constexpr (P::shared_learns) {
            const view<S> rows = tp.shared_rows.shape(T, H), scaled = tp.shared_d_rows.shape(T, H);
            tp.shared_d_logit.shape(1, T);
            p.backend.each(T, [&](long begin, long end) {
                for (long t = begin; t < end; ++t) {
                    S logit(0), dot(0);
                    for (long h = 0; h < H; ++h) logit += p.w.shared_gate[h] * tp.x(t, h);
                    const dual<S> f = p.model.shared.factor(dual<S>(logit, S(1)));
                    for (long h = 0; h < H; ++h) {
                        dot += dy(t, h) * rows(t, h);
                        scaled(t, h) = f.v * dy(t, h);
                    }
                    tp.shared_d_logit[t] = f.d * dot;
                }
            });
            for (long t = 0; t < T; ++t)
                for (long h = 0; h < H; ++h) grad.shared_gate[static_cast<std::size_t>(h)] += tp.shared_d_logit[t] * tp.x(t, h);
            d_rows = scaled;
        }
        expert::backward(p.backend, p.model.activation, groups<S>(all), tp.x, p.w.shared, view<const S>(tp.shared_h.shape(T, P::inputs * G)),
                         view<const S>(tp.shared_a.shape(T, G)), d_rows, tp.shared_d_a.shape(T, G), tp.shared_d_h.shape(T, P::inputs * G), dx,
                         grad.shared.lend(G, H));
        if constexpr (P::shared_learns)
            for (long t = 0; t < T; ++t)
                for (long h = 0; h < H; ++h) dx(t, h) += tp.shared_d_logit[t] * p.w.shared_gate[h];
    }
    guild::combine::residual_backward(p.backend, p.model.residual, tp.gate.choice, tp.plan, dy, dx);
}

/// d_rows [R, H] -> d_read [R, H] = by what each expert read, grad.experts +=, grad.constant +=
template <class P, class S> void routed_backward(const P& p, auto& grad, tape<S>& tp) {
    const long R = tp.plan.rows, own = p.own_rows(tp), H = p.H(), F = p.F();
    const view<S> d_rows = tp.d_rows.shape(R, H), d_read = tp.d_read.shape(R, H);
    expert::backward(p.backend, p.model.activation, p.routed(tp), tp.x, p.w.experts, view<const S>(tp.h.shape(own, P::inputs * F)),
                     view<const S>(tp.a.shape(own, F)), view<const S>(d_rows.data, own, H), tp.d_a.shape(own, F), tp.d_h.shape(own, P::inputs * F),
                     view<S>(d_read.data, own, H), grad.experts.lend(F, H));
    const auto& passive = p.model.passive;
    const int identity = p.routed_experts() + passive.zero, constant = identity + passive.identity;
    for (int e = p.routed_experts(); e < p.E(); ++e)
        for (long r = tp.plan.offset[e]; r < tp.plan.offset[e + 1]; ++r)
            for (long h = 0; h < H; ++h) {
                if (e >= constant) grad.constant[static_cast<std::size_t>((e - constant) * H + h)] += d_rows(r, h);
                d_read(r, h) = e >= identity && e < constant ? d_rows(r, h) : S(0);
            }
}

/// d_read [R, H] -> dx +=; d_weight += where the weight is on the input
template <class P, class S> void dispatch_backward(const P& p, view<S> dx, tape<S>& tp) {
    guild::combine::input_backward<P::weighs_input>(p.backend, tp.gate.choice, tp.plan, tp.x, view<const S>(tp.d_read.shape(tp.plan.rows, p.H())), dx,
                                                    tp.d_weight.shape(dx.rows, p.W()));
}

/// -> d_logits [T, P] =, d_scores [T, E] =, d_weight +=
template <class P, class S> void losses_backward(const P& p, tape<S>& tp) {
    const long T = tp.x.rows;
    const view<S> d_logits = tp.d_logits.shape(T, p.P());
    for (long i = 0; i < T * p.P(); ++i) d_logits.data[i] = S(0);
    if constexpr (P::model_has_losses) {
        const view<S> d_scores = tp.d_scores.shape(T, p.E());
        for (long i = 0; i < T * p.E(); ++i) d_scores.data[i] = S(0);
        const routing_gradient<S> g{d_logits, d_scores, tp.d_weight.shape(T, p.W())};
        p.model.each_loss([&](const auto& loss) { balance::backward(loss, p.routing_of(tp), g); });
    }
}

/// d_weight [T, W], d_scores -> d_logits +=, grad.learned +=
template <class P, class S> void choose_backward(const P& p, auto& grad, tape<S>& tp) {
    const long T = tp.x.rows;
    gate::backward(p.backend, p.model, p.w.gate, tp.side, view<const S>(tp.logits.shape(T, p.P())), tp.gate,
                   view<const S>(tp.d_weight.shape(T, p.W())), P::model_has_losses ? tp.d_scores.data() : nullptr, tp.d_logits.shape(T, p.P()),
                   grad.learned.data(), tp.partial);
}

/// d_logits [T, P] -> dx +=, grad.router +=
template <class P, class S> void logits_backward(const P& p, view<S> dx, auto& grad, tape<S>& tp) {
    const one_group<S> all(tp.x.rows);
    const view<const S> d = tp.d_logits.shape(tp.x.rows, p.P());
    p.backend.weight_gradient(groups<S>(all), d, tp.x, stack<S>{grad.router.data(), 0, p.H()});
    p.backend.input_gradient(groups<S>(all), d, p.w.router, dx, into::add);
}

}  // namespace guild::inline v0::step
