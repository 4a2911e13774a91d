#pragma once
#include <guild/balance/routing.hpp>
#include <guild/core/scalar.hpp>

/// Balance losses: `value(routing)`, and `backward(routing, g)` that adds the gradient. Both in token order on one
/// thread, O(T E): a hundredth of the logits. Without tokens every loss is 0.
namespace guild::inline v0 {

namespace detail {
template <class S> S constant(double c) { return S(static_cast<real_t<S>>(c)); }

/// weight sum_i f_i P_i, P_i = mean over tokens of score_i, with f [E] held constant.
template <class S> S load_times_score(const routing<S>& r, double weight, const tally& f) {
    S sum(0);
    const double n = static_cast<double>(r.tokens());
    r.each([&](long t) {
        S dot(0);
        for (int e = 0; e < r.experts; ++e) dot += constant<S>(f[e]) * r.score(t, e);
        sum += constant<S>(weight / n) * dot;
    });
    return sum;
}
template <class S> void load_times_score_backward(const routing<S>& r, double weight, const tally& f, const routing_gradient<S>& g) {
    const double n = static_cast<double>(r.tokens());
    r.each([&](long t) {
        for (int e = 0; e < r.experts; ++e) g.score(t, e) += constant<S>(weight / n * f[e]);
    });
}
}  // namespace detail

/// weight sum_i f_i P_i with f_i = E / (K T) times the rows asked of expert i, P_i its mean score; equal loads of softmax scores
/// give weight. No gradient through f. DeepSeekMoE, arXiv:2401.06066, eq. 12-14.
struct expert_loss {
    double weight = 1e-3;
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight, share(r), g);
    }

private:
    template <class S> static tally share(const routing<S>& r) {
        return r.wanted_count(r.experts / (static_cast<double>(r.top_k) * static_cast<double>(r.tokens())));
    }
};

/// weight E sum_i f_i P_i with f_i the share of tokens whose first choice is i, before drops. Switch Transformer,
/// arXiv:2101.03961, eq. 4-6.
struct switch_loss {
    double weight = 1e-2;
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight * r.experts, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight * r.experts, share(r), g);
    }

private:
    template <class S> static tally share(const routing<S>& r) {
        tally f(r.memory, r.experts);
        const double one = 1 / static_cast<double>(r.tokens());
        r.each([&](long t) {
            if (const int e = r.wanted[t * r.slots]; e != no_expert) f[e] += one;
        });
        return f;
    }
};

/// weight mean_t log(sum_e exp logit_te)^2. ST-MoE, arXiv:2202.08906, eq. 5.
struct z_loss {
    double weight = 1e-3;
    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        const double n = static_cast<double>(r.tokens());
        r.each([&](long t) {
            const S z = log_sum(r, t);
            sum += detail::constant<S>(weight / n) * z * z;
        });
        return sum;
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const double n = static_cast<double>(r.tokens());
        r.each([&](long t) {
            const S z = log_sum(r, t);
            for (int e = 0; e < r.experts; ++e) g.logit(t, e) += detail::constant<S>(2 * weight / n) * z * exp(r.logit(t, e) - z);
        });
    }

private:
    template <class S> static S log_sum(const routing<S>& r, long t) {
        auto top = rank<real_t<S>>::worst().key;
        for (int e = 0; e < r.experts; ++e) top = guild::value(r.logit(t, e)) > top ? guild::value(r.logit(t, e)) : top;
        S sum(0);
        for (int e = 0; e < r.experts; ++e) sum += exp(r.logit(t, e) - S(top));
        return S(top) + log(sum);
    }
};

}  // namespace guild::inline v0
