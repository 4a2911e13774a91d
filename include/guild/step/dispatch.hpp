#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/step/parts.hpp>

/// The choice of tokens -> the rows of experts, and back to what tokens read.
namespace guild::inline v0::step {

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

/// d_read [R, H] -> dx +=; d_weight += where the weight is on the input
template <class P, class S> void dispatch_backward(const P& p, view<S> dx, tape<S>& tp) {
    guild::combine::input_backward<P::weighs_input>(p.backend, tp.gate.choice, tp.plan, tp.x, view<const S>(tp.d_read.shape(tp.plan.rows, p.H())), dx,
                                                    tp.d_weight.shape(dx.rows, p.W()));
}

}  // namespace guild::inline v0::step
