#include <guild/gate/published/open.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;
constexpr double inf = std::numeric_limits<double>::infinity();

/// What algorithms 1 and 3 of arXiv:2409.12136 make of one token: the picks with their weights, and by `g`, the gradient by these weights,
/// that by the logits. u holds for each pick E uniform numbers to sample by and one for the factor.
struct picked {
    std::vector<int> expert;
    numbers weight, slope;
};
picked published(numbers z, int K, double jitter, const double* u, bool training, const numbers& g) {
    const std::size_t E = z.size();
    picked out{{}, {}, numbers(E, 0)};
    std::vector<bool> gone(E, false);
    for (int k = 0; k < K; ++k, u += u ? E + 1 : 0) {
        double m = -inf;
        for (std::size_t i = 0; i < E; ++i)
            if (!gone[i]) m = std::max(m, z[i]);
        std::vector<bool> kept(E);
        for (std::size_t i = 0; i < E; ++i) kept[i] = !gone[i] && !((m - z[i]) / std::max(std::abs(z[i]), m) > 2 * jitter);
        double mass = 0;
        numbers p(E, 0);
        for (std::size_t i = 0; i < E; ++i) mass += kept[i] ? std::exp(z[i] - m) : 0;
        for (std::size_t i = 0; i < E; ++i) p[i] = kept[i] ? std::exp(z[i] - m) / mass : 0;
        std::size_t best = 0, pick = 0;
        for (std::size_t i = 0; i < E; ++i)
            if (p[i] > p[best]) best = i;
        pick = best;
        if (training) {
            double highest = -inf;
            for (std::size_t i = 0; i < E; ++i) {
                if (!kept[i]) continue;
                const double exponential = -std::log(u[i]), noisy = z[i] - std::log(exponential);
                if (noisy > highest) {
                    highest = noisy;
                    pick = i;
                }
            }
        }
        const double c = !training || pick == best || u[E] > 0.75 ? 1 : 1. / 3;
        const double by = g[static_cast<std::size_t>(k)] * p[pick];
        for (std::size_t i = 0; i < E; ++i) out.slope[i] += by * ((i == pick ? 1 : 0) - p[i]);
        out.expert.push_back(static_cast<int>(pick));
        out.weight.push_back(p[pick] * c);
        gone[pick] = true;
    }
    return out;
}
/// Of a case that the seed draws, how many picks were not the best, and how many of these were scaled down.
struct tally {
    long picks = 0, others = 0, scaled = 0, masked = 0;
};
void as_published(unsigned long long seed, bool training, tally& seen) {
    CAPTURE(seed);
    const test::dice d{seed};
    const int E = d.number(0, 1, 9), K = d.number(1, 1, E);
    const long T = d.number(2, 0, 6);
    const double jitter = seed % 5 == 0 ? 0 : seed % 5 == 1 ? 10 : d.uniform(3, 0);
    numbers logit = d.normals(4, T * E, seed % 3 == 0 ? 0.1 : 1.5), u;
    for (double& z : logit) z += seed % 4 == 0 ? 3 : seed % 4 == 1 ? -3 : 0;  // all positive, all negative: the mask is relative
    if (seed % 7 == 0)
        for (double& z : logit) z = std::round(z);  // ties
    const long draws = K * (E + 1);
    for (long i = 0; i < T * draws; ++i) u.push_back(d.uniform(5, i));
    const given_draws given{sparse_mixer::stream, static_cast<int>(draws), u.data()};
    bool pad[6];
    for (long t = 0; t < T; ++t) pad[t] = d.chance(6, 0.2, t);
    const batch side{.padding = {pad, static_cast<std::size_t>(T)}, .training = training, .draws = {&given, 1}};

    test::gate_run<phi_moe_gate> run({jitter}, E, K, logit, side);
    const numbers g = d.normals(7, T * K);
    const numbers slope = run.gradient(g);
    for (long t = 0; t < T; ++t) {
        CAPTURE(t);
        if (pad[t]) {
            for (int k = 0; k < K; ++k) CHECK(run.expert(t, k) == no_expert);
            for (int e = 0; e < E; ++e) CHECK(slope[static_cast<std::size_t>(t * E + e)] == 0);
            continue;
        }
        const auto expected = published({logit.begin() + t * E, logit.begin() + (t + 1) * E}, K, jitter, u.data() + t * draws, training,
                                        {g.begin() + t * K, g.begin() + (t + 1) * K});
        const auto best = published({logit.begin() + t * E, logit.begin() + (t + 1) * E}, 1, jitter, nullptr, false, {0});
        seen.others += expected.expert[0] != best.expert[0];
        seen.scaled += expected.expert[0] != best.expert[0] && u[static_cast<std::size_t>(t * draws + E)] <= 0.75;
        for (int k = 0; k < K; ++k) {
            CHECK(run.expert(t, k) == expected.expert[static_cast<std::size_t>(k)]);
            CHECK(std::abs(run.weight(t, k) - expected.weight[static_cast<std::size_t>(k)]) <= 1e-12);
            seen.picks += 1;
            seen.masked += expected.weight[static_cast<std::size_t>(k)] == 1 && k + 1 < E;
        }
        for (int e = 0; e < E; ++e)
            CHECK(std::abs(slope[static_cast<std::size_t>(t * E + e)] - expected.slope[static_cast<std::size_t>(e)]) <= 1e-12);
    }
}
}  // namespace

