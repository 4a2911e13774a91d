#include <guild/core/random.hpp>
#include <guild/core/scalar.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using guild::dual;

namespace {
using D = dual<double>;

/// f along x has this value and slope.
void check(D found, double value, double slope) {
    CHECK(found.v == doctest::Approx(value).epsilon(1e-15));
    CHECK(found.d == doctest::Approx(slope).epsilon(1e-14));
}
}  // namespace

TEST_CASE("dual: the derivative of every operation") {
    for (int i = 0; i < 20; ++i) {
        const double x = guild::normal(1, 0, 0, i), y = guild::normal(1, 1, 0, i), p = std::abs(x) + 0.1, dx = 1.5, dy = -0.5;
        const D a(x, dx), b(y, dy), q(p, dx);
        check(a + b, x + y, dx + dy);
        check(a - b, x - y, dx - dy);
        check(-a, -x, -dx);
        check(a * b, x * y, dx * y + x * dy);
        check(a / b, x / y, (dx * y - x * dy) / (y * y));
        check(exp(a), std::exp(x), dx * std::exp(x));
        check(log(q), std::log(p), dx / p);
        check(log1p(q), std::log1p(p), dx / (1 + p));
        check(sqrt(q), std::sqrt(p), dx / (2 * std::sqrt(p)));
        check(tanh(a), std::tanh(x), dx / (std::cosh(x) * std::cosh(x)));
        check(erf(a), std::erf(x), dx * 2 / std::sqrt(std::acos(-1.)) * std::exp(-x * x));
        check(a + 2, x + 2, dx);
        check(3 / q, 3 / p, -3 * dx / (p * p));
        check(2 * a - 1, 2 * x - 1, 2 * dx);
        D c = a;
        c += b, c *= a, c -= q, c /= q;
        check(c, ((x + y) * x - p) / p, ((dx + dy) * x + (x + y) * dx) / p - (x + y) * x / (p * p) * dx);

        const double s = 1 / (1 + std::exp(-x));
        check(guild::logistic(a), s, dx * s * (1 - s));
        check(guild::softplus(a), std::log1p(std::exp(x)), dx * s);
    }
}
TEST_CASE("dual: second derivatives by nesting, decisions by value") {
    const dual<D> x(D(0.3, 1), D(1, 0));
    const auto y = exp(x * x);  // y'' = (2 + 4 x^2) y
    CHECK(y.d.d == doctest::Approx((2 + 4 * 0.09) * std::exp(0.09)));
    CHECK(guild::value(y) == std::exp(0.09));
    static_assert(std::is_same_v<guild::real_t<dual<D>>, double> && std::is_same_v<guild::real_t<float>, float>);
    CHECK(guild::value(D(2, 7)) == 2);
}
TEST_CASE_TEMPLATE("logistic and softplus hold for every size of x", S, float, double) {
    constexpr S inf = std::numeric_limits<S>::infinity();
    CHECK(guild::logistic(S(0)) == S(0.5));
    CHECK(guild::logistic(inf) == 1);
    CHECK(guild::logistic(-inf) == 0);
    CHECK(guild::logistic(S(-800)) == 0);
    CHECK(guild::softplus(inf) == inf);
    CHECK(guild::softplus(-inf) == 0);
    CHECK(guild::softplus(S(0)) == doctest::Approx(std::log(2.)));
    CHECK(guild::softplus(S(1e6)) == S(1e6));
    CHECK(guild::softplus(S(-20)) * std::exp(20.) == doctest::Approx(1).epsilon(1e-6));
    CHECK(std::isnan(guild::softplus(inf - inf)));
    CHECK(std::isnan(guild::logistic(inf - inf)));
}
