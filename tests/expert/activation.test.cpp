#include <guild/core/random.hpp>
#include <guild/expert/activation.hpp>
#include <guild/expert/shared.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

using namespace guild;

namespace {
using D = dual<double>;
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.)); }
double normal_share(double x) { return std::erfc(-x / std::sqrt(2.)) / 2; }

/// The values and slopes of x -> f(x), from their formulas.
struct curve {
    double (*value)(double), (*slope)(double);
};
constexpr curve of_silu{[](double x) { return x * sigmoid_of(x); }, [](double x) { return sigmoid_of(x) * (1 + x * (1 - sigmoid_of(x))); }};
constexpr curve of_relu{[](double x) { return x > 0 ? x : 0; }, [](double x) { return x > 0 ? 1. : 0.; }};
constexpr curve of_square{[](double x) { return x > 0 ? x * x : 0; }, [](double x) { return x > 0 ? 2 * x : 0; }};
constexpr curve of_gelu{[](double x) { return x * normal_share(x); }, [](double x) { return normal_share(x) + x * normal_density(x); }};
constexpr double inner = 0.7978845608028654, cube = 0.044715;
constexpr curve of_gelu_tanh{[](double x) { return x / 2 * (1 + std::tanh(inner * (x + cube * x * x * x))); },
                             [](double x) {
                                 const double t = std::tanh(inner * (x + cube * x * x * x));
                                 return (1 + t) / 2 + x / 2 * (1 - t * t) * inner * (1 + 3 * cube * x * x);
                             }};
const std::vector<double> points{-30, -5, -2.5, -1, -0.3, -1e-3, 1e-3, 0.2, 0.9, 1.7, 3, 8, 40};

void near(double found, double expected, double by) { CHECK(std::abs(found - expected) <= by * (1 + std::abs(expected))); }

/// act(u) is f(u).
template <class Act> void plain(const Act& act, const curve& f) {
    static_assert(Act::inputs == 1);
    for (const double u : points) {
        CAPTURE(u);
        near(act(u), f.value(u), 1e-15);
        near(static_cast<double>(act(static_cast<float>(u))), f.value(u), 2e-6);
        near(act(D(u, 2)).v, f.value(u), 1e-15);
        near(act(D(u, 2)).d, 2 * f.slope(u), 1e-14);
    }
    CHECK(act(0.) == 0);
    CHECK(act(D(0, 1)).d == doctest::Approx(f.slope(0)));
    CHECK(std::isnan(act(std::numeric_limits<float>::quiet_NaN())));
    CHECK(std::isnan(act(D(std::numeric_limits<double>::quiet_NaN(), 1)).d));
}
/// act(g, u) is f(g) u.
template <class Act> void gated(const Act& act, const curve& f) {
    static_assert(Act::inputs == 2);
    for (const double g : points)
        for (const double u : {-2., 0.5}) {
            near(act(g, u), f.value(g) * u, 1e-15);
            near(static_cast<double>(act(static_cast<float>(g), static_cast<float>(u))), f.value(g) * u, 2e-6);
            near(act(D(g, 1), D(u)).d, f.slope(g) * u, 1e-14);
            near(act(D(g), D(u, 1)).d, f.value(g), 1e-14);
        }
    CHECK(std::isnan(act(std::numeric_limits<float>::quiet_NaN(), 1.f)));
    CHECK(std::isnan(act(1.f, std::numeric_limits<float>::quiet_NaN())));
    const double nan = std::numeric_limits<double>::quiet_NaN();  // of a token with a NaN both are
    CHECK((std::isnan(act(D(nan, 1), D(nan)).d) && std::isnan(act(D(nan), D(nan, 1)).d)));
}
}  // namespace

TEST_CASE("activation: values and derivatives") {
    plain(silu{}, of_silu);
    plain(relu{}, of_relu);
    plain(relu_squared{}, of_square);
    plain(gelu{}, of_gelu);
    plain(gelu_tanh{}, of_gelu_tanh);
    gated(swiglu{}, of_silu);
    gated(reglu{}, of_relu);
    gated(geglu{}, of_gelu);
    gated(geglu_tanh{}, of_gelu_tanh);
}
TEST_CASE("activation: known numbers") {
    CHECK(silu{}(1.) == doctest::Approx(0.7310585786300049));
    CHECK(gelu{}(1.) == doctest::Approx(0.8413447460685429));
    CHECK(gelu_tanh{}(1.) == doctest::Approx(0.8411919906082768));
    CHECK(gelu{}(-1.) == doctest::Approx(-0.15865525393145707));
    CHECK(swiglu{}(1., 3.) == doctest::Approx(3 * 0.7310585786300049));
    CHECK(relu_squared{}(-3.f) == 0);
    CHECK(relu{}(D(0, 1)).d == 0);
}
TEST_CASE("shared: how the shared experts enter") {
    CHECK(plain_shared{}.factor(7.f) == 1);
    CHECK(plain_shared{}.factor(D(7, 1)).d == 0);
    CHECK(!plain_shared::learned);
    CHECK(gated_shared{}.factor(0.5) == doctest::Approx(sigmoid_of(0.5)));
    CHECK(gated_shared{}.factor(D(0.5, 1)).d == doctest::Approx(sigmoid_of(0.5) * (1 - sigmoid_of(0.5))));
    CHECK(gated_shared::learned);
}
