#include <guild/gate/published/classic.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;

struct chosen_by_experts {
    double factor = 2;
    int rows = -1;
    constexpr auto stages() const { return pipeline{score{softmax{}}, expert_choice{factor, rows}}; }
};
double probability(const numbers& logit, long t, int E, int e) {
    double mass = 0;
    for (int i = 0; i < E; ++i) mass += std::exp(logit[static_cast<std::size_t>(t * E + i)]);
    return std::exp(logit[static_cast<std::size_t>(t * E + e)]) / mass;
}
}  // namespace

TEST_CASE("expert_choice: each expert takes its best tokens, weighed by their scores; equations 1 and 2") {
    long none = 0, all = 0;
    for (unsigned long long seed = 1; seed <= 500; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 8), rows = d.chance(6, 0.2) ? d.number(7, 0, 30) : -1;
        const long T = d.number(1, 0, 24);
        const double factor = d.chance(2, 0.1) ? 0 : 0.25 * d.number(3, 1, 12);
        numbers logit = d.normals(4, T * E);
        if (seed % 4 == 0)
            for (double& z : logit) z = std::round(z);  // ties
        bool pad[24];
        for (long t = 0; t < T; ++t) pad[t] = seed % 2 == 0 && d.chance(5, 0.25, t);
        test::gate_run<chosen_by_experts> run({factor, rows}, E, 1, logit, {.padding = {pad, static_cast<std::size_t>(T)}});
        REQUIRE(run.W == E);

        std::vector<long> real;
        for (long t = 0; t < T; ++t)
            if (!pad[t]) real.push_back(t);
        const double share = rows >= 0 ? rows : std::floor(static_cast<double>(real.size()) * factor / E);
        const std::size_t take = std::min(static_cast<std::size_t>(share), real.size());
        std::vector<bool> taken(static_cast<std::size_t>(T * E));
        for (int e = 0; e < E; ++e) {
            std::vector<long> order = real;
            std::stable_sort(order.begin(), order.end(), [&](long a, long b) { return run.result.score[a * E + e] > run.result.score[b * E + e]; });
            for (std::size_t i = 0; i < take; ++i) taken[static_cast<std::size_t>(order[i] * E + e)] = true;
            CHECK(run.count(e) == static_cast<long>(take));
        }
        const numbers g = d.normals(8, T * E), slope = run.gradient(g);
        for (long t = 0; t < T; ++t) {
            CAPTURE(t);
            double dot = 0;
            int count = 0;
            for (int e = 0; e < E; ++e) {
                const auto i = static_cast<std::size_t>(t * E + e);
                CHECK(run.expert(t, e) == (taken[i] ? e : no_expert));
                CHECK(std::abs(run.weight(t, e) - (taken[i] ? probability(logit, t, E, e) : 0)) <= 1e-14);
                dot += taken[i] ? g[i] * probability(logit, t, E, e) : 0;
                count += taken[i];
            }
            for (int e = 0; e < E; ++e) {
                const auto i = static_cast<std::size_t>(t * E + e);
                CHECK(std::abs(slope[i] - (pad[t] ? 0 : probability(logit, t, E, e) * ((taken[i] ? g[i] : 0) - dot))) <= 1e-13);
            }
            none += count == 0 && !pad[t];
            all += count == E && E > 1;
        }
    }
    CHECK(none > 100);
    CHECK(all > 100);
}
TEST_CASE("expert_choice: distinct tokens whatever the scores") {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity(), hard[] = {nan, inf, -inf, 0, 1e308};
    for (unsigned long long seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        numbers logit;
        for (long i = 0; i < 12 * 4; ++i) logit.push_back(hard[static_cast<int>(5 * d.uniform(0, i))]);
        test::gate_run<expert_choice_gate> run({}, 4, 1, logit, {});
        for (int e = 0; e < 4; ++e) CHECK(run.count(e) == 6);
    }
}
