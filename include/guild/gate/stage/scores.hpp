#pragma once
#include <guild/gate/stage/map.hpp>

/// Further maps from logits to scores.
namespace guild::inline v0 {

/// sqrt(log(1 + e^v)). DeepSeek-V4's affinity.
struct sqrt_softplus {
    GUILD_HOST_DEVICE void forward(auto v) const {
        v.each([&](int i) { v[i] = sqrt(softplus(v[i])); });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto in, auto out, V g) const {
        using S = typename V::scalar;
        out.each([&](int i) {  // half the root of e^v where that is all that is left of log(1 + e^v); 0 where it has underflowed
            g[i] = g[i] * (value(in[i]) < -80 ? S(real_t<S>(0.5)) * out[i] : logistic(in[i]) / (S(2) * out[i]));
        });
    }
};

/// max(v, 0)
struct rectify {
    template <class V> GUILD_HOST_DEVICE void forward(V v) const {
        v.each([&](int i) { v[i] = value(v[i]) <= 0 ? typename V::scalar(0) : v[i]; });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto in, auto out, V g) const {
        out.each([&](int i) { g[i] = value(in[i]) <= 0 ? typename V::scalar(0) : g[i]; });
    }
};

/// cap tanh(v / cap): logits held within +-cap.
struct soft_cap {
    double cap = 1;  ///< the bound; > 0
    constexpr bool valid() const { return cap > 0 && is_finite(cap); }
    template <class V> GUILD_HOST_DEVICE void forward(V v) const {
        using S = typename V::scalar;
        if (beyond<real_t<S>>(cap)) return;  // no number is held
        const S c = S(static_cast<real_t<S>>(cap));
        v.each([&](int i) { v[i] = c * tanh(v[i] / c); });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto, auto out, V g) const {
        using S = typename V::scalar;
        if (beyond<real_t<S>>(cap)) return;
        const S c = S(static_cast<real_t<S>>(cap));
        out.each([&](int i) { g[i] = g[i] * (S(1) - out[i] / c * (out[i] / c)); });
    }
};

}  // namespace guild::inline v0
