#pragma once
#include <guild/balance/routing.hpp>
#include <guild/core/scalar.hpp>

#include <span>

/// Balance losses: `value(routing)`, and `backward(routing, g)` that adds the gradient. Both in token order on one
/// thread, O(T E): a hundredth of the logits. Without tokens every loss is 0.
namespace guild::inline v0 {

namespace detail {
template <class S> S constant(double c) { return S(static_cast<real_t<S>>(c)); }
constexpr std::size_t at(int e) { return static_cast<std::size_t>(e); }

/// weight sum_i f_i P_i, P_i = mean over tokens of score_i, with f [E] held constant.
template <class S> S load_times_score(const routing<S>& r, double weight, std::span<const double> f) {
    S sum(0);
    const double n = static_cast<double>(r.tokens());
    r.each([&](long t) {
        S dot(0);
        for (int e = 0; e < r.experts; ++e) dot += constant<S>(f[at(e)]) * r.score(t, e);
        sum += constant<S>(weight / n) * dot;
    });
    return sum;
}
template <class S> void load_times_score_backward(const routing<S>& r, double weight, std::span<const double> f, const routing_gradient<S>& g) {
    const double n = static_cast<double>(r.tokens());
    r.each([&](long t) {
        for (int e = 0; e < r.experts; ++e) g.score(t, e) += constant<S>(weight / n * f[at(e)]);
    });
}
/// The softmax of a token's logits, relative to the largest: beside a large one the logarithm of the sum is rounded away.
template <class S> struct shares {
    S top, mass;
    shares(const routing<S>& r, long t) : mass(0) {
        auto most = rank<real_t<S>>::worst().key;
        for (int e = 0; e < r.experts; ++e) most = guild::value(r.logit(t, e)) > most ? guild::value(r.logit(t, e)) : most;
        top = S(most);
        for (int e = 0; e < r.experts; ++e) mass += exp(r.logit(t, e) - top);
    }
    /// log of the sum of e^logit
    S log_sum() const { return top + log(mass); }
    S of(const S& logit) const { return exp(logit - top) / mass; }
};
/// E / (K T) times the rows asked of each expert, before drops.
template <class S> std::span<double> wanted_share(const routing<S>& r) {
    return r.wanted_count(r.experts / (static_cast<double>(r.top_k) * static_cast<double>(r.tokens())));
}
}  // namespace detail

/// weight sum_i f_i P_i with f_i = E / (K T) times the rows asked of expert i, P_i its mean score; equal loads of softmax scores
/// give weight. No gradient through f. DeepSeekMoE, arXiv:2401.06066, eq. 12-14.
struct expert_loss {
    static constexpr bool reads_scores = true;
    double weight = 1e-3;  ///< times the loss; alpha_1 of the paper
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight, detail::wanted_share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight, detail::wanted_share(r), g);
    }
};

/// weight E sum_i f_i P_i with f_i the share of tokens whose first choice is i, before drops. Switch Transformer,
/// arXiv:2101.03961, eq. 4-6.
struct switch_loss {
    static constexpr bool reads_scores = true;
    double weight = 1e-2;  ///< times the loss; alpha of the paper
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight * r.experts, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight * r.experts, share(r), g);
    }

private:
    template <class S> static std::span<double> share(const routing<S>& r) {
        const auto f = r.template zeros<double>(r.experts);
        const double one = 1 / static_cast<double>(r.tokens());
        r.each([&](long t) {
            if (const int e = r.wanted[t * r.slots]; e != no_expert) f[detail::at(e)] += one;
        });
        return f;
    }
};

/// weight E sum_i f_i P_i with f_i = count_i / T, which sums to K, and P_i the mean of the softmax of all logits, whatever the gate scores
/// by; equal loads give K weight. Mixtral, Qwen and OLMoE as trained with Hugging Face's load_balancing_loss_func.
struct top_k_balance_loss {
    double weight = 1e-2;  ///< times the loss; router_aux_loss_coef of a configuration
    template <class S> S value(const routing<S>& r) const {
        const auto f = detail::wanted_share(r);
        const double by = scale(r);
        S sum(0);
        r.each([&](long t) {
            const detail::shares<S> p(r, t);
            for (int e = 0; e < r.experts; ++e) sum += detail::constant<S>(by * f[detail::at(e)]) * p.of(r.logit(t, e));
        });
        return sum;
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const auto f = detail::wanted_share(r);
        const S by = detail::constant<S>(scale(r));
        r.each([&](long t) {
            const detail::shares<S> p(r, t);
            // f less its mean over experts, 1, less the mean by p: what all f have in common must cancel, and the p sum to 1 only
            // within rounding.
            const auto excess = [&](int e) { return detail::constant<S>(f[detail::at(e)] - 1); };
            S mean(0);
            for (int e = 0; e < r.experts; ++e) mean += excess(e) * p.of(r.logit(t, e));
            for (int e = 0; e < r.experts; ++e) g.logit(t, e) += by * p.of(r.logit(t, e)) * (excess(e) - mean);
        });
    }

private:
    template <class S> double scale(const routing<S>& r) const { return weight * r.top_k / static_cast<double>(r.tokens()); }
};

/// weight mean_t log(sum_e exp logit_te)^2. ST-MoE, arXiv:2202.08906, eq. 5.
struct z_loss {
    double weight = 1e-3;  ///< times the loss; c_z of the paper, 1e-3
    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        const double n = static_cast<double>(r.tokens());
        r.each([&](long t) {
            const S z = detail::shares<S>(r, t).log_sum();
            sum += detail::constant<S>(weight / n) * z * z;
        });
        return sum;
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const double n = static_cast<double>(r.tokens());
        r.each([&](long t) {
            const detail::shares<S> p(r, t);
            const S z = p.log_sum();
            for (int e = 0; e < r.experts; ++e) g.logit(t, e) += detail::constant<S>(2 * weight / n) * z * p.of(r.logit(t, e));
        });
    }
};

}  // namespace guild::inline v0
