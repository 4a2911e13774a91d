#pragma once
#include <guild/core/batch.hpp>
#include <guild/core/rank.hpp>
#include <guild/core/scratch.hpp>
#include <guild/core/view.hpp>
#include <guild/format/stack.hpp>

#include <span>

namespace guild::inline v0 {

/// What a balance loss sees of a forward, and what it may add to. Padded tokens are not there: `each` skips them.
template <class S> struct routing {
    int experts = 0, slots = 0, top_k = 0;  ///< E, W, K
    view<const S> logit;                    ///< [T, E] as scored: after noise, bias or bound
    view<const S> score;                    ///< [T, E] after the gate's last score stage
    view<const S> weight;                   ///< [T, W]
    const int* expert = nullptr;            ///< [T, W] the choice
    const int* wanted = nullptr;            ///< [T, W] before anything was dropped
    const batch* side = nullptr;            ///< what the batch says beside x
    view<const S> raw{};                    ///< [T, P] what the router gave, P = E + extra
    stack<const S> router{};                ///< [1, P, H]
    long hidden = 0;                        ///< H
    scratch* memory = nullptr;              ///< what a loss needs while it computes; taken back after each call

    /// f(t) for every token of [begin, end) that is not padding, in order.
    template <class F> void each(long begin, long end, F f) const {
        for (long t = begin; t < end; ++t)
            if (side->padding.empty() || !side->padding[static_cast<std::size_t>(t)]) f(t);
    }
    /// The same of every token.
    template <class F> void each(F f) const { each(0, logit.rows, f); }
    /// How many tokens of [begin, end) are not padding.
    long tokens(long begin, long end) const {
        long n = 0;
        each(begin, end, [&](long) { ++n; });
        return n;
    }
    /// How many of all tokens are not padding.
    long tokens() const { return tokens(0, logit.rows); }
    /// n zeros, for the time of one call of a loss.
    template <class T> std::span<T> zeros(long n) const { return memory->template zeros<T>(n); }
    /// [E] rows that were asked of each expert, before anything was dropped, times `scale`.
    std::span<double> wanted_count(double scale = 1) const {
        const std::span<double> count = zeros<double>(experts);
        for (long i = 0; i < logit.rows * slots; ++i)
            if (wanted[i] != no_expert) count[static_cast<std::size_t>(wanted[i])] += 1;
        for (double& c : count) c *= scale;
        return count;
    }
};

/// Where a loss adds its gradient, each [T, ..] as in routing: and by the router's rows.
template <class S> struct routing_gradient {
    /// By logit, score, weight and raw of routing: +=.
    view<S> logit, score, weight, raw{};
    stack<S> router{};  ///< += : accumulates over calls
};

}  // namespace guild::inline v0
