#pragma once
#include <guild/balance/losses.hpp>

namespace guild::inline v0 {

/// weight sum_i eta_i f_i P_i: f_i = count_i / T of the rows asked of expert i, before drops, P_i the mean of its score, eta_i = `ratio` for
/// the last `zero_computation` of the experts (guild::passive) and 1 for the others, so that a ratio below 1 sends more tokens to experts
/// that cost nothing. No factor of E / K: equal loads of softmax scores at ratio 1 give weight K / E. No gradient through f. MoE++,
/// arXiv:2410.07348, eq. 7.
struct heterogeneous_loss {
    static constexpr bool reads_scores = true;
    double weight = 0.01;      ///< times the loss
    double ratio = 0.75;       ///< eta of experts without matrices; below 1 sends more tokens to them
    int zero_computation = 1;  ///< experts without matrices, the last ones
    constexpr bool valid() const { return ratio >= 0 && is_finite(ratio) && zero_computation >= 0; }
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight, share(r), g);
    }

private:
    template <class S> std::span<double> share(const routing<S>& r) const {
        const auto f = r.wanted_count(1 / static_cast<double>(r.tokens()));
        for (int e = r.experts > zero_computation ? r.experts - zero_computation : 0; e < r.experts; ++e) f[detail::at(e)] *= ratio;
        return f;
    }
};

}  // namespace guild::inline v0
