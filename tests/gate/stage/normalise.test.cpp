#include <guild/gate/adjoint.hpp>
#include <guild/gate/stage/normalise.hpp>
#include <guild/gate/stage/select.hpp>
#include <guild/gate/stage/weigh.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;

template <class Map> struct mapped_gate {
    Map map{};
    constexpr auto stages() const { return pipeline{top_k{}, weigh<Map>{map}}; }
};
/// The same without its adjoint, so that one is derived by dual numbers.
template <class Map> struct bare {
    Map map{};
    void forward(auto v) const { map.forward(v); }
};
template <class Map> struct bare_stage {
    bare<Map> map{};
    void forward(const auto&, auto& r) const { map.forward(slots_of{r}); }
};
template <class Map> struct derived_gate {
    Map map{};
    constexpr auto stages() const { return pipeline{top_k{}, bare_stage<Map>{{map}}}; }
};
/// f(list) is what the map makes of a list; its adjoint is what dual numbers say.
template <class Map> void means(auto draw, auto f) {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 9), K = d.number(1, 1, E);
        numbers logit = d.normals(2, 4L * E);
        const Map map = draw(d, logit);
        test::gate_run<mapped_gate<Map>> run({map}, E, K, logit, {});
        test::gate_run<derived_gate<Map>> derived({map}, E, K, logit, {});
        const numbers g = d.normals(3, 4L * K), slope = run.gradient(g), expected = derived.gradient(g);
        for (long t = 0; t < 4; ++t) {
            numbers in;
            for (int k = 0; k < K; ++k) in.push_back(run.number(t, run.expert(t, k)));
            const numbers out = f(map, in);
            for (int k = 0; k < K; ++k)
                CHECK(std::abs(run.weight(t, k) - out[static_cast<std::size_t>(k)]) <= 1e-13 * (1 + std::abs(out[static_cast<std::size_t>(k)])));
        }
        for (std::size_t i = 0; i < slope.size(); ++i) CHECK(std::abs(slope[i] - expected[i]) <= 1e-12 * (1 + std::abs(expected[i])));
    }
}
}  // namespace

TEST_CASE("unit_max: over the sum, or over the floor where that is larger") {
    long held = 0, free = 0;
    means<unit_max>(
        [](const test::dice& d, numbers& v) {
            for (double& z : v) z = std::exp(z);
            return unit_max{d.chance(5, 0.5) ? 0 : 4 * d.uniform(6, 0)};
        },
        [&](unit_max map, numbers v) {
            double sum = 0;
            for (const double z : v) sum += z;
            ++(sum < map.floor ? held : free);
            for (double& z : v) z /= std::max(sum, map.floor);
            return v;
        });
    CHECK(held > 50);
    CHECK(free > 50);
}
TEST_CASE("unit_norm: over the p-norm, of either sign") {
    means<unit_norm>([](const test::dice& d, numbers&) { return unit_norm{d.chance(5, 0.3)   ? 1
                                                                          : d.chance(5, 0.6) ? 2
                                                                                             : 1 + 3 * d.uniform(6, 0)}; },
                     [](unit_norm map, numbers v) {
                         double sum = 0;
                         for (const double z : v) sum += std::pow(std::abs(z), map.p);
                         for (double& z : v) z /= std::pow(sum, 1 / map.p);
                         return v;
                     });
}
TEST_CASE("unit_max, unit_norm: nothing to share gives 0 and no gradient") {
    const numbers g{1, -2}, none(2);
    test::gate_run<mapped_gate<unit_max>> a({}, 2, 2, {0, 0}, {});
    test::gate_run<mapped_gate<unit_norm>> b({}, 2, 2, {0, 0}, {}), c({{2}}, 2, 2, {0, 0}, {});
    for (auto* run : {&b, &c}) {
        CHECK((run->weight(0, 0) == 0 && run->weight(0, 1) == 0));
        CHECK(run->gradient(g) == none);
    }
    CHECK((a.weight(0, 0) == 0 && a.weight(0, 1) == 0));
    CHECK(a.gradient(g) == none);
    // a zero among others: no slope of |v| there but for p = 1, where it counts as positive
    test::gate_run<mapped_gate<unit_norm>> zero({{2}}, 2, 2, {3, 0}, {});
    CHECK(zero.weight(0, 0) == doctest::Approx(1).epsilon(1e-15));
    CHECK(zero.gradient(g)[0] == doctest::Approx(0));
    CHECK(zero.gradient(g)[1] == doctest::Approx(-2. / 3));
}
