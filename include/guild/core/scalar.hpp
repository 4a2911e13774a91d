#pragma once
#include <guild/core/exp.hpp>

#include <cmath>

/// Scalars: float, double, dual, or any type with + - * / and exp, log, log1p, sqrt, tanh, erf found by argument-dependent
/// lookup. `real_t<S>` is what a decision compares and `value(s)` gets it: a selection is never differentiated.
namespace guild::inline v0 {

using std::erf, std::log, std::log1p, std::sqrt, std::tanh;

template <class S> struct real_of { using type = S; };
template <class S> using real_t = typename real_of<S>::type;

GUILD_HOST_DEVICE constexpr float value(float s) { return s; }
GUILD_HOST_DEVICE constexpr double value(double s) { return s; }

/// v + d epsilon, epsilon^2 = 0: one exact directional derivative. The referee of every hand-written adjoint, and the adjoint
/// of a stage, activation or loss that brings none of its own.
template <class R> struct dual {
    R v{}, d{};
    constexpr dual() = default;
    GUILD_HOST_DEVICE constexpr dual(R value, R derivative = R(0)) : v(value), d(derivative) {}
    GUILD_HOST_DEVICE constexpr dual& operator+=(dual b) { return *this = *this + b; }
    GUILD_HOST_DEVICE constexpr dual& operator-=(dual b) { return *this = *this - b; }
    GUILD_HOST_DEVICE constexpr dual& operator*=(dual b) { return *this = *this * b; }
    GUILD_HOST_DEVICE constexpr dual& operator/=(dual b) { return *this = *this / b; }
    friend GUILD_HOST_DEVICE constexpr dual operator-(dual a) { return {-a.v, -a.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator+(dual a, dual b) { return {a.v + b.v, a.d + b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator-(dual a, dual b) { return {a.v - b.v, a.d - b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator*(dual a, dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
    friend GUILD_HOST_DEVICE constexpr dual operator/(dual a, dual b) { return {a.v / b.v, (a.d - a.v / b.v * b.d) / b.v}; }
};
template <class R> struct real_of<dual<R>> { using type = real_t<R>; };
template <class R> GUILD_HOST_DEVICE constexpr auto value(dual<R> a) { return value(a.v); }
template <class R> GUILD_HOST_DEVICE dual<R> exp(dual<R> a) { return {exp(a.v), a.d * exp(a.v)}; }
template <class R> GUILD_HOST_DEVICE dual<R> log(dual<R> a) { return {log(a.v), a.d / a.v}; }
template <class R> GUILD_HOST_DEVICE dual<R> log1p(dual<R> a) { return {log1p(a.v), a.d / (R(1) + a.v)}; }
template <class R> GUILD_HOST_DEVICE dual<R> sqrt(dual<R> a) { return {sqrt(a.v), a.d / (R(2) * sqrt(a.v))}; }
template <class R> GUILD_HOST_DEVICE dual<R> tanh(dual<R> a) { return {tanh(a.v), a.d * (R(1) - tanh(a.v) * tanh(a.v))}; }
template <class R> GUILD_HOST_DEVICE dual<R> erf(dual<R> a) {
    return {erf(a.v), a.d * R(1.1283791670955126) * exp(-a.v * a.v)};  // 2 / sqrt(pi)
}

/// 1 / (1 + e^-x)
template <class S> GUILD_HOST_DEVICE S logistic(S x) { return S(1) / (S(1) + exp(-x)); }
/// log(1 + e^x), exact for every x: above 0 as x + log(1 + e^-x).
template <class S> GUILD_HOST_DEVICE S softplus(S x) { return value(x) > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

}  // namespace guild::inline v0
