#include <guild/core/exp.hpp>
#include <guild/core/scalar.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {
constexpr float inf = std::numeric_limits<float>::infinity(), no_number = std::numeric_limits<float>::quiet_NaN();

/// In units of the last place of the true value.
double error(float x) {
    const double exact = std::exp(static_cast<double>(x));
    const float found = guild::exp(x);
    if (exact > static_cast<double>(std::numeric_limits<float>::max())) return found == inf ? 0 : 1e9;
    int exponent = 0;
    std::frexp(exact, &exponent);
    return std::abs(static_cast<double>(found) - exact) / std::ldexp(1., std::max(exponent - 24, -149));
}
/// Every 509th float, a prime: all exponents, both signs, changing mantissas.
template <class F> void each_float(F f) {
    for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 509) f(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
}
}  // namespace

TEST_CASE("exp: 1.01 units in the last place for every float") {
    double worst = 0;
    float at = 0;
    each_float([&](float x) {
        if (!(x > -104 && x < 88.73f)) return;
        if (const double e = error(x); e > worst) worst = e, at = x;
    });
    CAPTURE(at);
    CHECK(worst <= 1.01);
    for (float x = -103.9f; x < -87; x += 0.001f) worst = std::max(worst, error(x));  // where results are denormal
    CHECK(worst <= 1.01);
}
TEST_CASE("exp: exact where it must be") {
    CHECK(guild::exp(0.f) == 1);
    CHECK(guild::exp(-0.f) == 1);
    CHECK(guild::exp(inf) == inf);
    CHECK(guild::exp(-inf) == 0);
    CHECK(std::isnan(guild::exp(no_number)));
    CHECK(std::isnan(guild::exp(-no_number)));
    CHECK(guild::exp(std::numeric_limits<float>::denorm_min()) == 1);
    CHECK(guild::exp(-std::numeric_limits<float>::denorm_min()) == 1);
    CHECK(guild::exp(std::numeric_limits<float>::min()) == 1);
    CHECK(guild::exp(88.7228f) < inf);
    CHECK(guild::exp(88.73f) == inf);
    CHECK(guild::exp(std::numeric_limits<float>::max()) == inf);
    CHECK(guild::exp(-103.98f) == 0);
    CHECK(guild::exp(-103.f) == std::numeric_limits<float>::denorm_min());
    CHECK(guild::exp(std::numeric_limits<float>::lowest()) == 0);
    bool never_negative = true;
    each_float([&](float x) { never_negative &= !(guild::exp(x) < 0) && (std::isnan(x) || !std::isnan(guild::exp(x))); });
    CHECK(never_negative);
}
TEST_CASE("exp: a loop gives the bits of single calls") {
    std::vector<float> x, y;
    each_float([&](float v) { x.push_back(v); });
    y.resize(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = guild::exp(x[i]);
    float (*volatile single)(float) = [](float v) { return guild::exp(v); };  // never inlined
    long different = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        different += std::bit_cast<std::uint32_t>(single(x[i])) != std::bit_cast<std::uint32_t>(y[i]) && y[i] == y[i];
    CHECK(different == 0);
}
