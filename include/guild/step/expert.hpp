#pragma once
#include <guild/step/dispatch.hpp>
#include <guild/step/shared.hpp>

/// Routed experts, those without matrices among them, forward and back. Gradients of parameters accumulate.
namespace guild::inline v0::step {

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
