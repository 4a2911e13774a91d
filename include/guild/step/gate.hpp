#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/memory.hpp>

#include <algorithm>

/// Router product and gate, forward and back. Gradients of parameters accumulate.
namespace guild::inline v0::step {

/// x [T, H] -> logits [T, P]
template <class C, class S> void logits(const C& c, view<const S> x, const batch& side, auto& m) {
    size_tokens(c, m, x.rows);
    const one_group<S> all(x.rows);
    view<const S> read = x;
    if constexpr (C::changes_input) {
        const view<S> changed = m.read.all();
        c.backend.each(x.rows, [&](long begin, long end) {
            for (long t = begin; t < end; ++t) {
                if (gate::padded(side, t)) std::fill_n(changed.row(t), c.H(), S(0));
                else c.model.gate.input().forward(gate::token_at(t, side, c.w.gate, nullptr), x.row(t), c.H(), c.w.input, changed.row(t));
            }
        });
        read = changed;
    }
    c.backend.exact().product(groups<S>(all), read, c.router(), m.logits.all());
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
template <class C, class S> void logits_backward(const C& c, view<S> dx, auto& grad, tape<S>& tp) {
    const long H = c.H();
    const present_tokens& present = tp.gate.present;
    const one_group<S> every(tp.tokens), there(present);
    const groups<S> all = every, some = there;
    const auto& exact = c.backend.exact();
    const view<S> d = tp.d_logits.all();  // 0 for padded tokens
    const stack<S> d_router{grad.router.data(), 0, H};
    if constexpr (!C::changes_input) {
        exact.input_gradient(all, view<const S>(d), c.w.router, dx, into::add);
        exact.weight_gradient(some, detail::gathered(present, d), tp.x, d_router);
    } else {
        const view<S> d_read = tp.d_router_read.all();
        exact.input_gradient(all, view<const S>(d), c.w.router, d_read, into::overwrite);
        exact.weight_gradient(some, detail::gathered(present, d), view<const S>(tp.read.all()), d_router);
        for (long i = 0; i < present.count(); ++i) {  // in token order: the learned numbers are sums over tokens
            const long t = present[i];
            c.model.gate.input().backward(gate::token_at(t, tp.side, c.w.gate, nullptr), tp.x.row(t), H, c.w.input,
                                          static_cast<const S*>(d_read.row(t)), dx.row(t), grad.input.data());
        }
    }
}

/// logits -> choice [T, W], the logits that are passed on [T, E]
template <class C> void choose(const C& c, const batch& side, auto& m) {
    using S = typename C::S;
    const view<const S> logit = m.logits.all();
    const gate_data<S> data = c.gate_data_of(m);
    gate::forward(c.backend, c.model, data, side, logit, m.gate);
    if (m.passed.own.data) gate::changed_logits(c.backend, c.model, data, side, logit, m.passed.own);
}

/// logits -> what losses read: logits as scored, and scores [T, E]
template <class C, class S> void scores(const C& c, const batch& side, tape<S>& tp) {
    gate::scores(c.backend, c.model, c.gate_data_of(tp), side, view<const S>(tp.logits.all()), tp.scored_logits.shape(tp.tokens, c.E()),
                 tp.scores.shape(tp.tokens, c.E()));
}

/// d_weight [T, W], d_shared, d_scored_logits, d_scores -> d_logits +=, grad.learned +=, what is passed back =
template <class C, class S> void choose_backward(const C& c, auto& grad, tape<S>& tp) {
    gate::result_gradient<S> by{.weight = tp.d_weight.all(), .shared = C::weighs_shared ? tp.d_shared.data() : nullptr};
    if constexpr (C::model_has_losses) by.logit = tp.d_scored_logits.all(), by.score = tp.d_scores.data();
    else by.logit = tp.passed.d_own;
    gate::backward(c.backend, c.model, c.gate_data_of(tp), tp.side, view<const S>(tp.logits.all()), tp.gate, by, tp.d_logits.all(),
                   grad.learned.data(), tp.partial, tp.passed.d_previous, &tp.notes);
}

}  // namespace guild::inline v0::step
