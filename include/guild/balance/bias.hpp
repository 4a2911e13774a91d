#pragma once

namespace guild::inline v0 {

/// No state to move.
struct no_balance {
    template <class R> void update(const long*, long, R*, int) const {}
};

/// b_e += rate sign(mean load - load_e), sign(0) = 0, from exact counts, once a batch. DeepSeek-V3, arXiv:2412.19437, section
/// 2.1.2; arXiv:2408.15664, algorithm 1.
struct bias_balance {
    double rate = 1e-3;
    constexpr bool valid() const { return rate - rate == 0; }
    /// load [E] with sum `total`; state [E] += . Compares E load_e with total, so the mean is never rounded.
    template <class R> void update(const long* load, long total, R* state, int experts) const {
        for (int e = 0; e < experts; ++e) state[e] += static_cast<R>(rate * ((load[e] * experts < total) - (load[e] * experts > total)));
    }
};

}  // namespace guild::inline v0
