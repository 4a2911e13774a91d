#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/core/parts.hpp>

/// The steps of a forward, in the order of layer.hpp: shapes are made here, arithmetic is done by what they call.
/// `ws` is a workspace (inference) or a tape (training); a tape keeps what the adjoints read.
namespace guild::inline v0::step {

/// x [T, H] -> logits [T, P]
template <class P, class S> void logits(const P& p, view<const S> x, auto& ws) {
    const one_group<S> all(x.rows);
    p.backend.product(groups<S>(all), x, p.w.router, ws.logits.shape(x.rows, p.P()));
}

/// -> choice [T, W], and for losses the scores [T, E]
template <class P> void choose(const P& p, long T, const batch& side, auto& ws) {
    using S = typename P::S;
    const view<const S> logit = ws.logits.shape(T, p.P());
    gate::forward(p.backend, p.model, p.w.gate, side, logit, ws.gate);
    if constexpr (std::remove_cvref_t<decltype(ws)>::keeps && P::model_has_losses)
        gate::scores(p.backend, p.model, p.w.gate, side, logit, ws.scores.shape(T, p.E()));
}

/// -> plan [R]
template <class P> void dispatch(const P& p, auto& ws) {
    const int E = static_cast<int>(p.E());
    guild::dispatch::count(ws.gate.choice, E, ws.plan);
    if (ws.max_rows >= 0 && ws.plan.rows > ws.max_rows)
        detail::raise<shape_error>("guild::workspace: reserved for ", ws.max_rows, " routed rows, this batch has ", ws.plan.rows);
    guild::dispatch::sort(ws.gate.choice, E, ws.plan);
    if constexpr (P::weighs_input) {
        ws.factor.shape(1, ws.plan.rows);
        for (long r = 0; r < ws.plan.rows; ++r) ws.factor[r] = ws.gate.choice.weight[ws.plan.slot[r]];
    }
}

namespace detail {
/// The first row that `combine` adds: those before it have been added by a fused product.
template <class P, class WS> long first_row(const P& p, const WS& ws) {
    if constexpr (P::fused_down && !WS::keeps && !P::weighs_input) return p.own_rows(ws);
    else return 0;
}
/// rows of the experts without matrices, ids E .. : zero, identity, constant.
template <class P, class S> void passive_rows(const P& p, view<const S> x, const auto& ws, long first, view<S> rows) {
    const auto& passive = p.model.passive;
    const int zero = p.routed_experts(), identity = zero + passive.zero, constant = identity + passive.identity;
    for (int e = zero; e < p.E(); ++e)
        for (long r = ws.plan.offset[e]; r < ws.plan.offset[e + 1]; ++r)
            for (long h = 0; h < p.H(); ++h) {
                S& out = rows(r - first, h);
                if (e < identity) out = S(0);
                else if (e >= constant) out = p.w.constant[(e - constant) * p.H() + h];
                else out = P::weighs_input ? ws.factor[r] * x(ws.plan.token[r], h) : x(ws.plan.token[r], h);
            }
}
}  // namespace detail

/// -> rows [R, H], what each expert returns; only their a [R, F] where the backend fuses the down product with combine
template <class P, class S> void routed(const P& p, view<const S> x, auto& ws) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    const long own = p.own_rows(ws), first = detail::first_row(p, ws);
    const groups<S> g = p.routed(ws);
    const view<S> h = P::fused_up && !WS::keeps ? view<S>{} : ws.h.shape(own, P::inputs * p.F()), a = ws.a.shape(own, p.F());
    const view<S> rows = ws.rows.shape(ws.plan.rows - first, p.H());
    expert::up(p.backend, p.model.activation, g, x, p.w.experts, h, a);
    if (first == 0) expert::down(p.backend, g, view<const S>(a), p.w.experts, view<S>(rows.data, own, p.H()));
    detail::passive_rows(p, x, ws, first, rows);
}

/// y = shared(x), or 0
template <class P, class S> void shared(const P& p, view<const S> x, view<S> y, auto& ws) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    const long T = x.rows, G = p.G();
    if (G == 0) {
        for (long t = 0; t < T; ++t)
            for (long h = 0; h < y.cols; ++h) y(t, h) = S(0);
        return;
    }
    const one_group<S> all(T);
    const view<S> h = P::fused_up && !WS::keeps ? view<S>{} : ws.shared_h.shape(T, P::inputs * G), a = ws.shared_a.shape(T, G);
    const view<S> rows = P::shared_learns ? ws.shared_rows.shape(T, p.H()) : y;
    expert::up(p.backend, p.model.activation, groups<S>(all), x, p.w.shared, h, a);
    expert::down(p.backend, groups<S>(all), view<const S>(a), p.w.shared, rows);
    if constexpr (P::shared_learns)
        p.backend.each(T, [&](long begin, long end) {
            for (long t = begin; t < end; ++t) {
                S dot(0);
                for (long i = 0; i < p.H(); ++i) dot += p.w.shared_gate[i] * x(t, i);
                const S f = p.model.shared.factor(dot);
                for (long i = 0; i < p.H(); ++i) y(t, i) = f * rows(t, i);
            }
        });
}

/// y += sum of weight row, and the residual
template <class P, class S> void combine(const P& p, view<const S> x, auto& ws, view<S> y) {
    const long first = detail::first_row(p, ws);
    if constexpr (P::fused_down && !std::remove_cvref_t<decltype(ws)>::keeps && !P::weighs_input) {
        const view<const S> a = ws.a.shape(p.own_rows(ws), p.F());
        p.backend.expert_down(p.routed(ws), a, p.w.experts, ws.plan, ws.gate.choice.weight.data(), y);
    }
    guild::combine::forward<P::weighs_input>(p.backend, p.model.residual, ws.gate.choice, ws.plan, first,
                                             view<const S>(ws.rows.shape(ws.plan.rows - first, p.H())), x, y);
}

}  // namespace guild::inline v0::step
