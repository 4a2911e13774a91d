#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/memory.hpp>

/// The losses of a model, forward and back.
namespace guild::inline v0::step {

/// The sum of the losses, each times its weight.
template <class C, class S> S loss(const C& c, tape<S>& tp) {
    S sum(0);
    c.each_loss(tp.side, [&](const auto& one) { sum += balance::value(one, c.routing_of(tp)); });
    return sum;
}

/// -> d_logits [T, P] =, d_scored_logits, d_scores [T, E] =, d_weight +=, grad.router +=
template <class C, class S> void losses_backward(const C& c, auto& grad, tape<S>& tp) {
    const view<S> d_logits = zero(tp.d_logits.all());
    if constexpr (C::model_has_losses) {
        const routing_gradient<S> g{
            zero(tp.d_scored_logits.all()), zero(tp.d_scores.all()), tp.d_weight.all(), d_logits, {grad.router.data(), 0, c.H()}};
        if (const auto d = tp.passed.d_own; d.data)
            for (long i = 0; i < tp.gate.present.count(); ++i)
                for (long t = tp.gate.present[i], e = 0; e < c.E(); ++e) g.logit(t, e) = d(t, e);
        c.each_loss(tp.side, [&](const auto& one) { balance::backward(one, c.routing_of(tp), g); });
    }
}

}  // namespace guild::inline v0::step
