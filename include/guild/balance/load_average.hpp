#pragma once
#include <guild/gate/stage/load_penalty.hpp>

namespace guild::inline v0 {

/// What load_penalty reads: state_e = decay state_e + (1 - decay) load_e / total, the running mean of the expert's share of the rows, once
/// a batch; a batch without rows leaves it alone. From zero the mean rises as fast as decay^n falls.
struct load_average {
    using moves = load_penalty;
    double decay = 0.99;  ///< share of the mean that a batch leaves, in [0, 1]
    constexpr bool valid() const { return decay >= 0 && decay <= 1; }
    /// load [E] with sum `total`; state [E] =.
    template <class R> void update(const long* load, long total, R* state, int experts) const {
        if (total <= 0) return;
        for (int e = 0; e < experts; ++e) {
            const double share = static_cast<double>(load[e]) / static_cast<double>(total);
            state[e] = static_cast<R>(decay * static_cast<double>(state[e]) + (1 - decay) * share);
        }
    }
};

}  // namespace guild::inline v0
