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

/// The largest sum of scores over all assignments in which expert e gets room[e] of the tokens.
double best_of_all(const std::vector<numbers>& score, std::vector<long>& room, std::size_t t = 0) {
    if (t == score.size()) return 0;
    double best = -std::numeric_limits<double>::infinity();
    for (std::size_t e = 0; e < room.size(); ++e) {
        if (room[e] == 0) continue;
        --room[e];
        best = std::max(best, score[t][e] + best_of_all(score, room, t + 1));
        ++room[e];
    }
    return best;
}
struct gapped_gate {
    double gap = 1e-4;
    constexpr auto stages() const { return pipeline{top_k{}, balanced_assignment{gap}, weigh{sigmoid{}}}; }
};
/// Expert e has its share of the tokens that are not padding, one more for the first few; padding has none.
template <class Run> void balanced(const Run& run) {
    long n = 0;
    for (long t = 0; t < run.T; ++t) {
        n += !run.padded(t);
        if (run.padded(t)) CHECK(run.expert(t, 0) == no_expert);
        else CHECK((run.expert(t, 0) >= 0 && run.expert(t, 0) < run.E));
    }
    for (int e = 0; e < run.E; ++e) CHECK(run.count(e) == n / run.E + (e < n % run.E));
}
}  // namespace

TEST_CASE("balanced_assignment: as good as the best of all balanced assignments, within its gap") {
    long moved = 0;
    for (unsigned long long seed = 1; seed <= 500; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 4);
        const long T = d.number(1, 0, 8);
        const double gap = seed % 3 == 0 ? 1e-2 : seed % 3 == 1 ? 1e-4 : 1e-6, size = seed % 5 == 0 ? 1e30 : seed % 5 == 1 ? 1e-6 : 2;
        numbers logit = d.normals(2, T * E, size);
        if (seed % 4 == 0)
            for (double& z : logit) z = std::round(z / size) * size;  // ties
        if (seed % 7 == 0)
            for (long i = 0; i < T * E; ++i)
                logit[static_cast<std::size_t>(i)] = (i % E == 0) * size + logit[static_cast<std::size_t>(i)] / 10;  // all want expert 0
        bool pad[8];
        for (long t = 0; t < T; ++t) pad[t] = seed % 2 == 0 && d.chance(3, 0.25, t);
        test::gate_run<gapped_gate> run({gap}, E, 1, logit, {.padding = {pad, static_cast<std::size_t>(T)}, .training = true});
        balanced(run);

        std::vector<numbers> score;
        std::vector<long> room(static_cast<std::size_t>(E));
        double sum = 0, most = 0;
        for (long t = 0; t < T; ++t) {
            if (pad[t]) continue;
            score.emplace_back(logit.begin() + t * E, logit.begin() + (t + 1) * E);
            sum += run.number(t, run.expert(t, 0));
            for (const double z : score.back()) most = std::max(most, std::abs(z));
            moved += std::max_element(score.back().begin(), score.back().end()) - score.back().begin() != run.expert(t, 0);
        }
        const double n = static_cast<double>(score.size());
        for (int e = 0; e < E; ++e) room[static_cast<std::size_t>(e)] = run.count(e);
        const double best = best_of_all(score, room);
        CHECK(sum <= best + 1e-12 * n * most);
        CHECK(sum >= best - n * gap * most - 1e-12 * n * most);
    }
    CHECK(moved > 200);
}
TEST_CASE("balanced_assignment: ends, and stays balanced, whatever the scores") {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
    const double hard[] = {nan, inf, -inf, 1e30, -1e30, 1e300, -1e300, 0, 1, 5e-324};
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 6), kinds = d.number(4, 1, 10), first = d.number(5, 0, 10 - kinds);
        const long T = d.number(1, 0, 20);
        numbers logit;
        for (long i = 0; i < T * E; ++i) logit.push_back(hard[first + static_cast<int>(d.uniform(2, i) * kinds)]);
        bool pad[20];
        for (long t = 0; t < T; ++t) pad[t] = d.chance(3, 0.2, t);
        const batch side{.padding = {pad, static_cast<std::size_t>(T)}, .training = true};
        balanced(test::gate_run<base_gate>({}, E, 1, logit, side));
        balanced(test::gate_run<gapped_gate>({1e-6}, E, 1, logit, side));
        balanced(test::gate_run<base_gate, float>({}, E, 1, {logit.begin(), logit.end()}, side));
    }
}
TEST_CASE("balanced_assignment: in evaluation the best expert; the weight is the sigmoid, and its gradient alone remains") {
    for (unsigned long long seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 7);
        const long T = d.number(1, 0, 9);
        const numbers logit = d.normals(2, T * E, 2), g = d.normals(3, T);
        for (const bool training : {false, true}) {
            test::gate_run<base_gate> run({}, E, 1, logit, {.training = training});
            const numbers slope = run.gradient(g);
            for (long t = 0; t < T; ++t) {
                const auto row = logit.begin() + t * E;
                const int chosen = run.expert(t, 0);
                if (!training) CHECK(chosen == std::max_element(row, row + E) - row);
                const double a = 1 / (1 + std::exp(-row[chosen]));
                CHECK(std::abs(run.weight(t, 0) - a) <= 1e-14);
                for (int e = 0; e < E; ++e)
                    CHECK(std::abs(slope[static_cast<std::size_t>(t * E + e)] - (e == chosen) * g[static_cast<std::size_t>(t)] * a * (1 - a)) <=
                          1e-14);
            }
        }
    }
}
TEST_CASE("balanced_assignment: 512 tokens and 16 experts, also where all agree") {
    for (unsigned long long seed = 1; seed <= 3; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        numbers logit = d.normals(0, 512 * 16);
        for (std::size_t i = 0; i < logit.size(); ++i) {
            if (seed == 2) logit[i] = i % 16 == 3 ? 4 : 0;                           // one expert is everybody's favourite
            if (seed == 3) logit[i] = logit[i] / 100 + static_cast<double>(i % 16);  // and a second, and a third
        }
        balanced(test::gate_run<base_gate>({}, 16, 1, logit, {.training = true}));
        balanced(test::gate_run<base_gate, float>({}, 16, 1, {logit.begin(), logit.end()}, {.training = true}));
    }
}
