#pragma once
#include <guild/expert/activation.hpp>

namespace guild::inline v0 {

/// (clamp(u, -limit, limit) + offset) g sigmoid(alpha g) with g held below limit. What is clamped has no derivative.
/// GPT-OSS: limit 7, alpha 1.702, offset 1. DeepSeek-V4: limit 10, alpha 1, offset 0.
struct clamped_swiglu {
    static constexpr int inputs = 2;
    /// The bound of g and u, the factor of g inside the sigmoid, and what is added to u; defaults: GPT-OSS.
    double limit = 7, alpha = 1.702, offset = 1;
    constexpr bool valid() const { return limit > 0 && is_finite(limit) && is_finite(alpha) && is_finite(offset); }
    template <class S> GUILD_HOST_DEVICE S operator()(S g, S u) const {
        using R = real_t<S>;
        const S bound(static_cast<R>(limit));
        if (value(g) > static_cast<R>(limit)) g = bound;
        if (value(u) > static_cast<R>(limit)) u = bound;
        if (value(u) < -static_cast<R>(limit)) u = -bound;
        return (u + S(nearest<R>(offset))) * (g * logistic(S(nearest<R>(alpha)) * g));
    }
};

}  // namespace guild::inline v0
