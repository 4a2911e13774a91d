#pragma once
#include <guild/combine/weighted_sum.hpp>
#include <guild/step/memory.hpp>

/// The rows of experts back into those of tokens.
namespace guild::inline v0::step {

/// y += sum of weight row over the rows from `first` on, which m.rows begins with, and the residual
template <class C, class S> void combine(const C& c, view<const S> x, auto& m, view<S> y, long first = 0) {
    guild::combine::forward<C::weighs_input>(c.backend, c.model.residual, m.gate.choice, m.plan, first, view<const S>(m.rows.all()), x, y);
}

/// dy [T, H] -> d_rows [R, H] =, d_weight [T, W] =
template <class C, class S> void combine_backward(const C& c, view<const S> dy, tape<S>& tp) {
    guild::combine::backward<C::weighs_input>(c.backend, c.model.residual, tp.gate.choice, tp.plan, view<const S>(tp.rows.all()), tp.x, dy,
                                              tp.d_rows.all(), tp.d_weight.all());
}

}  // namespace guild::inline v0::step
