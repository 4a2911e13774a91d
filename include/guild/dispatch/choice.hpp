#pragma once
#include <guild/core/buffer.hpp>

namespace guild::inline v0 {

/// The gate's verdict: W slots per token, W = K or, where a token may choose any number, E. An empty slot is no_expert. One form
/// for every router; a gate with K full slots pays nothing for it.
template <class S> struct choice {
    long tokens = 0;     ///< T
    int slots = 0;       ///< W
    buffer<int> expert;  ///< [T, W]
    buffer<S> weight;    ///< [T, W]; 0 in an empty slot

    /// T tokens of W slots, contents unspecified.
    void resize(long T, int W) {
        tokens = T;
        slots = W;
        expert.shape(T, W);
        weight.shape(T, W);
    }
};

}  // namespace guild::inline v0
