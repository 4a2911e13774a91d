#pragma once
#include <guild/balance/losses.hpp>

#include <algorithm>
#include <cmath>

/// Losses that keep experts apart, so that they specialise.
namespace guild::inline v0 {

/// -weight I(expert; token), I = H(mean_t p_t) - mean_t H(p_t) in nats, p = softmax of the logits: certain for each token, even over all.
/// Between -weight log E and 0. Mutual information as in Shen et al. 2023, arXiv:2306.04640 (ModuleFormer), eq. 5.
struct mutual_information_loss {
    double weight = 1e-2;  ///< times the information, in nats
    template <class S> S value(const routing<S>& r) const {
        const S T = tokens_of(r);
        const auto mean = mean_of(r, T), p = r.template zeros<S>(r.experts);
        S sum(0);
        for (const S& m : mean)
            if (counts(m)) sum += m * log(m);
        r.each([&](long t) {
            log_softmax(r, t, p);
            for (const S& l : p)
                if (counts(exp(l))) sum -= exp(l) * l / T;
        });
        return detail::constant<S>(r.tokens() == 0 ? 0 : weight) * sum;
    }
    /// By p_te: (log mean_e - log p_te) / T; through the softmax.
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const S T = tokens_of(r);
        const auto mean = mean_of(r, T), p = r.template zeros<S>(r.experts);
        r.each([&](long t) {
            log_softmax(r, t, p);
            const auto part = [&](int e) { return counts(exp(p[detail::at(e)])) && counts(mean[detail::at(e)]); };
            const auto slope = [&](int e) { return log(mean[detail::at(e)]) - p[detail::at(e)]; };
            S dot(0);
            for (int e = 0; e < r.experts; ++e)
                if (part(e)) dot += exp(p[detail::at(e)]) * slope(e);
            for (int e = 0; e < r.experts; ++e)
                if (part(e)) g.logit(t, e) += detail::constant<S>(weight) / T * exp(p[detail::at(e)]) * (slope(e) - dot);
        });
    }

private:
    /// Whether a probability is more than 0: else it has no part in the sums.
    template <class S> static bool counts(S p) { return guild::value(p) > 0; }
    template <class S> static S tokens_of(const routing<S>& r) { return detail::constant<S>(static_cast<double>(r.tokens())); }
    template <class S> static void log_softmax(const routing<S>& r, long t, std::span<S> out) {
        const detail::shares<S> p(r, t);
        const S rest = log(p.mass);
        for (int e = 0; e < r.experts; ++e) out[detail::at(e)] = r.logit(t, e) - p.top - rest;
    }
    template <class S> static std::span<S> mean_of(const routing<S>& r, S T) {
        const auto mean = r.template zeros<S>(r.experts), p = r.template zeros<S>(r.experts);
        r.each([&](long t) {
            log_softmax(r, t, p);
            for (std::size_t e = 0; e < p.size(); ++e) mean[e] += exp(p[e]) / T;
        });
        return mean;
    }
};

/// weight sum over pairs of experts of the squared cosine of their rows in the router: 0 where all centroids are orthogonal.
/// Its gradient goes to the router's rows directly; of the tokens it matters only that there are any. A row of zeros is orthogonal to
/// all. For gates whose router has a row for each expert, not for cosine gates. O(E^2 H).
struct orthogonality_loss {
    double weight = 1e-3;  ///< times the sum over pairs
    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        each_pair(r, [&](int, int, S ab, S aa, S bb, S, S) { sum += detail::constant<S>(weight) * (ab / aa) * (ab / bb); });
        return sum;
    }
    /// c^2 by row a: 2 c / (|a| |b|) (b - c |b| / |a| a), c the cosine.
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        each_pair(r, [&](int a, int b, S ab, S aa, S bb, S by_a, S by_b) {
            const S scale = detail::constant<S>(2 * weight) * (ab / aa) / bb;
            for (long h = 0; h < r.hidden; ++h) {
                const S wa = by_a * r.router(0, a, h), wb = by_b * r.router(0, b, h);
                S &da = g.router.row(0, a)[h], &db = g.router.row(0, b)[h];
                da = slope::held(da + scale * (wb - ab / aa * wa) * by_a);
                db = slope::held(db + scale * (wa - ab / bb * wb) * by_b);
            }
        });
    }

private:
    /// f(a, b, a . b, a . a, b . b, by_a, by_b) for the pairs of rows that are not 0, of the rows times by_a and by_b: powers of two, so that
    /// squares neither overflow nor vanish.
    template <class S> static void each_pair(const routing<S>& r, auto f) {
        if (r.tokens() == 0) return;
        const auto by = r.template zeros<S>(r.experts), square = r.template zeros<S>(r.experts);
        for (int a = 0; a < r.experts; ++a) {
            by[detail::at(a)] = unit(r, a);
            square[detail::at(a)] = dot<S>(r, a, a, by);
        }
        for (int a = 0; a < r.experts; ++a)
            for (int b = 0; b < a; ++b)
                if (const S aa = square[detail::at(a)], bb = square[detail::at(b)]; guild::value(aa) > 0 && guild::value(bb) > 0)
                    f(a, b, dot<S>(r, a, b, by), aa, bb, by[detail::at(a)], by[detail::at(b)]);
    }
    template <class S> static S unit(const routing<S>& r, int a) {
        real_t<S> most(0);
        for (long h = 0; h < r.hidden; ++h) most = (std::max)(most, std::abs(guild::value(r.router(0, a, h))));
        return S(to_one(most));
    }
    template <class S> static S dot(const routing<S>& r, int a, int b, std::span<const S> by) {
        S sum(0);
        for (long h = 0; h < r.hidden; ++h) sum += by[detail::at(a)] * r.router(0, a, h) * (by[detail::at(b)] * r.router(0, b, h));
        return sum;
    }
};

}  // namespace guild::inline v0
