#pragma once
#include <guild/gate/stage/map.hpp>

/// Further maps that normalise the chosen weights. unit_sum is in map.hpp.
namespace guild::inline v0 {

/// The machine epsilon of float, the least sum by which fairseq and Tutel divide.
constexpr double float_epsilon = 0x1p-23;

/// v / max(sum v, floor). Ernie 4.5; fairseq's GShard with float_epsilon.
struct unit_max {
    double floor = 0;  ///< least divisor; 0: the sum itself
    constexpr bool valid() const { return floor >= 0 && is_finite(floor); }
    template <class V> GUILD_HOST_DEVICE void forward(V v) const {
        using S = typename V::scalar;
        const S s = v.sum([&](int i) { return v[i]; }), by = held(s) ? bound<S>() : s;
        v.each([&](int i) { v[i] = value(by) == 0 ? S(0) : v[i] / by; });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto in, auto out, V g) const {
        using S = typename V::scalar;
        const S s = in.sum([&](int i) { return in[i]; }), by = held(s) ? bound<S>() : s;
        const S dot = held(s) ? S(0) : out.sum([&](int i) { return g[i] * out[i]; });
        out.each([&](int i) { g[i] = value(by) == 0 ? S(0) : slope::held((g[i] - dot) / by); });
    }

private:
    template <class S> GUILD_HOST_DEVICE S bound() const { return S(static_cast<real_t<S>>(floor)); }
    template <class S> GUILD_HOST_DEVICE bool held(S s) const { return value(s) < static_cast<real_t<S>>(floor); }
};

/// v / (sum |v|^p)^(1/p). DBRX (p = 1).
struct unit_norm {
    double p = 1;  ///< of the norm L_p; moe_normalize_expert_weights of DBRX
    constexpr bool valid() const { return p >= 1 && is_finite(p); }
    template <class V> GUILD_HOST_DEVICE void forward(V v) const {
        using S = typename V::scalar;
        const S n = norm<S>(v);
        v.each([&](int i) { v[i] = value(n) == 0 ? S(0) : v[i] / n; });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto in, auto out, V g) const {
        using S = typename V::scalar;
        const S n = norm<S>(in), dot = out.sum([&](int i) { return g[i] * out[i]; });
        out.each([&](int i) {  // d n / d v_i = sign(v_i) |v_i / n|^(p - 1)
            const S rate = value(in[i]) == 0 ? S(p == 1) : power(size(out[i]), p - 1);
            g[i] = value(n) == 0 ? S(0) : slope::held((g[i] - (value(in[i]) < 0 ? -dot : dot) * rate) / n);
        });
    }

private:
    template <class S> GUILD_HOST_DEVICE static S size(S v) { return value(v) < 0 ? -v : v; }
    template <class S> GUILD_HOST_DEVICE static S power(S v, double e) {
        return value(v) == 0 ? S(e == 0) : e == 0 ? S(1) : e == 1 ? v : exp(S(static_cast<real_t<S>>(e)) * log(v));
    }
    /// For p > 1 relative to the largest, whose power neither overflows nor vanishes.
    template <class S> GUILD_HOST_DEVICE S norm(auto v) const {
        if (p == 1) return v.sum([&](int i) { return size(S(v[i])); });
        const S top((v.max)([&](int i) { return value(size(S(v[i]))); }));
        if (!(value(top) > 0)) return S(0);
        return top * power(v.sum([&](int i) { return power(size(S(v[i])) / top, p); }), 1 / p);
    }
};

}  // namespace guild::inline v0
