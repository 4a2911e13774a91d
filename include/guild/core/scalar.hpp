#pragma once
#include <guild/core/exp.hpp>
#include <guild/core/finite.hpp>

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

/// Scalars: float, double, dual, or any type with + - * / and exp, log, log1p, sqrt, tanh, erf found by argument-dependent
/// lookup. `real_t<S>` is what a decision compares and `value(s)` gets it: a selection is never differentiated.
namespace guild::inline v0 {

using std::erf, std::log, std::log1p, std::sqrt, std::tanh;

/// What a scalar without derivatives is: itself.
template <class S> struct real_of {
    using type = S;  ///< itself
};
/// The float or double that a scalar's decisions compare.
template <class S> using real_t = typename real_of<S>::type;

/// The number without its derivative.
GUILD_HOST_DEVICE constexpr float value(float s) { return s; }
/// The same.
GUILD_HOST_DEVICE constexpr double value(double s) { return s; }

/// A scalar that carries derivatives: dual, variable.
template <class S> concept differentiated = !std::same_as<S, real_t<S>>;
/// The same.
template <differentiated S> GUILD_HOST_DEVICE constexpr real_t<S> value(const S& a) { return value(a.v); }

namespace detail {
/// x, from where e^x is the smallest normal number on: e^-x overflows soon below.
template <class S> GUILD_HOST_DEVICE constexpr S not_vanishing(S x) {
    using R = real_t<S>;
    if constexpr (!std::numeric_limits<R>::is_specialized) return x;
    constexpr R least = static_cast<R>((std::numeric_limits<R>::min_exponent - 1) * 0.6931471805599453);
    return value(x) < least ? S(least) : x;
}
}  // namespace detail

/// 1 / (1 + e^-x). Under -ffast-math 0 where it is below the smallest normal number: e^-x overflows there, and infinity has no reciprocal.
template <class S> GUILD_HOST_DEVICE S logistic(S x) {
#ifdef __FAST_MATH__
    const S held = detail::not_vanishing(x);
    const bool vanishes = value(x) < value(held);
    return S(1) / (S(1) + exp(-held)) * S(static_cast<real_t<S>>(!vanishes));  // a product, which threads no branch through a loop
#else
    return S(1) / (S(1) + exp(-x));
#endif
}
/// log(1 + e^x), exact for every x: above 0 as x + log(1 + e^-x).
template <class S> GUILD_HOST_DEVICE S softplus(S x) { return value(x) > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

/// A power of two that brings a magnitude near 1: squares of what is multiplied by it neither overflow nor vanish.
template <class R> GUILD_HOST_DEVICE constexpr R to_one(R magnitude) {
    R by(1);
    while (magnitude * by > R(0x1p32)) by = by * R(0x1p-32);
    for (int e = 32; e <= -std::numeric_limits<R>::min_exponent * 4 / 5 && magnitude * by < R(0x1p-32); e += 32) by = by * R(0x1p32);
    return by;
}

/// y = f(x): d f'(x), by x and y, for d on either side: a derivative carried forward or a gradient carried back. Where numbers leave the range of
/// R, it is finite if the value is, and tends to its limit: where f no longer moves it is 0 whatever d, which may have overflowed inside of f.
namespace slope {
namespace detail {
template <class R> inline constexpr bool is_real = std::is_same_v<R, real_t<R>>&& std::numeric_limits<R>::is_specialized;

/// d s, and 0 where s is.
template <class R> GUILD_HOST_DEVICE constexpr R along(R d, R s) {
    const R all = d * s;
    if constexpr (is_real<R>) return s == R(0) ? R(0) : all;
    else return all;  // a number that carries derivatives itself: its own product does as much
}
template <class R> inline constexpr R largest = (std::numeric_limits<R>::max)();  // a variable: device code calls no function of the host

/// Within the finite numbers; NaN stays.
template <class R> GUILD_HOST_DEVICE constexpr R held(R d) {
    if constexpr (is_real<R>) {
        return d > largest<R> ? largest<R> : d < -largest<R> ? -largest<R> : d;
    } else return d;
}
}  // namespace detail
using detail::along, detail::held;

/// d / b, 0 at a pole.
template <class R> GUILD_HOST_DEVICE constexpr R over(R d, R b) { return value(b) == 0 ? R(0) : detail::held(d / b); }

template <class R> GUILD_HOST_DEVICE R exp(R, R y, R d) { return detail::held(detail::along(d, y)); }
template <class R> GUILD_HOST_DEVICE R log(R x, R, R d) { return detail::held(d / x); }
template <class R> GUILD_HOST_DEVICE R log1p(R x, R, R d) { return detail::held(d / (R(1) + x)); }
/// 0 at 0, as for the length of a vector of zeros.
template <class R> GUILD_HOST_DEVICE R sqrt(R, R y, R d) {
    const R all = detail::held(d / (R(2) * y));
    return value(y) == 0 ? R(0) : all;
}
template <class R> GUILD_HOST_DEVICE R tanh(R, R y, R d) { return detail::along(d, R(1) - y * y); }
template <class R> GUILD_HOST_DEVICE R erf(R x, R, R d) {
    using guild::exp;
    return detail::along(d, R(1.1283791670955126) * exp(-x * x));  // 2 / sqrt(pi)
}
template <class R> GUILD_HOST_DEVICE R logistic(R x, R y, R d) {
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)
    return detail::along(d, y * guild::logistic(-x));  // e^-x y^2 may become a quotient by (1 + e^-x)^2, which overflows
#else
    using guild::exp;
    return detail::along(d, exp(-guild::detail::not_vanishing(x)) * y * y);
#endif
}
template <class R> GUILD_HOST_DEVICE R softplus(R x, R, R d) { return detail::along(d, guild::logistic(x)); }
/// y = a / b, along a and along b.
template <class R> GUILD_HOST_DEVICE constexpr R numerator(R b, R d) {
    const auto size = value(b);
    return !is_finite(size) && !is_nan(size) ? R(0) : detail::held(d / b);
}
template <class R> GUILD_HOST_DEVICE constexpr R denominator(R y, R b, R d) { return -detail::held(detail::along(numerator(b, d), y)); }
}  // namespace slope

/// Whether a number of a policy is larger than R goes.
template <class R> GUILD_HOST_DEVICE constexpr bool beyond(double x) {
    if constexpr (std::numeric_limits<R>::is_specialized) return x > static_cast<double>(slope::detail::largest<R>);
    else return false;
}
/// It in R: the largest, where it is beyond.
template <class R> GUILD_HOST_DEVICE constexpr R nearest(double x) {
    return beyond<R>(x) ? slope::detail::largest<R> : beyond<R>(-x) ? -slope::detail::largest<R> : static_cast<R>(x);
}

/// v + d epsilon, epsilon^2 = 0: one exact directional derivative. The referee of every hand-written adjoint, and the adjoint
/// of a stage, activation or loss that brings none of its own.
template <class R> struct dual {
    R v{}, d{};
    constexpr dual() = default;
    GUILD_HOST_DEVICE constexpr dual(R value, R derivative = R(0)) : v(value), d(derivative) {}
    template <class A>
    requires(std::is_arithmetic_v<A> && !std::same_as<A, R>) GUILD_HOST_DEVICE constexpr dual(A constant) : v(static_cast<R>(constant)), d(0) {}
    GUILD_HOST_DEVICE constexpr dual& operator+=(dual b) { return *this = *this + b; }
    GUILD_HOST_DEVICE constexpr dual& operator-=(dual b) { return *this = *this - b; }
    GUILD_HOST_DEVICE constexpr dual& operator*=(dual b) { return *this = *this * b; }
    GUILD_HOST_DEVICE constexpr dual& operator/=(dual b) { return *this = *this / b; }
    friend GUILD_HOST_DEVICE constexpr dual operator-(dual a) { return {-a.v, -a.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator+(dual a, dual b) { return {a.v + b.v, a.d + b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator-(dual a, dual b) { return {a.v - b.v, a.d - b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator*(dual a, dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator/(dual a, dual b) {
        const R y = a.v / b.v;
        return {y, slope::numerator(b.v, a.d - slope::along(b.d, y))};  // the difference first: it may cancel
    }
};
/// Of a scalar that carries a derivative: the number beneath.
template <class R> struct real_of<dual<R>> { using type = real_t<R>; };

//@{
/// Of a scalar that carries a derivative, with that of the function.
template <class R> GUILD_HOST_DEVICE dual<R> exp(dual<R> a) {
    const R y = exp(a.v);
    return {y, slope::exp(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> log(dual<R> a) {
    const R y = log(a.v);
    return {y, slope::log(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> log1p(dual<R> a) {
    const R y = log1p(a.v);
    return {y, slope::log1p(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> sqrt(dual<R> a) {
    const R y = sqrt(a.v);
    return {y, slope::sqrt(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> tanh(dual<R> a) {
    const R y = tanh(a.v);
    return {y, slope::tanh(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> erf(dual<R> a) {
    const R y = erf(a.v);
    return {y, slope::erf(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> logistic(dual<R> a) {
    const R y = logistic(a.v);
    return {y, slope::logistic(a.v, y, a.d)};
}
template <class R> GUILD_HOST_DEVICE dual<R> softplus(dual<R> a) {
    const R y = softplus(a.v);
    return {y, slope::softplus(a.v, y, a.d)};
}
//@}

}  // namespace guild::inline v0
