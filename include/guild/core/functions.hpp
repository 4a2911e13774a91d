#pragma once
#include <guild/core/finite.hpp>
#include <guild/core/scalar.hpp>

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>
#include <utility>

/// What one may do with the scalar of a stage, loss or activation beside + - * /, whether it is a float, a double, or a dual or variable that
/// carries derivatives: the same list for all four, found by argument-dependent lookup or as guild::name.
///
/// Comparisons act on values. At a kink one side counts: of min and max with equal arguments the first, as with std::min and std::max. abs has
/// slope 0 at 0; floor, ceil, trunc and round have slope 0 everywhere.
namespace guild::inline v0 {

namespace detail {
template <class A> concept plain = std::is_arithmetic_v<A>;
template <class A, class B> concept one_differentiated = (differentiated<A> && (std::same_as<A, B> || plain<B>)) || (plain<A> && differentiated<B>);
template <class A> GUILD_HOST_DEVICE constexpr auto number(const A& a) {
    if constexpr (plain<A>) return a;
    else return value(a);
}
template <class A, class B> using common = std::common_type_t<decltype(number(std::declval<A>())), decltype(number(std::declval<B>()))>;
template <class A, class B> GUILD_HOST_DEVICE constexpr bool less(const A& a, const B& b) {
    return static_cast<common<A, B>>(number(a)) < static_cast<common<A, B>>(number(b));
}
template <class A, class B> GUILD_HOST_DEVICE constexpr bool equal(const A& a, const B& b) {
    return static_cast<common<A, B>>(number(a)) == static_cast<common<A, B>>(number(b));
}
/// The one of the two that is differentiated, or what both plain ones become.
template <class A, class B> struct either { using type = std::common_type_t<A, B>; };
template <differentiated A, class B> struct either<A, B> { using type = A; };
template <plain A, differentiated B> struct either<A, B> { using type = B; };
/// c as a number of the type of a.
template <class R> GUILD_HOST_DEVICE constexpr R like(const R&, double c) { return R(static_cast<real_t<R>>(c)); }
/// A number in what slopes of a are computed in.
template <class S, class N> GUILD_HOST_DEVICE constexpr auto wide(const S& a, N n) {
    if constexpr (requires { typename S::slope_type; }) return typename S::slope_type(n);
    else return decltype(a.v)(n);
}
/// d s, 0 where either is.
template <class R> GUILD_HOST_DEVICE constexpr R moved(const R& d, const R& s) {
    if constexpr (slope::detail::is_real<R>)
        if (d == R(0)) return R(0);
    return slope::detail::along(d, s);
}
/// a / b, 0 where b is.
template <class R> GUILD_HOST_DEVICE R share(const R& a, const R& b) { return value(b) == 0 ? R(0) : a / b; }
/// sqrt(1 - x^2)
template <class R> GUILD_HOST_DEVICE R leg(const R& x) { return sqrt((R(1) - x) * (R(1) + x)); }
template <class A, class B>
requires(one_differentiated<A, B> || (plain<A> && plain<B>)) using either_t = typename either<A, B>::type;
}  // namespace detail

//@{
/// By values; either side may be a plain number.
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator<(const A& a, const B& b) { return detail::less(a, b); }
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator>(const A& a, const B& b) { return detail::less(b, a); }
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator==(const A& a, const B& b) { return detail::equal(a, b); }
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator!=(const A& a, const B& b) { return !detail::equal(a, b); }
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator<=(const A& a, const B& b) {
    return detail::less(a, b) || detail::equal(a, b);
}
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr bool operator>=(const A& a, const B& b) {
    return detail::less(b, a) || detail::equal(a, b);
}
//@}

/// Itself.
template <differentiated S> GUILD_HOST_DEVICE constexpr S operator+(S a) { return a; }

/// f(a) = v or f(a, b) = v, with the slopes of f: all that a function says of itself. For a variable: variable.hpp.
/// What does not move has no part in it, whatever the slope.
template <class R> GUILD_HOST_DEVICE constexpr dual<R> with_slope(R v, dual<R> a, R by_a) { return {v, detail::moved(a.d, by_a)}; }
template <class R> GUILD_HOST_DEVICE constexpr dual<R> with_slope(R v, dual<R> a, R by_a, dual<R> b, R by_b) {
    return {v, detail::moved(a.d, by_a) + detail::moved(b.d, by_b)};
}

using std::abs, std::acos, std::acosh, std::asin, std::asinh, std::atan, std::atan2, std::atanh, std::copysign, std::fdim, std::fmod, std::rint,
    std::signbit, std::cbrt, std::ceil, std::cos, std::cosh, std::erfc, std::exp2, std::expm1, std::fabs, std::floor, std::fmax, std::fmin,
    std::hypot, std::isfinite, std::isinf, std::isnan, std::log10, std::log2, std::pow, std::round, std::sin, std::sinh, std::tan, std::trunc;

// Their names in parentheses where headers are known to define them as macros.
//@{
/// With the slope of the argument that counts: of equal ones the first. Either may be a plain number.
template <class A, class B> GUILD_HOST_DEVICE constexpr detail::either_t<A, B>(max)(A a, B b) {
    using S = detail::either_t<A, B>;
    return detail::less(a, b) ? S(b) : S(a);
}
template <class A, class B> GUILD_HOST_DEVICE constexpr detail::either_t<A, B>(min)(A a, B b) {
    using S = detail::either_t<A, B>;
    return detail::less(b, a) ? S(b) : S(a);
}
template <class A, class B, class C> GUILD_HOST_DEVICE constexpr auto clamp(A a, B low, C high) { return (min)((max)(a, low), high); }
//@}
//@{
/// The one that is a number, where the other is not.
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr auto fmax(A a, B b) {
    using S = detail::either_t<A, B>;
    return is_nan(detail::number(a)) ? S(b) : is_nan(detail::number(b)) ? S(a) : (max)(S(a), S(b));
}
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE constexpr auto fmin(A a, B b) {
    using S = detail::either_t<A, B>;
    return is_nan(detail::number(a)) ? S(b) : is_nan(detail::number(b)) ? S(a) : (min)(S(a), S(b));
}
//@}

//@{
/// As of the value; the slope of abs is 0 at 0 and else the sign, that of the others 0.
template <differentiated S> GUILD_HOST_DEVICE S abs(S a) { return value(a) == 0 ? S(abs(a.v)) : value(a) < 0 ? -a : a; }
template <differentiated S> GUILD_HOST_DEVICE S fabs(S a) { return abs(a); }
template <differentiated S> GUILD_HOST_DEVICE S floor(S a) { return S(floor(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S ceil(S a) { return S(ceil(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S trunc(S a) { return S(trunc(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S round(S a) { return S(round(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S rint(S a) { return S(rint(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE bool signbit(S a) { return signbit(value(a)); }
template <differentiated S> GUILD_HOST_DEVICE constexpr bool isnan(S a) { return is_nan(value(a)); }
template <differentiated S> GUILD_HOST_DEVICE constexpr bool isinf(S a) { return !is_finite(value(a)) && !is_nan(value(a)); }
template <differentiated S> GUILD_HOST_DEVICE constexpr bool isfinite(S a) { return is_finite(value(a)); }
//@}

// exp, log, log1p, sqrt, tanh, erf, logistic and softplus are in scalar.hpp, and for a variable in variable.hpp.
//@{
/// As of the value, with the slope of the function.
template <differentiated S> GUILD_HOST_DEVICE S exp2(S a) {
    const auto y = exp2(a.v);
    return with_slope(y, a, slope::exp(detail::wide(a, a.v), detail::wide(a, y), detail::wide(a, 0.6931471805599453)));  // ln 2
}
template <differentiated S> GUILD_HOST_DEVICE S expm1(S a) {
    return with_slope(expm1(a.v), a, slope::exp(detail::wide(a, a.v), detail::wide(a, exp(a.v)), detail::wide(a, 1)));
}
template <differentiated S> GUILD_HOST_DEVICE S log2(S a) {
    const auto y = log2(a.v);
    return with_slope(y, a, slope::log(detail::wide(a, a.v), detail::wide(a, y), detail::wide(a, 1.4426950408889634)));  // 1 / ln 2
}
template <differentiated S> GUILD_HOST_DEVICE S log10(S a) {
    const auto y = log10(a.v);
    return with_slope(y, a, slope::log(detail::wide(a, a.v), detail::wide(a, y), detail::wide(a, 0.4342944819032518)));  // 1 / ln 10
}
template <differentiated S> GUILD_HOST_DEVICE S cbrt(S a) {
    const auto y = cbrt(a.v);
    const auto w = detail::wide(a, y);
    return with_slope(y, a, slope::over(detail::wide(a, 1), detail::wide(a, 3) * w * w));
}
template <differentiated S> GUILD_HOST_DEVICE S erfc(S a) { return with_slope(erfc(a.v), a, slope::erf(a.v, a.v, detail::like(a.v, -1))); }
template <differentiated S> GUILD_HOST_DEVICE S sin(S a) { return with_slope(sin(a.v), a, cos(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S cos(S a) { return with_slope(cos(a.v), a, -sin(a.v)); }
template <differentiated S> GUILD_HOST_DEVICE S tan(S a) {
    const auto y = tan(a.v);
    return with_slope(y, a, detail::like(y, 1) + y * y);
}
template <differentiated S> GUILD_HOST_DEVICE S sinh(S a) { return with_slope(sinh(a.v), a, slope::detail::held(cosh(a.v))); }
template <differentiated S> GUILD_HOST_DEVICE S cosh(S a) { return with_slope(cosh(a.v), a, slope::detail::held(sinh(a.v))); }
template <differentiated S> GUILD_HOST_DEVICE S asin(S a) { return with_slope(asin(a.v), a, slope::over(detail::like(a.v, 1), detail::leg(a.v))); }
template <differentiated S> GUILD_HOST_DEVICE S acos(S a) { return with_slope(acos(a.v), a, slope::over(detail::like(a.v, -1), detail::leg(a.v))); }
template <differentiated S> GUILD_HOST_DEVICE S asinh(S a) {
    return with_slope(asinh(a.v), a, slope::over(detail::like(a.v, 1), hypot(detail::like(a.v, 1), a.v)));
}
template <differentiated S> GUILD_HOST_DEVICE S acosh(S a) {
    const auto one = detail::like(a.v, 1);
    return with_slope(acosh(a.v), a, slope::over(one, sqrt(a.v - one) * sqrt(a.v + one)));
}
template <differentiated S> GUILD_HOST_DEVICE S atanh(S a) {
    const auto one = detail::like(a.v, 1);
    return with_slope(atanh(a.v), a, slope::over(one, (one - a.v) * (one + a.v)));
}
template <differentiated S> GUILD_HOST_DEVICE S atan(S a) {
    const auto h = hypot(detail::like(a.v, 1), a.v);
    return with_slope(atan(a.v), a, detail::like(a.v, 1) / h / h);
}
//@}
/// a with the sign of b.
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto copysign(A a, B b) {
    const detail::either_t<A, B> x(a);
    return signbit(x) == signbit(detail::number(b)) ? x : -x;
}
/// max(a - b, 0)
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto fdim(A a, B b) {
    using S = detail::either_t<A, B>;
    return detail::less(b, a) ? S(a) - S(b) : S(0);
}
/// a - b trunc(a / b)
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto fmod(A a, B b) {
    const detail::either_t<A, B> x(a), y(b);
    const auto rest = fmod(x.v, y.v);
    return with_slope(rest, x, detail::like(x.v, 1), y, -trunc(x.v / y.v));
}
/// Slope 0 at (0, 0).
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto hypot(A a, B b) {
    const detail::either_t<A, B> x(a), y(b);
    const auto h = hypot(x.v, y.v);
    return with_slope(h, x, detail::share(x.v, h), y, detail::share(y.v, h));
}
/// The same.
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto atan2(A a, B b) {
    const detail::either_t<A, B> y(a), x(b);
    const auto h = hypot(x.v, y.v);
    return with_slope(atan2(y.v, x.v), y, detail::share(detail::share(x.v, h), h), x, -detail::share(detail::share(y.v, h), h));
}
/// a^b. By a, 0 at a pole, which is at a = 0; by b, a^b log a, 0 where a^b or a is.
template <class A, class B>
requires detail::one_differentiated<A, B> GUILD_HOST_DEVICE auto pow(A a, B b) {
    const detail::either_t<A, B> x(a), p(b);
    const auto y = pow(x.v, p.v);
    const auto wx = detail::wide(x, x.v), wp = detail::wide(p, p.v), wy = detail::wide(x, y), zero = detail::wide(x, 0);
    const auto by_p = [&] { return value(y) == 0 || value(x) == 0 ? zero : slope::held(wy * log(wx)); };
    if constexpr (detail::plain<A>) return with_slope(y, p, by_p());
    else {
        const auto by_x = value(p) == 0 || (value(x) == 0 && value(p) < 1) ? zero : slope::held(wp * pow(wx, wp - detail::wide(x, 1)));
        if constexpr (detail::plain<B>) return with_slope(y, x, by_x);
        else return with_slope(y, x, by_x, p, by_p());
    }
}

}  // namespace guild::inline v0

/// Limits of the numbers that decisions compare: infinity() and max() of a scalar are what a stage may expect.
template <class R> struct std::numeric_limits<guild::dual<R>> : std::numeric_limits<guild::real_t<R>> {};
