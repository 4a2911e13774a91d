#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/parts.hpp>

/// The losses of a model, back.
namespace guild::inline v0::step {

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

}  // namespace guild::inline v0::step
