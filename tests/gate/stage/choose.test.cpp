#include <guild/gate/published/classic.hpp>
#include <guild/gate/published/open.hpp>
#include <guild/gate/stage/choose.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <cmath>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;

double probability(const auto& run, long t, int e) {
    double mass = 0;
    for (int i = 0; i < run.E; ++i) mass += std::exp(run.number(t, i));
    return std::exp(run.number(t, e)) / mass;
}
/// Slope of the logits of token t for gradients by probabilities.
numbers through_softmax(const auto& run, long t, const numbers& by) {
    numbers slope;
    double dot = 0;
    for (int e = 0; e < run.E; ++e) dot += by[static_cast<std::size_t>(e)] * probability(run, t, e);
    for (int e = 0; e < run.E; ++e) slope.push_back(probability(run, t, e) * (by[static_cast<std::size_t>(e)] - dot));
    return slope;
}
bool close(double a, double b) { return std::abs(a - b) <= 1e-13; }

struct scaled_gate {
    constexpr auto stages() const { return pipeline{top_k{}, expert_scale{}}; }
};
struct raw_hash_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, hash_table{}}; }
};
struct random_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, random_second{}}; }
};
/// f(dice, E, K, logits [5, E]) for several hundred draws.
void cases(int least, auto f) {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, least, 9), K = d.number(1, least, E);
        f(d, E, K, d.normals(2, 5L * E, 1.5));
    }
}
}  // namespace

