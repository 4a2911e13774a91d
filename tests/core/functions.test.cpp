#include <guild/core/random.hpp>
#include <guild/core/variable.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using guild::dual, guild::recording, guild::variable;

// One text, compiled for every scalar: what a stage may write.

namespace {
/// f(name, function, smooth from, to) for every function of one argument; the range is one in which its slope is bounded.
template <class F> void each_function(F f) {
    using guild::abs, guild::exp, guild::log, guild::sqrt, guild::sin, guild::cos, guild::tanh, guild::erf, guild::log1p, guild::expm1;
    f(
        "abs", [](auto x) { return abs(x); }, -3, 3);
    f(
        "fabs", [](auto x) { return guild::fabs(x); }, -3, 3);
    f(
        "exp", [](auto x) { return exp(x); }, -5, 5);
    f(
        "exp2", [](auto x) { return guild::exp2(x); }, -5, 5);
    f(
        "expm1", [](auto x) { return expm1(x); }, -5, 5);
    f(
        "log", [](auto x) { return log(x); }, 0.1, 9);
    f(
        "log2", [](auto x) { return guild::log2(x); }, 0.1, 9);
    f(
        "log10", [](auto x) { return guild::log10(x); }, 0.1, 9);
    f(
        "log1p", [](auto x) { return log1p(x); }, -0.9, 9);
    f(
        "sqrt", [](auto x) { return sqrt(x); }, 0.1, 9);
    f(
        "cbrt", [](auto x) { return guild::cbrt(x); }, 0.1, 9);
    f(
        "sin", [](auto x) { return sin(x); }, -9, 9);
    f(
        "cos", [](auto x) { return cos(x); }, -9, 9);
    f(
        "tan", [](auto x) { return guild::tan(x); }, -1.4, 1.4);
    f(
        "asin", [](auto x) { return guild::asin(x); }, -0.95, 0.95);
    f(
        "acos", [](auto x) { return guild::acos(x); }, -0.95, 0.95);
    f(
        "atan", [](auto x) { return guild::atan(x); }, -9, 9);
    f(
        "asinh", [](auto x) { return guild::asinh(x); }, -9, 9);
    f(
        "acosh", [](auto x) { return guild::acosh(x); }, 1.05, 9);
    f(
        "atanh", [](auto x) { return guild::atanh(x); }, -0.95, 0.95);
    f(
        "fmod", [](auto x) { return guild::fmod(x, 10.); }, 0.1, 9);
    f(
        "fdim", [](auto x) { return guild::fdim(x, 1.); }, 1.1, 9);
    f(
        "copysign", [](auto x) { return guild::copysign(x, -1.); }, 0.1, 9);
    f(
        "pow of a plain number", [](auto x) { return guild::pow(1.5, x); }, -5, 5);
    f(
        "sinh", [](auto x) { return guild::sinh(x); }, -5, 5);
    f(
        "cosh", [](auto x) { return guild::cosh(x); }, -5, 5);
    f(
        "tanh", [](auto x) { return tanh(x); }, -5, 5);
    f(
        "erf", [](auto x) { return erf(x); }, -3, 3);
    f(
        "erfc", [](auto x) { return guild::erfc(x); }, -3, 3);
    f(
        "logistic", [](auto x) { return guild::logistic(x); }, -9, 9);
    f(
        "softplus", [](auto x) { return guild::softplus(x); }, -9, 9);
    f(
        "floor", [](auto x) { return guild::floor(x); }, -3, 3);
    f(
        "ceil", [](auto x) { return guild::ceil(x); }, -3, 3);
    f(
        "trunc", [](auto x) { return guild::trunc(x); }, -3, 3);
    f(
        "round", [](auto x) { return guild::round(x); }, -3, 3);
    f(
        "pow(x, 2)", [](auto x) { return guild::pow(x, 2); }, -3, 3);
    f(
        "pow(x, 0)", [](auto x) { return guild::pow(x, 0); }, -3, 3);
    f(
        "pow(x, -1.5)", [](auto x) { return guild::pow(x, -1.5); }, 0.1, 3);
    f(
        "pow(2, x)", [](auto x) { return guild::pow(2, x); }, -3, 3);
    f(
        "max(x, 0.1)", [](auto x) { return (guild::max)(x, 0.1); }, -3, 3);
    f(
        "max(1, x)", [](auto x) { return (guild::max)(1, x); }, -3, 3);
    f(
        "min(x, 0.1f)", [](auto x) { return (guild::min)(x, 0.1f); }, -3, 3);
    f(
        "clamp", [](auto x) { return guild::clamp(x, -1, 0.5); }, -3, 3);
    f(
        "fmax", [](auto x) { return guild::fmax(x, 0); }, -3, 3);
    f(
        "fmin", [](auto x) { return guild::fmin(0.5, x); }, -3, 3);
    f(
        "hypot", [](auto x) { return guild::hypot(x, 2); }, -3, 3);
    f(
        "atan2", [](auto x) { return guild::atan2(x, 2); }, -3, 3);
    f(
        "atan2(-2, x)", [](auto x) { return guild::atan2(-2, x); }, -3, 3);
    f(
        "+ - * /", [](auto x) { return -((2 - x) * 3 + x / 4.f - 0.5 / x + (+x) * x - x * 0.3); }, 0.1, 9);
    f(
        "assignments",
        [](auto x) {
            auto y = x;
            y += 2;
            y *= x;
            y -= 0.5f;
            y /= 3;
            y += x;
            y -= x * x;
            y *= 0.75f;
            return y;
        },
        -3, 3);
    f(
        "a branch", [](auto x) { return x < 0.1 ? 0 * x : x * x; }, -3, 3);
}
/// f(function) of two arguments.
template <class F> void each_of_two(F f) {
    f([](auto x, auto y) { return (guild::max)(x, y); });
    f([](auto x, auto y) { return (guild::min)(x, y); });
    f([](auto x, auto y) { return (std::max)(x, y); });
    f([](auto x, auto y) { return (std::min)(x, y); });
    f([](auto x, auto y) { return guild::fmax(x, y) * guild::fmin(x, y); });
    f([](auto x, auto y) { return guild::clamp(x, -y * y, y * y); });
    f([](auto x, auto y) { return guild::hypot(x, y) + guild::atan2(x, y); });
    f([](auto x, auto y) { return guild::pow(x * x + 1, y); });
    f([](auto x, auto y) { return (x + y) * (x - y) / (x * x + y * y); });
}

/// Value and slope.
template <class S> struct point { S v, d; };
template <class S> point<S> by_dual(auto f, S x) {
    const dual<S> y = f(dual<S>(x, S(1)));
    return {y.v, y.d};
}
template <class S> point<S> by_variable(auto f, S x) {
    guild::scratch memory;
    recording<S> notes(memory);
    const variable<S> at = notes.leaf(x), y = f(at);
    notes.gradients();
    notes.by(y) = 1;
    notes.sweep();
    return {y.v, y.at ? notes.gradient(at) : S(0)};
}
template <class S> constexpr S inf = std::numeric_limits<S>::infinity();
bool near(double a, double b, double tolerance) { return a == b || std::abs(a - b) <= tolerance * (1 + std::abs(b)); }
}  // namespace

