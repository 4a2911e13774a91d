#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/step/expert.hpp>

/// The rows of experts back into those of tokens.
namespace guild::inline v0::step {

/// y += sum of weight row, and the residual
template <class P, class S> void combine(const P& p, view<const S> x, auto& ws, view<S> y) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    const long first = detail::first_row(p, ws);
    if constexpr (P::fused_down && !WS::keeps && !P::weighs_input) {
        const view<const S> a = ws.a.shape(p.own_rows(ws), p.F());
        p.backend.expert_down(p.routed(ws), a, p.w.experts, ws.plan, ws.gate.choice.weight.data(), y);
    }
    guild::combine::forward<P::weighs_input>(p.backend, p.model.residual, ws.gate.choice, ws.plan, first,
                                             view<const S>(ws.rows.shape(ws.plan.rows - first, p.H())), x, y);
}

/// dy [T, H] -> d_rows [R, H] =, d_weight [T, W] =
template <class P, class S> void combine_backward(const P& p, view<const S> dy, tape<S>& tp) {
    const long R = tp.plan.rows;
    guild::combine::backward<P::weighs_input>(p.backend, p.model.residual, tp.gate.choice, tp.plan, view<const S>(tp.rows.shape(R, p.H())), tp.x, dy,
                                              tp.d_rows.shape(R, p.H()), tp.d_weight.shape(dy.rows, p.W()));
}

}  // namespace guild::inline v0::step
