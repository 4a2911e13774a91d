#pragma once
#include <guild/balance/losses.hpp>

#include <algorithm>
#include <cmath>

/// Losses on the weights themselves: how much of them each expert gets.
namespace guild::inline v0 {

namespace detail {
/// Squared coefficient of variation of v, and its gradient by v: var / (mean^2 + epsilon), var over n or n - 1; 0 where that is 0 / 0.
/// Of by v, by a power of two, so that squares neither overflow nor vanish.
template <class S> struct moments {
    S by{1}, mean{0}, variance{0}, base;
    double size, over;
    moments(std::span<const S> v, bool unbiased, double epsilon) : size(static_cast<double>(v.size())), over(unbiased ? size - 1 : size) {
        real_t<S> most(0);
        for (const S& x : v) most = (std::max)(most, std::abs(guild::value(x)));
        if (most > 0) by = S(to_one(most));
        for (const S& x : v) mean += by * x / constant<S>(size);
        for (const S& x : v) variance += (by * x - mean) * (by * x - mean) / constant<S>(over);
        base = mean * mean + constant<S>(epsilon) * by * by;
    }
};
template <class S> S squared_variation(std::span<const S> v, bool unbiased, double epsilon) {
    if (v.size() < 2) return S(0);
    const moments<S> m(v, unbiased, epsilon);
    return guild::value(m.base) == 0 ? S(0) : m.variance / m.base;
}
/// v = its gradient
template <class S> void squared_variation_gradient(std::span<S> v, bool unbiased, double epsilon) {
    const moments<S> m(v, unbiased, epsilon);
    const S by_mean = constant<S>(2 / m.size) * (m.variance / m.base) * (m.mean / m.base);
    const bool flat = v.size() < 2 || guild::value(m.base) == 0;
    for (S& x : v) x = flat ? S(0) : slope::held((constant<S>(2 / m.over) * (m.by * x - m.mean) / m.base - by_mean) * m.by);
}
/// f(i, e) for the slots i = t W + k of tokens that are not padding, with their expert.
template <class S, class F> void each_slot(const routing<S>& r, F f) {
    r.each([&](long t) {
        for (long i = t * r.slots; i < (t + 1) * r.slots; ++i)
            if (r.expert[i] != no_expert) f(i, static_cast<std::size_t>(r.expert[i]));
    });
}
}  // namespace detail

/// weight CV^2 of the importance of the experts, the sums of their weights over tokens. Shazeer et al. 2017, arXiv:1701.06538, eq. 6-7,
/// which leaves the variance open: over E, or with `unbiased` over E - 1; published code adds 1e-10 to the squared mean.
struct importance_loss {
    double weight = 0.1;    ///< times CV^2; w_importance of the paper
    bool unbiased = false;  ///< variance over E - 1, as published code has it, not over E
    double epsilon = 0;     ///< added to the squared mean; 0: nothing
    constexpr bool valid() const { return epsilon >= 0 && is_finite(epsilon); }
    template <class S> S value(const routing<S>& r) const {
        return detail::constant<S>(weight) * detail::squared_variation<S>(sums(r), unbiased, epsilon);
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const auto by = sums(r);
        detail::squared_variation_gradient(by, unbiased, epsilon);
        detail::each_slot(r, [&](long i, std::size_t e) { g.weight.data[i] += detail::constant<S>(weight) * by[e]; });
    }

private:
    template <class S> static std::span<S> sums(const routing<S>& r) {
        const auto sum = r.template zeros<S>(r.experts);
        detail::each_slot(r, [&](long i, std::size_t e) { sum[e] += r.weight.data[i]; });
        return sum;
    }
};

/// weight mean over tokens of the sum of their weights, that of ReLU routing; `balanced`: each times f_i = E / (K T) tokens that use
/// expert i, without gradient through f. ReMoE, arXiv:2412.14711, eq. 7-11 (one layer).
struct l1_loss {
    double weight = 1e-8;   ///< times the mean over tokens; lambda of the paper, adapted by batch::strength
    bool balanced = false;  ///< each weight times the load of its expert, f_i
    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        const auto f = factor(r);
        detail::each_slot(r, [&](long i, std::size_t e) { sum += detail::constant<S>(f[e]) * r.weight.data[i]; });
        return sum;
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const auto f = factor(r);
        detail::each_slot(r, [&](long i, std::size_t e) { g.weight.data[i] += detail::constant<S>(f[e]); });
    }

private:
    template <class S> std::span<double> factor(const routing<S>& r) const {
        const double T = static_cast<double>(r.tokens());
        const auto f = r.template zeros<double>(r.experts);
        for (double& v : f) v = balanced ? 0 : weight / T;
        if (balanced) detail::each_slot(r, [&](long, std::size_t e) { f[e] += weight / T * r.experts / (r.top_k * T); });
        return f;
    }
};

/// lambda of l1_loss after a step, for batch::strength: times alpha where fewer experts are idle than the target 1 - K / E, divided where more.
/// ReMoE, arXiv:2412.14711, eq. 8; `active` counts the rows of T tokens. Equality keeps it.
constexpr double adapted_l1(double lambda, long active, long T, int experts, int top_k, double alpha = 1.2) {
    const double excess = static_cast<double>(active) - static_cast<double>(T) * top_k;
    return T == 0 || experts == 0 || excess == 0 ? lambda : excess > 0 ? lambda * alpha : lambda / alpha;
}

}  // namespace guild::inline v0
