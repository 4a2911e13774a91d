#include <guild/gate/published/classic.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <cmath>
#include <vector>

using namespace guild;

TEST_CASE("hierarchy: a softmax over groups times one inside each. Jordan & Jacobs 1994") {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int groups = d.number(0, 1, 4), size = d.number(1, 1, 5), E = groups * size;
        const test::gate_run<hierarchical_gate> run({.groups = groups}, E, E, d.normals(2, 5L * (E + groups), 3), {});
        REQUIRE(run.P == E + groups);
        for (long t = 0; t < 5; ++t) {
            double all = 0, of_groups = 0;
            for (int g = 0; g < groups; ++g) of_groups += std::exp(run.number(t, E + g));
            for (int e = 0; e < E; ++e) {
                double of_group = 0;
                for (int i = e / size * size; i < (e / size + 1) * size; ++i) of_group += std::exp(run.number(t, i));
                const double expected = std::exp(run.number(t, E + e / size)) / of_groups * std::exp(run.number(t, e)) / of_group;
                CHECK(run.expert(t, e) == e);
                CHECK(std::abs(run.weight(t, e) - expected) <= 1e-14);
                all += run.weight(t, e);
            }
            CHECK(std::abs(all - 1) <= 1e-14);
        }
    }
}
