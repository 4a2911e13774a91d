#pragma once
#include "linear.hpp"

#include <cmath>

namespace language_model {

/// Rotary positions (Su et al. 2021) in the layout of the published checkpoints: in a head of width D, number i and number i + D/2
/// form a pair, which at position p is turned by the angle p / base^(2 i / D).
template <class S> class rotary {
public:
    /// Angles for positions 0 ... context - 1 of heads of even width.
    rotary(int context, int width, double base = 10000) : cosine_(context, width / 2), sine_(context, width / 2) {
        for (int p = 0; p < context; ++p)
            for (int i = 0; i < width / 2; ++i) {
                const double angle = p * std::pow(base, -2.0 * i / width);
                cosine_(p, i) = static_cast<S>(std::cos(angle));
                sine_(p, i) = static_cast<S>(std::sin(angle));
            }
    }
    /// Turns one head of the token at `position` in place; `back` by the negative angle, which is also the adjoint.
    void turn(S* head, Eigen::Index position, bool back = false) const {
        const Eigen::Index half = cosine_.cols();
        const S *cosine = cosine_.row(position).data(), *sine = sine_.row(position).data(), sign = back ? S(-1) : S(1);
        for (Eigen::Index i = 0; i < half; ++i) {
            const S a = head[i], b = head[i + half], s = sign * sine[i];
            head[i] = a * cosine[i] - b * s;
            head[i + half] = b * cosine[i] + a * s;
        }
    }

private:
    matrix<S> cosine_, sine_;  ///< [context, D/2]
};

}  // namespace language_model
