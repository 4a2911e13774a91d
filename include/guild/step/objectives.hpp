#pragma once
#include <guild/step/check.hpp>
#include <guild/step/workspace.hpp>

#include <limits>
#include <type_traits>

/// The objectives of Jacobs, Jordan, Nowlan & Hinton 1991, Adaptive mixtures of local experts: what a layer learns a target by, without
/// a network behind it. Sums over tokens, not means; one thread, in token order; O(R H).
namespace guild::inline v0 {

/// Experts compete: -sum_t log sum_i p_i exp(-|target_t - E_i(x_t)|^2 / 2), eq. 1.3, with p_i the weight and E_i(x_t) the row of an expert.
/// target [T, H]; the tape is that of a forward of a layer, and gets d_rows [R, H] and d_weight [T, W] =, for
/// layer.backward(dx, grad, tape), dx += . Responsibility [T, W], if given, becomes the posterior of each slot, 0 where that is empty.
///
/// No NaN and finite gradients at any distance: a weight below the smallest normal number counts as that, a distance beyond the largest as the
/// largest. Tokens without an expert, so padding, do not count; shared experts and the residual are not part of it.
template <class S> S mixture_likelihood(view<const std::type_identity_t<S>> target, tape<S>& tp, view<std::type_identity_t<S>> responsibility = {}) {
    using R = real_t<S>;
    constexpr R least = (std::numeric_limits<R>::min)(), most = (std::numeric_limits<R>::max)() / 4;
    const detail::in_use::call here(tp.use, "tape");
    if (!tp.filled) detail::raise<argument_error>("guild::mixture_likelihood: the tape is empty, expected one that a forward of a layer has filled");
    const long T = tp.x.rows, H = tp.by.config.hidden, W = tp.by.slots;
    check::shape("target", target, T, H);
    const bool asked = responsibility.data || responsibility.rows != 0;
    if (asked) {
        check::shape("responsibility", responsibility, T, W);
        check::apart("responsibility", responsibility, "target", target);
    }
    const view<S> rows = tp.rows.all(), d_rows = tp.d_rows.all(), d_weight = tp.d_weight.all();
    const auto prior = [&](long slot) {
        const S& p = tp.gate.choice.weight[slot];
        return value(p) < least ? S(least) : p;
    };
    S sum(0);
    for (long t = 0; t < T; ++t) {
        // d_weight holds log(p_i exp(-|.|^2 / 2)), then the posterior, then the gradient.
        S* const of = d_weight.row(t);
        for (long k = 0; k < W; ++k) of[k] = S(0);
        const auto each = [&](auto f) {
            for (long i = t * W; i < (t + 1) * W && tp.plan.row[i] >= 0; ++i) {
                const long r = tp.plan.row[i], slot = tp.plan.slot[r];
                f(r, slot, of[slot - t * W]);
            }
        };
        S top(0), mass(0);
        bool any = false;
        each([&](long r, long slot, S& log_joint) {
            S half(0);
            for (long h = 0; h < H; ++h) half += (target(t, h) - rows(r, h)) * (target(t, h) - rows(r, h)) / S(2);
            if (value(half) > most) half = S(most);
            log_joint = log(prior(slot)) - half;
            if (!any || value(log_joint) > value(top)) top = log_joint;
            any = true;
        });
        each([&](long, long, S& p) { mass += p = exp(p - top); });
        if (any) sum -= top + log(mass);
        each([&](long r, long, S& p) {
            p = p / mass;
            for (long h = 0; h < H; ++h) d_rows(r, h) = value(p) == 0 ? S(0) : p * (rows(r, h) - target(t, h));
        });
        if (asked)
            for (long k = 0; k < W; ++k) responsibility(t, k) = of[k];
        each([&](long, long slot, S& p) { p = -p / prior(slot); });
    }
    return sum;
}

/// Experts cooperate: sum_t |target_t - y_t|^2, eq. 1.1, with y the output of a layer; dy [T, H] = its gradient, for layer.backward. Tokens that
/// `padding` [T] names do not count, whatever is there.
template <class S>
S blend_error(view<const std::type_identity_t<S>> target, view<const std::type_identity_t<S>> y, view<S> dy, std::span<const bool> padding = {}) {
    check::shape("y", y, target.rows, target.cols);
    check::shape("dy", dy, target.rows, target.cols);
    check::shape("target", target, target.rows, target.cols);
    check::apart("dy", dy, "target", target);
    check::list("padding", padding, target.rows);
    S sum(0);
    for (long t = 0; t < target.rows; ++t)
        for (long h = 0; h < target.cols; ++h) {
            const bool counts = padding.empty() || !padding[static_cast<std::size_t>(t)];
            const S off = counts ? y(t, h) - target(t, h) : S(0);
            sum += off * off;
            dy(t, h) = S(2) * off;
        }
    return sum;
}

}  // namespace guild::inline v0
