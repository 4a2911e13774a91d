#pragma once
#include <guild/gate/stage/select.hpp>

#include <cmath>

namespace guild::inline v0 {

/// Ranking by s_e - strength (E share_e / capacity)^sharpness: an expert is held back the more, the nearer its recent share of the rows
/// comes to its capacity, `capacity` times an even share. Nothing for an idle expert, `strength` at capacity, steeper the larger
/// `sharpness`. share [E] is state that guild::load_average moves. The penalty ranks alone and is part of no weight, as selection_bias;
/// unlike that, it forgets: it is a function of the recent load and does not add up over steps.
struct load_penalty : ranks_only {
    static constexpr row_part reads = row_part::bias, writes = row_part::bias;
    double strength = 1;     ///< of the penalty at capacity, in units of the scores
    double sharpness = 4;    ///< power of the filling; > 0
    double capacity = 1.25;  ///< over an even share; > 0

    /// The numbers in their order.
    constexpr load_penalty(double by = 1, double sharp = 4, double room = 1.25) : strength(by), sharpness(sharp), capacity(room) {}
    constexpr bool fits(int, int) const {
        return strength >= 0 && is_finite(strength) && sharpness > 0 && is_finite(sharpness) && capacity > 0 && is_finite(capacity);
    }
    GUILD_HOST_DEVICE static constexpr int state(int experts) { return experts; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        using R = typename Row::real;
        const R even = static_cast<R>(r.n.experts / capacity);
        r.each([&](int e) {
            const R filled = even * t.state[e];
            if (!(filled > 0)) return;
            const R by = static_cast<R>(strength) * static_cast<R>(std::pow(filled, static_cast<R>(sharpness)));
            if (by > 0) r.bias[e] -= by;  // not where 0 is multiplied with what has overflowed
        });
    }
};

}  // namespace guild::inline v0
