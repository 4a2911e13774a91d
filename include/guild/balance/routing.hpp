#pragma once
#include <guild/core/batch.hpp>
#include <guild/core/view.hpp>
#include <guild/gate/rank.hpp>

#include <vector>

namespace guild::inline v0 {

/// What a balance loss sees of a forward, and what it may add to. Padded tokens are not there: `each` skips them.
template <class S> struct routing {
    int experts = 0, slots = 0, top_k = 0;  ///< E, W, K
    view<const S> logit;                    ///< [T, P] raw, P = E + extra
    view<const S> score;                    ///< [T, E] after the gate's last score stage
    view<const S> weight;                   ///< [T, W]
    const int* expert = nullptr;            ///< [T, W] the choice
    const int* wanted = nullptr;            ///< [T, W] before anything was dropped
    const batch* side = nullptr;

    /// f(t) for every token that is not padding, in order.
    template <class F> void each(F f) const {
        for (long t = 0; t < logit.rows; ++t)
            if (side->padding.empty() || !side->padding[static_cast<std::size_t>(t)]) f(t);
    }
    long tokens() const {
        long n = 0;
        each([&](long) { ++n; });
        return n;
    }
    /// [E] rows that were asked of each expert, before anything was dropped.
    std::vector<long> wanted_count() const {
        std::vector<long> count(static_cast<std::size_t>(experts));
        for (long i = 0; i < logit.rows * slots; ++i)
            if (wanted[i] != no_expert) ++count[static_cast<std::size_t>(wanted[i])];
        return count;
    }
};

/// Where a loss adds its gradient, each [T, ..] as in routing: by the logits, by the scores, by the weights.
template <class S> struct routing_gradient { view<S> logit, score, weight; };

}  // namespace guild::inline v0