TEST_CASE("everyone: all experts in order, weighed by softmax. Jacobs et al. 1991") {
    cases(1, [](const test::dice& d, int E, int K, const numbers& logit) {
        test::gate_run<dense_gate> run({}, E, K, logit, {});
        REQUIRE(run.W == E);
        const numbers g = d.normals(3, 5L * E), slope = run.gradient(g);
        for (long t = 0; t < 5; ++t) {
            const auto expected = through_softmax(run, t, {g.begin() + t * E, g.begin() + (t + 1) * E});
            for (int e = 0; e < E; ++e) {
                CHECK(run.expert(t, e) == e);
                CHECK(close(run.weight(t, e), probability(run, t, e)));
                CHECK(close(slope[static_cast<std::size_t>(t * E + e)], expected[static_cast<std::size_t>(e)]));
            }
        }
    });
}
TEST_CASE("positive: experts with a positive logit, weighed by it, perhaps none. ReMoE, equation 6") {
    cases(1, [](const test::dice& d, int E, int K, numbers logit) {
        for (int e = 0; e < E; ++e) logit[static_cast<std::size_t>(e)] = -1;  // token 0 has no expert
        logit[static_cast<std::size_t>(E)] = 0;
        test::gate_run<remoe_gate> run({}, E, K, logit, {});
        const numbers g = d.normals(3, 5L * E), slope = run.gradient(g);
        for (long t = 0; t < 5; ++t)
            for (int e = 0; e < E; ++e) {
                const auto i = static_cast<std::size_t>(t * E + e);
                CHECK(run.expert(t, e) == (logit[i] > 0 ? e : no_expert));
                CHECK(run.weight(t, e) == std::max(logit[i], 0.0));
                CHECK(slope[i] == (logit[i] > 0 ? g[i] : 0));
            }
    });
}
TEST_CASE("hash_table: the experts of the table's row, weighed by 1 or by their scores") {
    cases(1, [](const test::dice& d, int E, int K, const numbers& logit) {
        const int vocabulary = 7;
        std::vector<int> table, id;
        for (int v = 0; v < vocabulary; ++v)
            for (int k = 0; k < K; ++k) table.push_back((v * 3 + k) % E);
        for (long t = 0; t < 5; ++t) id.push_back(static_cast<int>(vocabulary * d.uniform(4, t)));
        const gate_data<double> data{.table = table.data(), .vocabulary = vocabulary};
        const bool pad[] = {false, false, true, false, false};
        const batch side{.token_id = id, .padding = pad};
        test::gate_run<hash_gate> plain({}, E, K, logit, side, data);
        test::gate_run<raw_hash_gate> weighed({}, E, K, logit, side, data);
        const numbers g = d.normals(3, 5L * K), none = plain.gradient(g), slope = weighed.gradient(g);
        for (long t = 0; t < 5; ++t) {
            numbers by(static_cast<std::size_t>(E));
            for (int k = 0; k < K; ++k) {
                const int e = table[static_cast<std::size_t>(id[static_cast<std::size_t>(t)] * K + k)];
                CHECK(plain.expert(t, k) == (pad[t] ? no_expert : e));
                CHECK(weighed.expert(t, k) == (pad[t] ? no_expert : e));
                CHECK(plain.weight(t, k) == (pad[t] ? 0 : 1));
                CHECK(close(weighed.weight(t, k), pad[t] ? 0 : probability(weighed, t, e)));
                if (!pad[t]) by[static_cast<std::size_t>(e)] += g[static_cast<std::size_t>(t * K + k)];
            }
            const auto expected = through_softmax(weighed, t, by);
            for (int e = 0; e < E; ++e) {
                CHECK(none[static_cast<std::size_t>(t * E + e)] == 0);
                CHECK(close(slope[static_cast<std::size_t>(t * E + e)], expected[static_cast<std::size_t>(e)]));
            }
        }
    });
}
TEST_CASE("expert_scale: the weight times a learned number of the expert") {
    cases(1, [](const test::dice& d, int E, int K, const numbers& logit) {
        const numbers learned = d.normals(5, E), g = d.normals(3, 5L * K);
        test::gate_run<scaled_gate> run({}, E, K, logit, {}, {.learned = learned.data()});
        numbers d_learned(static_cast<std::size_t>(E), 0.5), expected(d_learned), by(logit.size());
        const numbers slope = run.gradient(g, d_learned.data());
        for (long t = 0; t < 5; ++t)
            for (int k = 0; k < K; ++k) {
                const int e = run.expert(t, k);
                const double v = learned[static_cast<std::size_t>(e)], gk = g[static_cast<std::size_t>(t * K + k)];
                CHECK(run.weight(t, k) == run.number(t, e) * v);
                expected[static_cast<std::size_t>(e)] += gk * run.number(t, e);
                by[static_cast<std::size_t>(t * E + e)] = gk * v;
            }
        for (std::size_t e = 0; e < expected.size(); ++e) CHECK(close(d_learned[e], expected[e]));
        CHECK(slope == by);
    });
}
TEST_CASE("random_second: the second stays where 2 w exceeds the draw, in training") {
    long gone = 0;
    cases(2, [&](const test::dice& d, int E, int, const numbers& logit) {
        numbers u;
        for (long t = 0; t < 5; ++t) u.push_back(d.uniform(6, t));
        const given_draws given{random_second::stream, 1, u.data()};
        const numbers g = d.normals(3, 10);
        for (const bool training : {false, true}) {
            test::gate_run<random_gate> run({}, E, 2, logit, {.training = training, .draws = {&given, 1}});
            test::gate_run<switch_gate> best({}, E, 2, logit, {});
            const numbers slope = run.gradient(g);
            for (long t = 0; t < 5; ++t) {
                const int second = best.expert(t, 1);
                const bool stays = !training || 2 * probability(run, t, second) > u[static_cast<std::size_t>(t)];
                gone += !stays;
                CHECK(run.expert(t, 0) == best.expert(t, 0));
                CHECK(run.expert(t, 1) == (stays ? second : no_expert));
                CHECK(close(run.weight(t, 1), stays ? probability(run, t, second) : 0));
                numbers by(static_cast<std::size_t>(E));
                by[static_cast<std::size_t>(best.expert(t, 0))] = g[static_cast<std::size_t>(2 * t)];
                if (stays) by[static_cast<std::size_t>(second)] = g[static_cast<std::size_t>(2 * t + 1)];
                const auto expected = through_softmax(run, t, by);
                for (int e = 0; e < E; ++e) CHECK(close(slope[static_cast<std::size_t>(t * E + e)], expected[static_cast<std::size_t>(e)]));
            }
        }
    });
    CHECK(gone > 200);
}
TEST_CASE("sampled_second: drawn by the probabilities of all but the first, in training; the gradient goes to what was drawn") {
    struct sampled_gate {
        constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, sampled_second{}}; }
    };
    constexpr long T = 20000;
    const numbers one{0.3, 2, 1, -1, 0.5};
    numbers logit;
    for (long t = 0; t < T; ++t) logit.insert(logit.end(), one.begin(), one.end());
    test::gate_run<sampled_gate> run({}, 5, 2, logit, {.seed = 7, .training = true});
    numbers seen(5);
    for (long t = 0; t < T; ++t) {
        REQUIRE(run.expert(t, 0) == 1);
        REQUIRE(run.expert(t, 1) != 1);
        REQUIRE(close(run.weight(t, 1), probability(run, t, run.expert(t, 1))));
        seen[static_cast<std::size_t>(run.expert(t, 1))] += 1;
    }
    for (int e = 0; e < 5; ++e) {
        const double expected = e == 1 ? 0 : probability(run, 0, e) / (1 - probability(run, 0, 1));
        CHECK(std::abs(seen[static_cast<std::size_t>(e)] / T - expected) < 5 * std::sqrt(0.25 / T));  // five deviations
    }
    numbers g(2 * T);
    for (long t = 0; t < T; ++t) g[static_cast<std::size_t>(2 * t + 1)] = 1;
    const numbers slope = run.gradient(g);
    for (long t = 0; t < 50; ++t) {
        numbers by(5);
        by[static_cast<std::size_t>(run.expert(t, 1))] = 1;
        const numbers expected = through_softmax(run, t, by);
        for (int e = 0; e < 5; ++e) CHECK(close(slope[static_cast<std::size_t>(t * 5 + e)], expected[static_cast<std::size_t>(e)]));
    }

    const test::gate_run<sampled_gate> still({}, 5, 2, one, {.seed = 7});
    CHECK(still.expert(0, 1) == 2);
    const test::gate_run<sampled_gate> certain({}, 5, 2, {0, 1e4, 0, 0, 0}, {.seed = 7, .training = true});  // no other has a probability
    CHECK(certain.expert(0, 0) == 1);
    CHECK(certain.expert(0, 1) == 0);
    CHECK(certain.weight(0, 1) == 0);
}