TEST_CASE_TEMPLATE("functions: dual and variable have the value of the plain scalar and the same slope", S, float, double) {
    constexpr double epsilon = std::numeric_limits<S>::epsilon();
    each_function([&](const char* name, auto f, double from, double to) {
        CAPTURE(std::string(name));
        for (int i = 0; i < 30; ++i) {
            const S x = static_cast<S>(from + (to - from) * guild::uniform(1, 0, 0, i));
            CAPTURE(x);
            const point<S> d = by_dual(f, x), v = by_variable(f, x);
            const double plain = static_cast<double>(f(x)), h = 1e-5, exact = static_cast<double>(x);
            CHECK(near(d.v, plain, 4 * epsilon));  // a plain float * double is computed in double
            CHECK(near(v.v, plain, 4 * epsilon));
            CHECK(near(v.d, d.d, 40 * epsilon));
            const double slope = (f(exact + h) - f(exact - h)) / (2 * h), other = (f(exact + h / 2) - f(exact - h / 2)) / h;
            if (near(slope, other, 1e-6)) CHECK(near(d.d, slope, std::is_same_v<S, float> ? 1e-4 : 1e-7));  // no kink between
        }
    });
}
TEST_CASE("functions of two arguments: the slope by each") {
    each_of_two([](auto f) {
        for (int i = 0; i < 30; ++i) {
            const double x = guild::normal(2, 0, 0, i), y = guild::normal(2, 1, 0, i);
            using D = dual<double>;
            const D along_x = f(D(x, 1), D(y)), along_y = f(D(x), D(y, 1));
            guild::scratch memory;
            recording<double> notes(memory);
            const auto a = notes.leaf(x), b = notes.leaf(y), c = f(a, b);
            notes.gradients();
            notes.by(c) = 1;
            notes.sweep();
            CHECK(near(along_x.v, f(x, y), 1e-14));
            CHECK(near(c.v, f(x, y), 1e-14));
            CHECK(near(notes.by(a), along_x.d, 1e-14));
            CHECK(near(notes.by(b), along_y.d, 1e-14));
            const double h = 1e-6;
            CHECK(near(along_x.d, (f(x + h, y) - f(x - h, y)) / (2 * h), 1e-6));
            CHECK(near(along_y.d, (f(x, y + h) - f(x, y - h)) / (2 * h), 1e-6));
        }
    });
}
TEST_CASE_TEMPLATE("functions: comparisons act on values, with the same scalar and with real numbers", S, float, double, dual<float>, dual<double>,
                   variable<float>, variable<double>) {
    guild::scratch memory;
    recording<guild::real_t<S>> notes(memory);
    using R = guild::real_t<S>;
    const auto is = [](auto a, auto b, auto x, auto y) {
        CHECK((a < b) == (x < y));
        CHECK((a > b) == (x > y));
        CHECK((a <= b) == (x <= y));
        CHECK((a >= b) == (x >= y));
        CHECK((a == b) == (x == y));
        CHECK((a != b) == (x != y));
    };
    const R nan = std::numeric_limits<R>::quiet_NaN();
    for (const R x : {R(0.1), R(1), R(-1), R(0), nan, inf<R>})
        for (const R y : {R(0.1), R(1), R(-1), R(0), nan, -inf<R>}) {
            is(S(x), S(y), x, y);
            is(S(x), y, x, y);
            is(x, S(y), x, y);
            for (const double d : {0.1, 1.0}) is(S(x), d, static_cast<double>(x), d), is(d, S(x), d, static_cast<double>(x));  // 0.1f is above 0.1
            if constexpr (guild::differentiated<S>) is(S(x), 1, x, R(1)), is(-1, S(x), R(-1), x);
        }
    CHECK(guild::isnan(S(nan)));
    CHECK(guild::isinf(S(-inf<R>)));
    CHECK(guild::isfinite(S(R(1))));
    CHECK(!guild::isfinite(S(nan)));
    CHECK(guild::value(guild::fmax(S(nan), S(R(1)))) == 1);
    CHECK(guild::value(guild::fmin(S(R(1)), S(nan))) == 1);
    CHECK(guild::value(S(-std::numeric_limits<S>::infinity())) == -inf<R>);
    CHECK(guild::value(S(std::numeric_limits<S>::max())) == std::numeric_limits<R>::max());
}
TEST_CASE("functions: at a kink the first of equal arguments counts, and a step or abs has slope 0") {
    using D = dual<double>;
    for (const bool first : {true, false}) {
        const D x(2, first), y(2, !first);
        for (const D z : {(guild::max)(x, y), (guild::min)(x, y), (std::max)(x, y), (std::min)(x, y), guild::clamp(x, y, 3), guild::clamp(x, 1, y)})
            CHECK(z.d == first);
        guild::scratch memory;
        recording<double> notes(memory);
        const auto a = notes.leaf(2), b = notes.leaf(2);
        for (const auto z :
             {(guild::max)(a, b), (guild::min)(a, b), (std::max)(a, b), (std::min)(a, b), guild::clamp(a, b, 3), guild::clamp(a, 1, b)})
            CHECK(z.at == a.at);
    }
    for (const double zero : {0., -0.}) {
        CHECK(by_dual([](auto x) { return guild::abs(x); }, zero).d == 0);
        CHECK(by_variable([](auto x) { return guild::abs(x); }, zero).d == 0);
        CHECK(by_dual([](auto x) { return guild::hypot(x, x); }, zero).d == 0);
        CHECK(by_variable([](auto x) { return guild::hypot(x, x); }, zero).d == 0);
    }
    for (const double step : {1., -2.}) CHECK(by_dual([](auto x) { return guild::floor(x) + guild::ceil(x) + guild::round(x); }, step).d == 0);
}
TEST_CASE_TEMPLATE("functions: where the value is finite so is the slope, over the whole range, in expressions that saturate too", S, float, double) {
    const auto check = [](const char* name, auto f) {
        CAPTURE(std::string(name));
        constexpr int most = std::numeric_limits<S>::max_exponent / 3;  // beyond, slopes themselves are larger than numbers
        for (int e = -most; e <= most; ++e)
            for (const double sign : {1., -1.}) {
                const S x = static_cast<S>(sign * std::ldexp(1.25, e));
                if (!std::isfinite(by_dual(f, x).v)) continue;
                CAPTURE(x);
                const point<S> d = by_dual(f, x), v = by_variable(f, x);
                CHECK(std::isfinite(d.d));
                CHECK(std::isfinite(v.d));
                CHECK(near(static_cast<double>(v.d), static_cast<double>(d.d), 1e-5));
            }
    };
    each_function([&](const char* name, auto f, double, double) { check(name, f); });
    check("1 / (1 + exp(-x))", [](auto x) { return 1 / (1 + guild::exp(-x)); });
    check("2 / exp(x)", [](auto x) { return 2 / guild::exp((guild::max)(x, -350)); });  // of double, 2 / b^2 must be a number too
    check("sqrt(exp(x))", [](auto x) { return guild::sqrt(guild::exp(x)); });
    check("exp(-x * x)", [](auto x) { return guild::exp(-x * x); });
    check("x / (1 + abs(x))", [](auto x) { return x / (1 + guild::abs(x)); });
    check("tanh(sinh(x))", [](auto x) { return guild::tanh(guild::sinh(x)); });
    check("log1p(exp(-abs(x)))", [](auto x) { return guild::log1p(guild::exp(-guild::abs(x))); });
}

TEST_CASE_TEMPLATE("functions: at a pole of its slope a function has slope 0, and what does not move has no part in one", S, float, double) {
    const auto at = [](S x, auto f) {
        CAPTURE(x);
        CHECK(by_dual(f, x).d == 0);
        CHECK(by_variable(f, x).d == 0);
    };
    at(0, [](auto x) { return guild::cbrt(x); });
    at(0, [](auto x) { return guild::pow(x, 0.5); });
    at(-1, [](auto x) { return guild::pow((guild::max)(x, 0), 0.5); });
    at(0, [](auto x) { return guild::pow(0., x + 1); });
    at(0, [](auto x) { return guild::pow(x, x - x); });
    at(1, [](auto x) { return guild::asin(x); });
    at(-1, [](auto x) { return guild::acos(x); });
    at(2, [](auto x) { return guild::asin((guild::min)(x, 1)); });
    at(1, [](auto x) { return guild::acosh(x); });
    at(2, [](auto x) { return guild::pow(-1 + 0 * x, 3 + 0 * x); });
    at(2, [](auto x) { return guild::cbrt(0 * x); });
}
