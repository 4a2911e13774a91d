#pragma once
#include <guild/balance/losses.hpp>

#include <algorithm>

/// Balance inside a sequence, or of a batch of several. Bounds come from the batch; without them all tokens are one sequence.
namespace guild::inline v0 {

namespace detail {
/// The rows [begin, end) of a sequence, and how many of them are tokens.
struct span_of_rows {
    long begin, end, tokens;
};
/// f(rows) for each sequence that has tokens, and how many have.
template <class S, class F> long each_sequence(const routing<S>& r, F f) {
    const auto& bound = r.side->sequence;
    long used = 0;
    for (std::size_t b = 0; b + 1 < bound.size() || b == 0; ++b) {
        const long begin = bound.empty() ? 0 : bound[b], end = bound.empty() ? r.logit.rows : bound[b + 1];
        const long tokens = r.tokens(begin, end);
        if (tokens == 0) continue;
        f(span_of_rows{begin, end, tokens});
        ++used;
    }
    return used;
}
}  // namespace detail

/// Which experts a sequence loss counts: the K best of the scores alone, without bias and groups (as published), or those really asked.
enum class counted { unbiased, realised };

/// weight mean over sequences of sum_i f_i P_i, in each: f_i = E / (K T) count_i, P_i = mean of s_i / sum_j s_j. No gradient through f.
/// DeepSeek-V3, arXiv:2412.19437, eq. 17-20. O(T E K).
struct sequence_loss {
    static constexpr bool reads_scores = true;
    double weight = 1e-4;            ///< times the mean over sequences; published 1e-4
    counted by = counted::unbiased;  ///< whose rows are counted

    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        const memory<S> m(r);
        const long n = detail::each_sequence(r, [&](const detail::span_of_rows& rows) {
            share(r, rows, m);
            r.each(rows.begin, rows.end, [&](long t) {
                const auto [dot, mass] = sums(r, t, m);
                if (guild::value(mass) > 0) sum += dot / mass;
            });
        });
        return n == 0 ? S(0) : sum * detail::constant<S>(weight / static_cast<double>(n));
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const memory<S> m(r);
        const long n = detail::each_sequence(r, [](const auto&) {});
        const S scale = detail::constant<S>(n == 0 ? 0 : weight / static_cast<double>(n));
        detail::each_sequence(r, [&](const detail::span_of_rows& rows) {
            share(r, rows, m);
            r.each(rows.begin, rows.end, [&](long t) {
                const auto [dot, mass] = sums(r, t, m);
                if (guild::value(mass) > 0)
                    for (int e = 0; e < r.experts; ++e)
                        g.score(t, e) += slope::held(scale * (detail::constant<S>(m.f[detail::at(e)]) - dot / mass) / mass);
            });
        });
    }

private:
    template <class S> struct memory {
        std::span<double> f;
        std::span<rank<real_t<S>>> best;
        explicit memory(const routing<S>& r) : f(r.template zeros<double>(r.experts)), best(r.template zeros<rank<real_t<S>>>(r.top_k)) {}
    };
    template <class S> struct pair { S dot, mass; };
    /// sum_e f_e s_e and sum_e s_e. Where every score of a token underflows there is nothing to share: it adds 0.
    template <class S> static pair<S> sums(const routing<S>& r, long t, const memory<S>& m) {
        pair<S> p{S(0), S(0)};
        for (int e = 0; e < r.experts; ++e) {
            p.dot += detail::constant<S>(m.f[detail::at(e)]) * r.score(t, e);
            p.mass += r.score(t, e);
        }
        return p;
    }
    /// m.f = E / (K T) count_i / T: the second T is that of the mean.
    template <class S> void share(const routing<S>& r, const detail::span_of_rows& rows, const memory<S>& m) const {
        const double T = static_cast<double>(rows.tokens), one = r.experts / (r.top_k * T) / T;
        std::fill(m.f.begin(), m.f.end(), 0.0);
        r.each(rows.begin, rows.end, [&](long t) {
            int have = 0;
            if (by == counted::realised) {
                for (long i = t * r.slots; i < (t + 1) * r.slots; ++i)
                    if (r.wanted[i] != no_expert) m.f[detail::at(r.wanted[i])] += one;
            } else {
                for (int e = 0; e < r.experts; ++e) insert(m.best.data(), have, r.top_k, rank<real_t<S>>::of(guild::value(r.score(t, e)), e));
                for (int k = 0; k < have; ++k) m.f[detail::at(m.best[detail::at(k)].index)] += one;
            }
        });
    }
};

/// weight mean over micro-batches (the sequences of the batch) of sum_i f_i P_i: f_i = E / (K T) count_i over all of them, P_i of the
/// micro-batch. arXiv:2501.11873, eq. 4-6.
struct global_batch_loss {
    static constexpr bool reads_scores = true;
    double weight = 1e-2;  ///< times the mean over micro-batches

    template <class S> S value(const routing<S>& r) const {
        const auto f = detail::wanted_share(r);
        S sum(0);
        const long n = detail::each_sequence(r, [&](const detail::span_of_rows& rows) {
            const double n_of = static_cast<double>(rows.tokens);
            r.each(rows.begin, rows.end, [&](long t) {
                for (int e = 0; e < r.experts; ++e) sum += detail::constant<S>(f[detail::at(e)] / n_of) * r.score(t, e);
            });
        });
        return n == 0 ? S(0) : sum * detail::constant<S>(weight / static_cast<double>(n));
    }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        const auto f = detail::wanted_share(r);
        const long n = detail::each_sequence(r, [](const auto&) {});
        detail::each_sequence(r, [&](const detail::span_of_rows& rows) {
            const double scale = weight / static_cast<double>(n) / static_cast<double>(rows.tokens);
            r.each(rows.begin, rows.end, [&](long t) {
                for (int e = 0; e < r.experts; ++e) g.score(t, e) += detail::constant<S>(scale * f[detail::at(e)]);
            });
        });
    }
};

}  // namespace guild::inline v0
