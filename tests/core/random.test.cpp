#include <guild/core/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

using namespace guild;

namespace {
/// Mean of f over n draws.
template <class F> double mean(long n, F f) {
    double sum = 0;
    for (long i = 0; i < n; ++i) sum += f(i);
    return sum / static_cast<double>(n);
}
constexpr long many = 200'000;
}  // namespace

TEST_CASE("uniform: in [0, 1), evenly") {
    bool inside = true;
    std::vector<long> cell(64);
    for (long i = 0; i < many; ++i) {
        const double u = uniform(1, 2, 3, i);
        inside &= u >= 0 && u < 1;
        ++cell[static_cast<std::size_t>(u * 64)];
    }
    CHECK(inside);
    double chi_square = 0;  // 63 degrees of freedom: mean 63, standard deviation 11
    for (const long c : cell) chi_square += static_cast<double>((c - many / 64) * (c - many / 64)) / (many / 64);
    CHECK(chi_square < 120);
    CHECK(mean(many, [](long i) { return uniform(7, 0, i, 0); }) == doctest::Approx(0.5).epsilon(0.005));
}
TEST_CASE("normal: its first four moments") {
    const auto moment = [](int p) { return mean(many, [p](long i) { return std::pow(normal(1, 2, i, 5), p); }); };
    CHECK(std::abs(moment(1)) < 0.01);
    CHECK(std::abs(moment(2) - 1) < 0.015);
    CHECK(std::abs(moment(3)) < 0.04);
    CHECK(std::abs(moment(4) - 3) < 0.1);
    bool finite = true;
    for (long i = 0; i < many; ++i) finite &= std::isfinite(normal(3, 1, 0, i));
    CHECK(finite);
}
TEST_CASE("uniform: every coordinate counts, none is like another") {
    std::set<double> seen;  // small coordinates, where a weak mix would meet itself
    for (unsigned long long seed = 0; seed < 8; ++seed)
        for (int stream = -1; stream < 7; ++stream)
            for (long position = -1; position < 7; ++position)
                for (long i = 0; i < 8; ++i) seen.insert(uniform(seed, stream, position, i));
    CHECK(seen.size() == 8 * 8 * 8 * 8);

    const auto correlation = [](auto a, auto b) { return 12 * mean(many, [&](long i) { return (a(i) - 0.5) * (b(i) - 0.5); }); };
    const auto base = [](long i) { return uniform(1, 1, i, 0); };
    CHECK(std::abs(correlation(base, [](long i) { return uniform(1, 1, i + 1, 0); })) < 0.01);
    CHECK(std::abs(correlation(base, [](long i) { return uniform(1, 1, i, 1); })) < 0.01);
    CHECK(std::abs(correlation(base, [](long i) { return uniform(1, 2, i, 0); })) < 0.01);
    CHECK(std::abs(correlation(base, [](long i) { return uniform(2, 1, i, 0); })) < 0.01);
}
TEST_CASE("random: a draw is a function of its coordinates, the same in every version") {
    CHECK(uniform(0, 0, 0, 0) == 0x1.e35514128727cp-1);
    CHECK(uniform(1, 2, 3, 4) == 0x1.9ddcf2c2cd34p-5);
    CHECK(uniform(~0ull, -1, -1, 1L << 40) == 0x1.a2f5cea957884p-2);
    static_assert(uniform(1, 2, 3, 4) == 0x1.9ddcf2c2cd34p-5);
    CHECK(normal(1, 2, 3, 4) == doctest::Approx(-0.38974577207516464).epsilon(1e-14));
}
