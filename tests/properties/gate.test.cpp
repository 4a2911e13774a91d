#include <properties/gates.hpp>
#include <support/gate_row.hpp>

#include <algorithm>
#include <cmath>
#include <set>

// What a gate chooses and with which weights, from logits alone.

using namespace property;

namespace {
constexpr auto any = [](const auto&) { return true; };
constexpr auto ranks_with_bias = [](const auto& gate) { return gate.stages().state(1) > 0; };

struct sizes {
    int E, K;
    long T;
    explicit sizes(draws& d) : E(d.integer(1, 12)), K(d.integer(1, E)), T(d.integer(1, 9)) {}
};
}  // namespace

TEST_CASE("the weights of a token add up to what the gate promises") {
    for_cases([](draws& d) {
        const sizes n(d);
        drawn_gate g;
        do g = draw_gate(d, n.E, n.K);
        while (std::isnan(g.sum));
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T);
        r.run({.seed = d.seed(), .training = d.chance(0.5)});
        double worst = 0;
        for (long t = 0; t < n.T; ++t) {
            double sum = 0;
            for (int k = 0; k < r.W(); ++k) sum += r.weight(t, k);
            worst = std::max(worst, std::abs(sum - g.sum));
        }
        REQUIRE(worst <= 1e-12 * g.sum);
    });
}

TEST_CASE("raw probabilities add up to at most 1, and to 1 where every expert is chosen") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, one_of<guild::deepseek_moe_gate>());
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T);
        r.run();
        bool good = true;
        for (long t = 0; t < n.T; ++t) {
            double sum = 0;
            for (int k = 0; k < n.K; ++k) sum += r.weight(t, k);
            good = good && sum <= 1 + 1e-14 && (n.K == n.E) == (sum > 1 - 1e-14);
        }
        REQUIRE(good);
    });
}

TEST_CASE("the chosen are distinct and in range for any bit patterns") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, any);
        routed<float, token_gate> r(d, g.gate, n.E, n.K, n.T);
        CAPTURE(g.gate.one.index());
        const auto any_bits = [&](std::vector<float>& v) {
            v = test::any_floats(static_cast<int>(v.size()), d.integer(0, 1 << 30), d.integer(0, 2));
        };
        any_bits(r.logit);
        if (d.chance(0.5)) any_bits(r.state);
        if (d.chance(0.5)) any_bits(r.learned);
        r.run({.seed = d.seed(), .training = d.chance(0.5)});
        const bool always_full = !std::holds_alternative<guild::remoe_gate>(g.gate.one);
        bool good = true;
        for (long t = 0; t < n.T; ++t) {
            std::set<int> seen;
            for (int k = 0; k < r.W(); ++k) {
                const int e = r.expert(t, k);
                if (e == guild::no_expert && !always_full) continue;
                good = good && e >= 0 && e < n.E && seen.insert(e).second;
            }
        }
        REQUIRE(good);
    });
}

TEST_CASE("no expert left out has a better rank than one that was chosen") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, one_of<guild::deepseek_moe_gate, guild::mixtral_gate, guild::qwen3_gate, guild::flint_gate>());
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T);
        if (d.chance(0.3))
            for (double& l : r.logit) l = std::round(l);  // ties, which the lower index wins
        r.run();
        bool good = true;
        for (long t = 0; t < n.T; ++t) {
            const auto chosen = r.chosen(t);
            for (const int in : chosen)
                for (int out = 0; out < n.E; ++out)
                    if (!chosen.count(out)) good = good && (r.at(t, in) > r.at(t, out) || (r.at(t, in) == r.at(t, out) && in < out));
            for (int k = 1; k < n.K; ++k) good = good && r.weight(t, k - 1) >= r.weight(t, k);
        }
        REQUIRE(good);
    });
}

TEST_CASE("a selection bias changes weights only through which experts are chosen") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, ranks_with_bias);
        routed<double, token_gate> r(d, g.gate, n.E, n.K, 1);
        r.run();
        const auto chosen = r.chosen(0);
        std::vector<double> weight;
        for (int e = 0; e < n.E; ++e) weight.push_back(r.weight_of(0, e));
        // another bias that makes the same experts win by far
        for (int e = 0; e < n.E; ++e) r.state[static_cast<std::size_t>(e)] = chosen.count(e) ? 100 + d.real() : d.real();
        r.run();
        REQUIRE(r.chosen(0) == chosen);
        double worst = 0;
        for (int e = 0; e < n.E; ++e) worst = std::max(worst, std::abs(r.weight_of(0, e) - weight[static_cast<std::size_t>(e)]));
        REQUIRE(worst <= 1e-14 * 4);
    });
}

TEST_CASE("a higher selection bias never loses an expert a token, and without groups gives no other expert one") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, ranks_with_bias);
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T);
        r.run();
        std::vector<std::set<int>> before;
        for (long t = 0; t < n.T; ++t) before.push_back(r.chosen(t));
        const int raised = d.integer(0, n.E - 1);
        r.state[static_cast<std::size_t>(raised)] += d.real();
        r.run();
        bool good = true;
        for (long t = 0; t < n.T; ++t) {
            const auto& was = before[static_cast<std::size_t>(t)];
            const auto is = r.chosen(t);
            good = good && (!was.count(raised) || is.count(raised));
            if (g.groups == 1)
                for (const int e : is) good = good && (e == raised || was.count(e));
        }
        REQUIRE(good);
    });
}

TEST_CASE("the chosen lie in at most as many groups as are kept") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K, one_of<guild::deepseek_v2_gate, guild::deepseek_v3_gate, guild::mistral4_gate>());
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T);
        r.run();
        bool good = true;
        for (long t = 0; t < n.T; ++t) {
            std::set<int> groups;
            for (const int e : r.chosen(t)) groups.insert(e / (n.E / g.groups));
            good = good && static_cast<int>(r.chosen(t).size()) == n.K && static_cast<int>(groups.size()) <= g.keep;
        }
        REQUIRE(good);
    });
}

TEST_CASE("a constant added to all logits of a token changes nothing behind a softmax") {
    for_cases([](draws& d) {
        const sizes n(d);
        const drawn_gate g = draw_gate(d, n.E, n.K,
                                       one_of<guild::deepseek_moe_gate, guild::deepseek_v2_gate, guild::deepseek_v2_lite_gate, guild::mixtral_gate,
                                              guild::qwen3_gate, guild::dbrx_gate, guild::gpt_oss_gate, guild::ernie_gate, guild::longcat_gate,
                                              guild::mistral4_gate, guild::dense_gate, guild::hierarchical_gate>());
        routed<double, token_gate> r(d, g.gate, n.E, n.K, n.T), moved(r);
        for (long t = 0; t < n.T; ++t) {
            const double by = 300 * d.normal();
            for (int e = 0; e < n.E; ++e) moved.at(t, e) += by;
        }
        r.run();
        moved.run();
        double worst = 0;
        for (long t = 0; t < n.T; ++t)
            for (int e = 0; e < n.E; ++e) worst = std::max(worst, std::abs(r.weight_of(t, e) - moved.weight_of(t, e)));
        REQUIRE(worst <= 1e-12);
    });
}
