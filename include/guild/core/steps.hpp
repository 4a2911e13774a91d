#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/core/parts.hpp>

#include <algorithm>

/// The steps of a forward, in the order of layer.hpp: shapes are made here, arithmetic is done by what they call.
/// `ws` is a workspace (inference) or a tape (training); a tape keeps what the adjoints read.
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

namespace detail {
inline void check_rows(const auto& ws, long rows) {
    if (ws.max_rows >= 0 && rows > ws.max_rows)
        guild::detail::raise<shape_error>("guild::workspace: reserved for ", ws.max_rows, " routed rows, this batch has ", rows);
}
}  // namespace detail

/// -> plan [R]
template <class P> void dispatch(const P& p, auto& ws) {
    const int E = static_cast<int>(p.E());
    guild::dispatch::count(ws.gate.choice, E, ws.plan);
    detail::check_rows(ws, ws.plan.rows);
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
/// rows of the experts without matrices, ids E .. : zero, identity, constant, blend.
template <class P, class S> void passive_rows(const P& p, view<const S> x, const auto& ws, long first, view<S> rows) {
    const auto& passive = p.model.passive;
    const int zero = p.routed_experts(), identity = zero + passive.zero, constant = identity + passive.identity, blend = constant + passive.constant;
    for (int e = zero; e < p.E(); ++e)
        for (long r = ws.plan.offset[e]; r < ws.plan.offset[e + 1]; ++r) {
            const S* const in = x.row(ws.plan.token[r]);
            S* const out = rows.row(r - first);
            const S factor = P::weighs_input ? ws.factor[r] : S(1);
            if (e >= blend) {
                expert::blend::forward(p.w.constant + (passive.constant + 3 * (e - blend)) * p.H(), in, factor, p.H(), out);
                continue;
            }
            for (long h = 0; h < p.H(); ++h) {
                if (e < identity) out[h] = S(0);
                else if (e >= constant) out[h] = p.w.constant[(e - constant) * p.H() + h];
                else out[h] = P::weighs_input ? factor * in[h] : in[h];
            }
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

/// What follows `choose` in an inference of few tokens through networks so small that the backend takes each token alone through its experts, without
/// a plan: y =; whether it did. Not where there is a residual, a passive expert or a learned shared gate, nor where the gate weighs inputs or
/// shared experts.
template <class P, class S> bool by_token(const P& p, view<const S> x, auto& ws, view<S> y) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    if constexpr (P::fused_rows && !WS::keeps && !P::weighs_input && !P::weighs_shared && !P::shared_learns) {
        const long T = x.rows, G = p.G();
        const auto few = [&](const auto& network) { return p.backend.few_rows(p.model.activation, network); };
        const long most = few(p.w.experts);
        if (p.model.residual != residual::none || p.E() != p.routed_experts() || most == 0 || (G > 0 && T > few(p.w.shared))) return false;
        long rows = 0;
        guild::dispatch::each_chosen(ws.gate.choice, p.routed_experts(), [&](int) { ++rows; });
        if (rows > most) return false;
        detail::check_rows(ws, rows);
        if (G > 0) p.backend.network_by_rows(x, p.w.shared, y);
        else detail::zero(y);
        p.backend.experts_by_rows(x, p.w.experts, ws.gate.choice, y);
        return true;
    } else return false;
}

}  // namespace guild::inline v0::step
