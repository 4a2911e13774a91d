#include <guild/core/scalar.hpp>

#include <doctest/doctest.h>
#include <support/magnitudes.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

using guild::dual;

namespace {
using wide = long double;

/// Where f(x) is finite its derivative is, and is `slope`, within `by` of it and of what the rounding of values of size `size` leaves.
template <class S> void follows(const std::string& name, auto f, wide (*slope)(wide)) {
    CAPTURE(name);
    const auto at = [&](S x) {
        const S y = f(x);
        if (!guild::is_finite(y)) return;
        const dual<S> found = f(dual<S>(x, S(1)));
        constexpr wide most = std::numeric_limits<S>::max(), by = 32 * std::numeric_limits<S>::epsilon();
        const wide exact = std::clamp(slope(x), -most, most);
        CAPTURE(x);
        CAPTURE(found.d);
        CAPTURE(static_cast<double>(exact));
        const wide size = 1 + std::abs(exact) * (std::abs(x) < 1000 ? std::max<wide>(1, std::abs(x)) : 1);  // exponents lose |x| roundings
        const bool same = std::abs(found.v - y) <= 2 * std::numeric_limits<S>::epsilon() * std::abs(y);     // a compiler may contract x * x + 1
        CHECK((guild::is_finite(found.d) && same && std::abs(found.d - exact) <= by * size));
    };
    test::each_magnitude<S>(at);
    test::each_step<S>(std::is_same_v<S, float> ? 120 : 760, 997, at);
}
wide share(wide x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
wide share_slope(wide x) { return share(x) * share(-x); }
constexpr wide tip = 1.1283791670955125738961589031215452L;
}  // namespace

TEST_CASE_TEMPLATE("saturation: the functions, over the whole range", S, float, double) {
    using guild::exp;
    using std::log, std::log1p, std::sqrt, std::tanh, std::erf;
    follows<S>(
        "exp", [](auto x) { return exp(x); }, [](wide x) { return std::exp(x); });
    follows<S>(
        "log", [](auto x) { return log(x); }, [](wide x) { return 1 / x; });
    follows<S>(
        "log1p", [](auto x) { return log1p(x); }, [](wide x) { return 1 / (1 + x); });
    follows<S>(
        "sqrt", [](auto x) { return sqrt(x); }, [](wide x) { return x == 0 ? 0 : 1 / (2 * std::sqrt(x)); });
    follows<S>(
        "tanh", [](auto x) { return tanh(x); }, [](wide x) { return 1 / (std::cosh(x) * std::cosh(x)); });
    follows<S>(
        "erf", [](auto x) { return erf(x); }, [](wide x) { return tip * std::exp(-x * x); });
    follows<S>(
        "logistic", [](auto x) { return guild::logistic(x); }, share_slope);
    follows<S>(
        "softplus", [](auto x) { return guild::softplus(x); }, share);
}
TEST_CASE_TEMPLATE("saturation: what is written in them, where something inside overflows", S, float, double) {
    using guild::exp;
    using std::log, std::log1p, std::sqrt, std::tanh, std::erf;
    follows<S>(
        "1 / (1 + e^-x)", [](auto x) { return 1 / (1 + exp(-x)); }, share_slope);
    follows<S>(
        "1 / (1 + e^-2x)", [](auto x) { return 1 / (1 + exp(-2 * x)); }, [](wide x) { return 2 * share_slope(2 * x); });
    follows<S>(
        "x / (1 + e^-x)", [](auto x) { return x / (1 + exp(-x)); }, [](wide x) { return share(x) + x * share_slope(x); });
    follows<S>(
        "1 / e^x", [](auto x) { return 1 / exp(x); }, [](wide x) { return -std::exp(-x); });
    follows<S>(
        "1 / x", [](auto x) { return 1 / x; }, [](wide x) { return -1 / x / x; });
    follows<S>(
        "1 / (1 + x^2)", [](auto x) { return 1 / (1 + x * x); }, [](wide x) { return -2 * x / (1 + x * x) / (1 + x * x); });
    follows<S>(
        "e^(-x^2)", [](auto x) { return exp(-x * x); }, [](wide x) { return -2 * x * std::exp(-x * x); });
    follows<S>(
        "tanh(x + x^3)", [](auto x) { return tanh(x + 3 * x * x * x); },
        [](wide x) { return std::abs(x) > 1000 ? 0 : (1 + 9 * x * x) / std::cosh(x + 3 * x * x * x) / std::cosh(x + 3 * x * x * x); });
    follows<S>(
        "erf(e^x)", [](auto x) { return erf(exp(x)); }, [](wide x) { return x > 100 ? 0 : tip * std::exp(x - std::exp(2 * x)); });
    follows<S>(
        "tanh(e^x)", [](auto x) { return tanh(exp(x)); },
        [](wide x) { return x > 100 ? 0 : std::exp(x) / std::cosh(std::exp(x)) / std::cosh(std::exp(x)); });
    follows<S>(
        "logistic(x^2)", [](auto x) { return guild::logistic(x * x); }, [](wide x) { return 2 * x * share_slope(x * x); });
    follows<S>(
        "softplus(-x^3)", [](auto x) { return guild::softplus(-x * x * x); }, [](wide x) { return -3 * x * x * share(-x * x * x); });
}
TEST_CASE_TEMPLATE("saturation: what does not move has derivative 0", S, float, double) {
    using std::sqrt;
    const dual<S> zero(0, 0), still(std::numeric_limits<S>::infinity(), 0);
    CHECK(sqrt(zero).d == 0);
    CHECK((sqrt(dual<S>(0, 1)) * dual<S>(0, 1)).d == 0);  // x sqrt(x)
    CHECK((1 / still).d == 0);
    CHECK(tanh(still).d == 0);
    CHECK(guild::logistic(still).d == 0);
    CHECK(std::isnan((dual<S>(1, 1) / dual<S>(std::numeric_limits<S>::quiet_NaN(), 1)).d));
    CHECK(std::isnan(guild::logistic(dual<S>(std::numeric_limits<S>::quiet_NaN(), 1)).d));
}
