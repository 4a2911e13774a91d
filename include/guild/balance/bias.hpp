#pragma once
#include <guild/gate/stage/select.hpp>

namespace guild::inline v0 {

/// No state to move.
struct no_balance {
    template <class R> void update(const long*, long, R*, int) const {}
};

/// b_e += rate sign(mean load - load_e), sign(0) = 0, from exact counts, once a batch. DeepSeek-V3, arXiv:2412.19437, section
/// 2.1.2; arXiv:2408.15664, algorithm 1.
struct bias_balance {
    using moves = selection_bias;
    double rate = 1e-3;  ///< of a step of b_e, in units of the scores; published 1e-3
    constexpr bool valid() const { return is_finite(rate); }
    /// load [E] with sum `total`; state [E] += . Compares E load_e with total, so the mean is never rounded.
    template <class R> void update(const long* load, long total, R* state, int experts) const {
        for (int e = 0; e < experts; ++e) state[e] += static_cast<R>(rate * ((load[e] * experts < total) - (load[e] * experts > total)));
    }
};

/// b_e += rate (mean load - load_e) / mean load: a step in proportion to the violation, once a batch. The variant with the error itself in
/// place of its sign, arXiv:2408.15664, section 4.3; there the error is in rows, here in mean loads, so that `rate` fits batches of any size.
struct proportional_bias_balance {
    using moves = selection_bias;
    double rate = 1e-3;  ///< of a step of b_e at a violation of one mean load
    constexpr bool valid() const { return is_finite(rate); }
    /// load [E] with sum `total`; state [E] += . The violation E load_e - total is counted in integers; without load nothing moves.
    template <class R> void update(const long* load, long total, R* state, int experts) const {
        if (total <= 0) return;
        for (int e = 0; e < experts; ++e)
            state[e] += static_cast<R>(rate * (static_cast<double>(total - load[e] * experts) / static_cast<double>(total)));
    }
};

}  // namespace guild::inline v0