TEST_CASE("sparse_mixer: inference, algorithm 3: the best of what is left, masked and weighed anew") {
    tally seen;
    for (unsigned long long seed = 1; seed <= 400; ++seed) as_published(seed, false, seen);
    CHECK(seen.others == 0);
    CHECK(seen.masked > 20);
    CHECK(seen.picks > 1000);
}
TEST_CASE("sparse_mixer: training, algorithm 1: sampled picks, a third of the weight, and the published gradient") {
    tally seen;
    for (unsigned long long seed = 1; seed <= 600; ++seed) as_published(seed, true, seen);
    CHECK(seen.others > 100);
    CHECK(seen.scaled > seen.others / 2);
    CHECK(seen.scaled < seen.others);
}
TEST_CASE("sparse_mixer: picks follow the softmax of what is kept, the factor a coin of 1/4") {
    const long T = 40000;
    const numbers z{1, 0.4, -0.2, -1};  // 2 jitter max(|z|, 1) = 1.3 keeps the first three
    numbers logit;
    for (long t = 0; t < T; ++t) logit.insert(logit.end(), z.begin(), z.end());
    test::gate_run<phi_moe_gate> run({0.65}, 4, 2, logit, {.seed = 5, .training = true});
    const double a[] = {std::exp(1), std::exp(0.4), std::exp(-0.2)}, mass = a[0] + a[1] + a[2];
    for (int e = 0; e < 3; ++e) {
        double first = 0, whole = 0;
        for (long t = 0; t < T; ++t) {
            first += run.expert(t, 0) == e;
            whole += run.expert(t, 0) == e && run.weight(t, 0) > a[e] / mass * 0.9;
            CHECK(run.expert(t, 1) != run.expert(t, 0));
        }
        CHECK(std::abs(first / T - a[e] / mass) < 0.015);
        CHECK(std::abs(whole / first - (e == 0 ? 1 : 0.25)) < 0.02);
    }
    CHECK(run.count(3) == 0);
}
TEST_CASE("sparse_mixer: picks are distinct experts whatever the logits and draws") {
    const double nan = std::numeric_limits<double>::quiet_NaN(), hard[] = {nan, -inf, inf, 0, -0., 1, -1, 1e308, -1e308, 5e-324};
    for (unsigned long long seed = 1; seed <= 500; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 6), K = d.number(1, 1, E), kinds = seed % 3 == 0 ? 2 : 10;
        numbers logit, u;
        for (int e = 0; e < E; ++e) logit.push_back(hard[static_cast<int>(d.uniform(2, e) * kinds)]);
        for (int i = 0; i < K * (E + 1); ++i) u.push_back(d.chance(4, 0.3, i) ? 0 : d.uniform(3, i));
        const given_draws given{sparse_mixer::stream, K * (E + 1), u.data()};
        for (const bool training : {false, true}) {
            test::gate_run<phi_moe_gate> run({0.01}, E, K, logit, {.training = training, .draws = {&given, 1}});
            for (int k = 0; k < K; ++k) {
                CHECK(run.expert(0, k) >= 0);
                CHECK(run.expert(0, k) < E);
                for (int j = 0; j < k; ++j) CHECK(run.expert(0, j) != run.expert(0, k));
            }
        }
    }
}
