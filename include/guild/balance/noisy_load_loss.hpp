#pragma once
#include <guild/balance/weight_losses.hpp>
#include <guild/gate/stage/logits.hpp>

#include <limits>

namespace guild::inline v0 {

/// weight CV^2 of the load that noisy top-k expects: Load_i = sum_t Phi((clean_i - threshold_i) / sigma_i), the chance that i is chosen
/// again if its noise alone is drawn anew; threshold_i is the K-th largest noisy logit among the others. Gradients flow through everything.
/// In evaluation (no noise), with a gate that has none, or where every expert is chosen, it is the count of rows and has no gradient.
/// Shazeer et al. 2017, arXiv:1701.06538, eq. 8-11. For a gate with learned_noise of the same `noise`.
struct noisy_load_loss {
    double weight = 0.1;    ///< times the loss; w_load of the paper
    learned_noise noise{};  ///< that of the gate
    double epsilon = 0;     ///< added to the squared mean load; published code has 1e-10
    constexpr bool valid() const { return noise.fits(1, 1) && epsilon >= 0 && is_finite(epsilon); }

    template <class S> S value(const routing<S>& r) const {
        return detail::constant<S>(weight) * detail::squared_variation<S>(load(r), false, epsilon);
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        if (!noisy(r)) return;
        const auto by = load(r);
        detail::squared_variation_gradient(by, false, epsilon);
        const order<S> best = r.template zeros<rank<real_t<S>>>(r.top_k + 1);
        r.each([&](long t) {
            rank_best(r, t, best);
            for (int e = 0; e < r.experts; ++e) {
                const auto p = place(r, t, e, best);
                const S by_z = detail::constant<S>(weight * 0.3989422804014327) * exp(-p.z * p.z / S(2)) * by[detail::at(e)];
                const S by_clean = slope::over(by_z, p.sigma);
                g.raw(t, e) += by_clean;
                g.raw(t, r.experts + e) -= by_z * p.z * (logistic(r.raw(t, r.experts + e)) / p.sigma);
                g.logit(t, p.threshold) -= by_clean;
            }
        });
    }

private:
    static constexpr int certain = 100;  ///< deviations
    template <class S> struct chance {
        S z, sigma;
        int threshold;
    };
    template <class S> static bool noisy(const routing<S>& r) { return r.side->training && r.top_k < r.experts && r.raw.cols >= 2 * r.experts; }
    /// The K + 1 best.
    template <class S> using order = std::span<rank<real_t<S>>>;
    template <class S> static void rank_best(const routing<S>& r, long t, order<S> best) {
        int have = 0;
        for (int e = 0; e < r.experts; ++e) insert(best.data(), have, r.top_k + 1, rank<real_t<S>>::of(guild::value(r.logit(t, e)), e));
    }
    /// The threshold is the (K + 1)-th of all for an expert inside the K best, else the K-th.
    template <class S> chance<S> place(const routing<S>& r, long t, int e, order<S> best) const {
        const std::size_t K = static_cast<std::size_t>(r.top_k);
        const bool inside = !(best[K - 1] < rank<real_t<S>>::of(guild::value(r.logit(t, e)), e));
        const int threshold = best[inside ? K : K - 1].index;
        const S sigma = noise.spread(r.raw(t, r.experts + e));
        const S z = (r.raw(t, e) - r.logit(t, threshold)) / sigma;
        constexpr auto least = (std::numeric_limits<real_t<S>>::min)();
        if (guild::value(z) > -certain && guild::value(z) < certain && guild::value(sigma) >= least) return {z, sigma, threshold};
        return {S(guild::value(z) > 0 ? certain : -certain), S(1), threshold};  // beyond, and where sigma has underflowed: no slope
    }
    template <class S> std::span<S> load(const routing<S>& r) const {
        const auto sum = r.template zeros<S>(r.experts);
        if (!noisy(r)) {
            detail::each_slot(r, [&](long, std::size_t e) { sum[e] += S(1); });
            return sum;
        }
        const order<S> best = r.template zeros<rank<real_t<S>>>(r.top_k + 1);
        r.each([&](long t) {
            rank_best(r, t, best);
            for (int e = 0; e < r.experts; ++e)
                sum[detail::at(e)] += detail::constant<S>(0.5) * (S(1) + erf(place(r, t, e, best).z * detail::constant<S>(0.7071067811865476)));
        });
        return sum;
    }
};

}  // namespace guild::inline v0
