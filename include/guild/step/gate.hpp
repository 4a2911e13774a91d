#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/parts.hpp>

#include <algorithm>

/// Router product and gate, forward and back. `ws` is a workspace (inference) or a tape (training); a tape keeps what the adjoints read. Gradients of
/// parameters accumulate.
namespace guild::inline v0::step {

/// x [T, H] -> logits [T, P]
template <class P, class S> void logits(const P& p, view<const S> x, const batch& side, auto& ws) {
    const one_group<S> all(x.rows);
    view<const S> read = x;
    if constexpr (P::changes_input) {
        const view<S> changed = ws.read.shape(x.rows, p.H());
        p.backend.each(x.rows, [&](long begin, long end) {
            for (long t = begin; t < end; ++t) {
                if (gate::padded(side, t)) std::fill_n(changed.row(t), p.H(), S(0));
                else p.model.gate.input().forward(gate::token_at(t, side, p.w.gate, nullptr), x.row(t), p.H(), p.w.input, changed.row(t));
            }
        });
        read = changed;
    }
    p.backend.product(all.exact(), read, p.router(), ws.logits.shape(x.rows, p.P()));
}

namespace detail {
/// The rows of the tokens that are present, one after the other; what the last rows then hold is unspecified.
template <class S> view<const S> gathered(const present_tokens& present, view<S> v) {
    for (long r = 0; r < present.count(); ++r)
        for (long i = 0; present[r] != r && i < v.cols; ++i) v(r, i) = v(present[r], i);
    return {v.data, present.count(), v.cols, v.stride};
}
}  // namespace detail

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

/// logits -> what losses read: logits as scored, and scores [T, E]
template <class P> void scores(const P& p, long T, const batch& side, auto& tp) {
    using S = typename P::S;
    gate::scores(p.backend, p.model, p.gate_data_of(tp), side, view<const S>(tp.logits.shape(T, p.P())), tp.scored_logits.shape(T, p.E()),
                 tp.scores.shape(T, p.E()));
}

/// -> choice [T, W], the logits that are passed on [T, E], and for the model's losses the scores
template <class P> void choose(const P& p, long T, const batch& side, auto& ws) {
    using S = typename P::S;
    const view<const S> logit = ws.logits.shape(T, p.P());
    const gate_data<S> data = p.gate_data_of(ws);
    gate::forward(p.backend, p.model, data, side, logit, ws.gate);
    if (ws.passed.own.data) gate::changed_logits(p.backend, p.model, data, side, logit, ws.passed.own);
    if constexpr (std::remove_cvref_t<decltype(ws)>::keeps && P::model_has_losses) scores(p, T, side, ws);
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

}  // namespace guild::inline v0::step
