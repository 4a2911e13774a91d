#pragma once
#include <guild/core/scalar.hpp>

/// What an expert does between its matrices. `inputs` = 2: a = act(gate, up), three matrices; 1: a = act(up), two matrices.
/// Differentiated by dual numbers, which costs one or two more evaluations.
namespace guild::inline v0 {

namespace detail {
/// max(x, 0), with derivative 0 at 0; NaN stays, and has the derivative NaN.
template <class S> GUILD_HOST_DEVICE S positive(S x) { return value(x) > 0 ? x : value(x) <= 0 ? S(0) : x * x; }
/// x Phi(x), Phi the normal distribution: Hendrycks & Gimpel 2016, arXiv:1606.08415.
template <class S> GUILD_HOST_DEVICE S normal_gate(S x) {
    using R = real_t<S>;
    return x * S(R(0.5)) * (S(1) + erf(x * S(R(0.7071067811865476))));
}
/// Its approximation by tanh (the same paper, section 2).
template <class S> GUILD_HOST_DEVICE S tanh_gate(S x) {
    using R = real_t<S>;
    constexpr R end = 8;  // from there on tanh is 1, and x^3 would overflow
    const S z = value(x) > end ? S(end) : value(x) < -end ? S(-end) : x;
    return x * S(R(0.5)) * (S(1) + tanh(S(R(0.7978845608028654)) * (z + S(R(0.044715)) * z * z * z)));
}
}  // namespace detail

/// g sigmoid(g) u. Shazeer 2020, arXiv:2002.05202, eq. 6.
struct swiglu {
    static constexpr int inputs = 2;
    template <class S> GUILD_HOST_DEVICE S operator()(S g, S u) const { return g * logistic(g) * u; }
};
/// gelu(g) u, exact. The same, eq. 6.
struct geglu {
    static constexpr int inputs = 2;
    template <class S> GUILD_HOST_DEVICE S operator()(S g, S u) const { return detail::normal_gate(g) * u; }
};
/// gelu(g) u, by tanh.
struct geglu_tanh {
    static constexpr int inputs = 2;
    template <class S> GUILD_HOST_DEVICE S operator()(S g, S u) const { return detail::tanh_gate(g) * u; }
};
/// max(g, 0) u. The same, eq. 6.
struct reglu {
    static constexpr int inputs = 2;
    template <class S> GUILD_HOST_DEVICE S operator()(S g, S u) const { return detail::positive(g) * u; }
};

/// max(u, 0)
struct relu {
    static constexpr int inputs = 1;
    template <class S> GUILD_HOST_DEVICE S operator()(S u) const { return detail::positive(u); }
};
/// max(u, 0)^2. So et al. 2021, arXiv:2109.08668.
struct relu_squared {
    static constexpr int inputs = 1;
    template <class S> GUILD_HOST_DEVICE S operator()(S u) const { return detail::positive(u) * detail::positive(u); }
};
/// u sigmoid(u)
struct silu {
    static constexpr int inputs = 1;
    template <class S> GUILD_HOST_DEVICE S operator()(S u) const { return u * logistic(u); }
};
/// u Phi(u), exact.
struct gelu {
    static constexpr int inputs = 1;
    template <class S> GUILD_HOST_DEVICE S operator()(S u) const { return detail::normal_gate(u); }
};
/// The same by tanh.
struct gelu_tanh {
    static constexpr int inputs = 1;
    template <class S> GUILD_HOST_DEVICE S operator()(S u) const { return detail::tanh_gate(u); }
};

}  // namespace guild::inline v0
