#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/step/memory.hpp>

/// The choice of tokens -> the rows of experts, and back to what tokens read.
namespace guild::inline v0::step {

/// Throws shape_error if more rows were not reserved.
inline void check_rows(const auto& m, long rows) {
    if (m.max_rows >= 0 && rows > m.max_rows)
        guild::detail::raise<shape_error>("guild::workspace: reserved for ", m.max_rows, " routed rows, this batch has ", rows);
}

/// choice [T, W] -> plan [R]
template <class C> void dispatch(const C& c, auto& m) {
    const int E = static_cast<int>(c.E());
    guild::dispatch::count(m.gate.choice, E, m.plan);
    check_rows(m, m.plan.rows);
    guild::dispatch::sort(m.gate.choice, E, m.plan);
    m.planned = true;
    size_rows(c, m, m.plan.rows, c.own_rows(m));
    if constexpr (C::weighs_input)
        for (long r = 0; r < m.plan.rows; ++r) m.factor[r] = m.gate.choice.weight[m.plan.slot[r]];
}

/// d_read [R, H] -> dx +=; d_weight += where the weight is on the input
template <class C, class S> void dispatch_backward(const C& c, view<S> dx, tape<S>& tp) {
    combine::input_backward<C::weighs_input>(c.backend, tp.gate.choice, tp.plan, tp.x, view<const S>(tp.d_read.all()), dx, tp.d_weight.all());
}

}  // namespace guild::inline v0::step
