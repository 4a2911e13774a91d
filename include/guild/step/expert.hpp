#pragma once
#include <guild/expert/feed_forward.hpp>
#include <guild/expert/passive.hpp>
#include <guild/step/memory.hpp>

/// Routed experts, those without matrices among them, forward and back. Gradients of parameters accumulate.
namespace guild::inline v0::step {

/// The rows of the experts without matrices, ids E .. : zero, identity, constant, blend. m.rows begins with row `first`.
template <class C, class S> void passive(const C& c, view<const S> x, auto& m, long first = 0) {
    const auto& kinds = c.model.passive;
    const int zero = c.routed_experts(), identity = zero + kinds.zero, constant = identity + kinds.identity, blend = constant + kinds.constant;
    for (int e = zero; e < c.E(); ++e)
        for (long r = m.plan.offset[e]; r < m.plan.offset[e + 1]; ++r) {
            const S* const in = x.row(m.plan.token[r]);
            S* const out = m.rows.all().row(r - first);
            const S factor = C::weighs_input ? m.factor[r] : S(1);
            if (e >= blend) {
                expert::blend::forward(c.w.constant + (kinds.constant + 3 * (e - blend)) * c.H(), in, factor, c.H(), out);
                continue;
            }
            for (long h = 0; h < c.H(); ++h) {
                if (e < identity) out[h] = S(0);
                else if (e >= constant) out[h] = c.w.constant[(e - constant) * c.H() + h];
                else out[h] = C::weighs_input ? factor * in[h] : in[h];
            }
        }
}
/// d_rows -> d_read =, if `inputs`, and grad.constant +=, if `weights`.
template <class C, class S> void passive_backward(const C& c, tape<S>& tp, bool inputs, S* d_constant) {
    const long H = c.H();
    const view<S> d_rows = tp.d_rows.all(), d_read = tp.d_read.all();
    const auto& kinds = c.model.passive;
    const int identity = c.routed_experts() + kinds.zero, constant = identity + kinds.identity, blend = constant + kinds.constant;
    for (int e = c.routed_experts(); e < c.E(); ++e)
        for (long r = tp.plan.offset[e]; r < tp.plan.offset[e + 1]; ++r) {
            if (e >= blend) {
                const long first = (kinds.constant + 3 * (e - blend)) * H;
                expert::blend::backward(c.w.constant + first, tp.x.row(tp.plan.token[r]), C::weighs_input ? tp.factor[r] : S(1), H,
                                        static_cast<const S*>(d_rows.row(r)), inputs ? d_read.row(r) : nullptr,
                                        d_constant ? d_constant + first : nullptr);
                continue;
            }
            for (long h = 0; h < H; ++h) {
                if (d_constant && e >= constant) d_constant[(e - constant) * H + h] += d_rows(r, h);
                if (inputs) d_read(r, h) = e >= identity && e < constant ? d_rows(r, h) : S(0);
            }
        }
}

/// x -> rows [R, H], what each expert returns
template <class C, class S> void routed(const C& c, view<const S> x, auto& m) {
    const groups<S> g = c.routed(m);
    const view<S> a = m.a.all();
    c.backend.up(c, g, x, c.w.experts, m.h.all(), a);
    c.backend.down(c, g, view<const S>(a), c.w.experts, view<S>(m.rows.data(), a.rows, c.H()));
    passive(c, x, m);
}

/// d_rows [R, H] -> d_read [R, H] = by what each expert read
template <class C, class S> void routed_inputs_backward(const C& c, tape<S>& tp) {
    const long own = c.own_rows(tp), H = c.H();
    const groups<S> g = c.routed(tp);
    const view<S> d_a = tp.d_a.all();
    expert::down_inputs_backward(c.backend, g, c.w.experts, view<const S>(tp.d_rows.data(), own, H), d_a);
    expert::up_inputs_backward(c.backend, c.model.activation, g, c.w.experts, view<const S>(tp.h.all()), view<const S>(d_a), tp.d_h.all(),
                               view<S>(tp.d_read.data(), own, H));
    passive_backward(c, tp, true, static_cast<S*>(nullptr));
}
/// After that: grad.experts +=, grad.constant +=
template <class C, class S> void routed_weights_backward(const C& c, auto& grad, tape<S>& tp) {
    expert::weights_backward(c.backend, c.routed(tp), tp.x, view<const S>(tp.a.all()), view<const S>(tp.d_rows.data(), c.own_rows(tp), c.H()),
                             view<const S>(tp.d_h.all()), grad.experts.lend(c.F(), c.H()));
    passive_backward(c, tp, false, grad.constant.data());
}

}  // namespace guild::inline v0::step
