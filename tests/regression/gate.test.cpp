#include <support/gate_case.hpp>
#include <support/gate_row.hpp>

#include <guild/guild.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <set>

// Faults that routers of other libraries were shipped with, one test each, by their symptom.

namespace {
constexpr int most = 64;
constexpr float no_number = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();

/// What a gate makes of one token, or of several with the same side data.
template <class S> struct verdict {
    int W;
    std::vector<int> expert;
    std::vector<S> weight, d_logit;
    bool distinct(int E) const {
        for (std::size_t t = 0; t < expert.size(); t += static_cast<std::size_t>(W)) {
            const std::set<int> seen(expert.begin() + static_cast<long>(t), expert.begin() + static_cast<long>(t) + W);
            if (static_cast<int>(seen.size()) != W || *seen.begin() < 0 || *seen.rbegin() >= E) return false;
        }
        return true;
    }
    bool finite() const {
        const auto good = [](S s) { return std::isfinite(s); };
        return std::all_of(weight.begin(), weight.end(), good) && std::all_of(d_logit.begin(), d_logit.end(), good);
    }
    S sum() const { return std::accumulate(weight.begin(), weight.end(), S(0)); }
};
/// logit [T, P]; state [E] or none. Gradients are by weights whose gradient is 1, 2, 3, ...
template <int Max = most, class S = float, class Gate>
verdict<S> decide(const Gate& gate, int E, int K, const std::vector<S>& logit, const std::vector<S>& state = {}, const guild::batch& side = {}) {
    const auto model = sized<Max>(gate, E, K);
    const int P = E + model.n.extra, W = model.n.slots;
    const long T = static_cast<long>(logit.size()) / P;
    std::vector<S> learned(static_cast<std::size_t>(model.stages().learned(E)), S(0.5)), bias(static_cast<std::size_t>(model.stages().state(E)));
    std::copy_n(state.begin(), std::min(bias.size(), state.size()), bias.begin());
    guild::gate_result<S> r;
    const guild::gate_data<S> data{learned.data(), bias.data(), nullptr};
    const guild::view<const S> in(logit.data(), T, P);
    guild::gate::forward(guild::backend::reference{}, model, data, side, in, r);
    verdict<S> v{W, {r.choice.expert.data(), r.choice.expert.data() + T * W}, {r.choice.weight.data(), r.choice.weight.data() + T * W}, {}};
    std::vector<S> d_weight(v.weight.size()), d_learned(learned);
    v.d_logit.resize(logit.size());
    std::iota(d_weight.begin(), d_weight.end(), S(1));
    guild::buffer<S> partial;
    guild::gate::backward(guild::backend::reference{}, model, data, side, in, r, {.weight = {d_weight.data(), T, W}}, {v.d_logit.data(), T, P},
                          d_learned.data(), partial);
    return v;
}
std::vector<float> normals(long n, int stream = 0) {
    std::vector<float> v;
    for (long i = 0; i < n; ++i) v.push_back(static_cast<float>(guild::normal(5, stream, 0, i)));
    return v;
}
/// f(gate) for the published gates of one token that always fill K slots; E = 8, K = 2.
template <class F> void each_gate(F f) {
    f(guild::deepseek_moe_gate{});
    f(guild::deepseek_v2_gate{.groups = 4, .keep = 2});
    f(guild::deepseek_v3_gate{.groups = 4, .keep = 2});
    f(guild::deepseek_v4_gate{});
    f(guild::mixtral_gate{});
    f(guild::qwen3_gate{});
    f(guild::dbrx_gate{.p = 2});
    f(guild::gpt_oss_gate{});
    f(guild::ernie_gate{});
    f(guild::glm4_gate{});
    f(guild::laguna_gate{});
    f(guild::kolibri_gate{});
    f(guild::mistral4_gate{.groups = 4, .keep = 2});
    f(guild::longcat_gate{});
    f(guild::phi_moe_gate{});
}
struct filled_with_zero_gate {
    constexpr auto stages() const {
        return guild::pipeline{guild::score{guild::sigmoid{}}, guild::selection_bias{},
                               guild::group_limit{.groups = 4, .keep = 1, .by = guild::group_score::top2_sum, .fill = 0}, guild::top_k{}};
    }
};
template <class Map> struct sigmoid_then {
    Map map{};
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::sigmoid{}}, guild::top_k{}, guild::weigh{map}}; }
};
}  // namespace

TEST_CASE("experts of a masked group are chosen where all biased scores are negative") {
    const auto logit = normals(80);
    std::vector<float> bias(8, -10.f);
    const auto v = decide(guild::deepseek_v3_gate{.groups = 4, .keep = 1}, 8, 2, logit, bias);
    for (std::size_t t = 0; t < 10; ++t) CHECK(v.expert[2 * t] / 2 == v.expert[2 * t + 1] / 2);
    // where a published checkpoint was trained with a fill of 0, that has to be asked for, and does choose them
    const auto zero = decide(filled_with_zero_gate{}, 8, 2, logit, bias);
    int outside = 0;
    for (std::size_t t = 0; t < 10; ++t) outside += zero.expert[2 * t] / 2 != v.expert[2 * t] / 2;
    CHECK(outside >= 5);
}

TEST_CASE("a large selection bias swallows small scores, and weights become noise") {
    std::vector<float> logit;
    for (int e = 0; e < 8; ++e) logit.push_back(-18 - 0.1f * static_cast<float>(e));  // sigmoids of about 1e-8
    const std::vector<float> bias{12, 12, 11, 11, 12.5f, 11, 11, 11};
    for (const auto& v :
         {decide(guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}, 8, 3, logit, bias), decide(guild::glm4_gate{1}, 8, 3, logit, bias)}) {
        CHECK(v.expert[0] == 4);
        double score[3], sum = 0;
        for (std::size_t k = 0; k < 3; ++k) sum += score[k] = 1 / (1 + std::exp(-static_cast<double>(logit[static_cast<std::size_t>(v.expert[k])])));
        for (std::size_t k = 0; k < 3; ++k) CHECK(v.weight[k] == doctest::Approx(score[k] / sum).epsilon(1e-6));
    }
}

TEST_CASE("the selection bias leaks into the weights") {
    const auto logit = normals(8);
    std::vector<float> none(8), bias(8, 3.f);
    const auto plain = decide(guild::deepseek_v3_gate{.groups = 2, .keep = 2}, 8, 3, logit, none);
    const auto raised = decide(guild::deepseek_v3_gate{.groups = 2, .keep = 2}, 8, 3, logit, bias);
    CHECK(raised.expert == plain.expert);
    CHECK(raised.weight == plain.weight);
    CHECK(raised.d_logit == plain.d_logit);
    const auto raw = decide(guild::longcat_gate{1}, 8, 3, logit, bias);
    CHECK(raw.sum() <= 1);
}

TEST_CASE("0 / 0 where every chosen score underflows") {
    const std::vector<float> tiny(8, -1e4f);
    const auto check = [&](const auto& gate) {
        const auto v = decide(gate, 8, 2, tiny);
        CHECK(v.distinct(8));
        CHECK(v.finite());
        CHECK(v.sum() == 0);
    };
    check(guild::deepseek_v3_gate{.groups = 2, .keep = 1});
    check(guild::deepseek_v4_gate{});
    check(guild::minimax_m2_gate{});
    check(guild::flint_gate{});
    check(guild::kolibri_gate{});
    check(sigmoid_then<guild::unit_max>{});
    check(sigmoid_then<guild::unit_norm>{{.p = 1}});
    check(sigmoid_then<guild::unit_norm>{{.p = 2}});
}

TEST_CASE("logits of a thousand overflow the softmax") {
    std::vector<float> logit{1000, 999, -1000, 3e38f, -3e38f, 0, 999.5f, 1};
    each_gate([&](const auto& gate) {
        const auto v = decide(gate, 8, 2, logit);
        CHECK(v.distinct(8));
        CHECK(v.finite());
    });
    logit[3] = 0;
    const auto v = decide(guild::mixtral_gate{}, 8, 2, logit);
    CHECK(v.expert == std::vector{0, 6});
    CHECK(v.weight[0] == doctest::Approx(1 / (1 + std::exp(-0.5))).epsilon(1e-6));
}

TEST_CASE("NaN logits choose an expert twice or one that does not exist") {
    each_gate([](const auto& gate) {
        for (const bool training : {false, true}) {
            std::vector<float> logit;
            for (int pattern = 0; pattern < 256; ++pattern)  // every set of experts whose logit is NaN
                for (int e = 0; e < 8; ++e) logit.push_back(pattern >> e & 1 ? no_number : static_cast<float>(guild::normal(5, 1, pattern, e)));
            CHECK(decide(gate, 8, 2, logit, {}, {.seed = 3, .training = training}).distinct(8));
            CHECK(decide(gate, 8, 4, logit, {}, {.seed = 4, .training = training}).distinct(8));
        }
    });
    // what has no number ranks last
    std::vector<float> logit{no_number, 1, no_number, 3, no_number, 2, no_number, 0};
    CHECK(decide(guild::mixtral_gate{}, 8, 4, logit).expert == std::vector{3, 5, 1, 7});
    CHECK(decide(guild::glm4_gate{}, 8, 5, logit).expert == std::vector{3, 5, 1, 7, 0});
    CHECK(decide<most, double>(guild::glm4_gate{}, 8, 5, std::vector<double>(logit.begin(), logit.end())).expert == std::vector{3, 5, 1, 7, 0});
}

TEST_CASE("masked logits make a sampler pick what it has picked before") {
    // all but one are -infinity: after the first pick nothing is left that has a number
    for (const bool training : {false, true})
        for (int open = 0; open < 8; ++open) {
            std::vector<float> logit(8, -infinite);
            logit[static_cast<std::size_t>(open)] = 1;
            for (int K = 1; K <= 8; ++K) {
                const auto v = decide(guild::phi_moe_gate{}, 8, K, logit, {}, {.seed = 9, .training = training});
                CHECK(v.distinct(8));
                CHECK(v.expert[0] == open);
                CHECK(v.weight[0] == 1);
            }
        }
}

TEST_CASE("a NaN or infinity in the selection bias breaks the choice") {
    const auto logit = normals(8);
    for (const float bad : {no_number, infinite, -infinite})
        for (std::size_t e = 0; e < 8; ++e) {
            std::vector<float> bias(8);
            bias[e] = bad;
            each_gate([&](const auto& gate) {
                const auto v = decide(gate, 8, 3, logit, bias);
                CHECK(v.distinct(8));
                CHECK(v.finite());  // a bias is in no weight
            });
            const auto v = decide(guild::glm4_gate{}, 8, 7, logit, bias);
            CHECK((std::count(v.expert.begin(), v.expert.end(), static_cast<int>(e)) == 1) == (bad > 0));
        }
}

TEST_CASE("infinite logits") {
    each_gate([](const auto& gate) {
        for (const float bad : {infinite, -infinite})
            for (int pattern = 0; pattern < 256; ++pattern) {
                std::vector<float> logit;
                for (int e = 0; e < 8; ++e) logit.push_back(pattern >> e & 1 ? bad : static_cast<float>(e % 3));
                CHECK(decide(gate, 8, 3, logit).distinct(8));
            }
    });
    // a masked expert gets nothing, and the others what they get without it
    const auto masked = decide(guild::deepseek_moe_gate{}, 4, 3, std::vector<float>{1, -infinite, 2, 0.5f});
    const auto without = decide(guild::deepseek_moe_gate{}, 3, 3, std::vector<float>{1, 2, 0.5f});
    CHECK(masked.expert == std::vector{2, 0, 3});
    CHECK(masked.weight == without.weight);
}

TEST_CASE("nothing beats the value that the search for the best starts from") {
    for (const float low : {-infinite, std::numeric_limits<float>::lowest(), -std::numeric_limits<float>::denorm_min()}) {
        CHECK(decide(guild::mixtral_gate{}, 8, 3, std::vector<float>(8, low)).expert == std::vector{0, 1, 2});
        CHECK(decide(guild::base_gate{}, 8, 1, std::vector<float>(8, low)).expert == std::vector{0});
    }
    std::vector<double> low(8, std::numeric_limits<double>::lowest());
    CHECK(decide<most, double>(guild::mixtral_gate{}, 8, 3, low).expert == std::vector{0, 1, 2});
}

TEST_CASE("a tie at the border of the K best is decided by chance") {
    const std::vector<float> logit{0, 2, 1, 1, 1, -0.f, 3, 1};
    CHECK(decide(guild::mixtral_gate{}, 8, 4, logit).expert == std::vector{6, 1, 2, 3});
    CHECK(decide<most, double>(guild::mixtral_gate{}, 8, 4, std::vector<double>(logit.begin(), logit.end())).expert == std::vector{6, 1, 2, 3});
    CHECK(decide(guild::mixtral_gate{}, 2, 1, std::vector<float>{-0.f, 0.f}).expert == std::vector{0});
    CHECK(decide(guild::mixtral_gate{}, 2, 1, std::vector<float>{0.f, -0.f}).expert == std::vector{0});
    each_gate([](const auto& gate) { CHECK(decide(gate, 8, 2, std::vector<float>(8, 0.25f)).expert == std::vector{0, 1}); });
}

TEST_CASE("384 or 512 experts and long batches: ids beyond a fixed limit") {
    struct sizes {
        int E, K, T;
    };
    for (const sizes n : {sizes{384, 8, 700}, sizes{512, 10, 400}, sizes{512, 22, 40}, sizes{160, 6, 40}, sizes{257, 8, 40}}) {
        const int E = n.E, K = n.K, T = n.T;
        CAPTURE(E);
        const auto logit = normals(long{E} * T, E);
        const auto v = decide<512>(guild::kimi_k2_gate{}, E, K, logit);
        CHECK(v.distinct(E));
        CHECK(v.finite());
        bool same = true;
        for (int t = 0; t < T; ++t) {
            // sigmoids in float may tie where logits do not: compare what was chosen by its logit
            const std::vector<float> row(logit.begin() + t * E, logit.begin() + (t + 1) * E);
            const auto order = test::in_rank(row, 0, E);
            for (int k = 0; k < K; ++k) {
                const auto found = static_cast<std::size_t>(v.expert[static_cast<std::size_t>(t * K + k)]);
                same = same && std::abs(row[found] - row[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])]) <= 1e-5f;
            }
        }
        CHECK(same);
    }
}

TEST_CASE("a number of experts that is no power of two") {
    for (int E = 1; E <= 64; ++E)
        for (const int K : {1, 2, 3, 5, E - 1, E}) {
            if (K < 1 || K > E) continue;
            const auto logit = normals(E, 64 * K + E);
            const auto best = test::in_rank(logit, 0, E);
            const auto v = decide(guild::mixtral_gate{}, E, K, logit);
            CHECK(v.expert == std::vector(best.begin(), best.begin() + K));
            CHECK(v.sum() == doctest::Approx(1));
        }
}

TEST_CASE("groups that do not divide the experts fall back to something else") {
    using model = guild::dynamic_model<guild::deepseek_v3_gate>;
    const auto checked = [](int E, int K, int groups, int keep) {
        model{.config = {.hidden = 4, .expert_hidden = 4, .routed_experts = E, .top_k = K}, .gate = {.groups = groups, .keep = keep}}.check();
    };
    CHECK_NOTHROW(checked(9, 2, 3, 2));
    CHECK_NOTHROW(checked(9, 6, 3, 2));
    CHECK_THROWS_AS(checked(10, 2, 3, 2), guild::argument_error);
    CHECK_THROWS_AS(checked(9, 7, 3, 2), guild::argument_error);
    CHECK_THROWS_AS(checked(9, 2, 3, 4), guild::argument_error);
    CHECK_THROWS_AS(checked(9, 2, 0, 0), guild::argument_error);
    CHECK_THROWS_AS(checked(8, 9, 1, 1), guild::argument_error);
    CHECK_THROWS_AS(checked(8, 0, 1, 1), guild::argument_error);
}

TEST_CASE("top-1 with normalised weights: the router never learns") {
    const auto logit = normals(8);
    const auto largest = [](const verdict<float>& v) {
        float m = 0;
        for (const float g : v.d_logit) m = std::max(m, std::abs(g));
        return m;
    };
    const auto raw = decide(guild::switch_gate{}, 8, 1, logit);
    CHECK(raw.weight[0] < 0.9f);
    CHECK(largest(raw) > 0.01f);
    CHECK(largest(decide(guild::llama4_gate{}, 8, 1, logit)) > 0.01f);
    CHECK(largest(decide(guild::base_gate{}, 8, 1, logit)) > 0.01f);
    const auto normalised = decide(guild::qwen3_gate{}, 8, 1, logit);
    CHECK(normalised.weight[0] == 1);
    CHECK(largest(normalised) <= 1e-6f);  // which is why it is not the gate of a top-1 preset
    CHECK(largest(decide(guild::mixtral_gate{}, 8, 1, logit)) == 0);
}

TEST_CASE("weights are normalised where the model has raw ones, or the other way round") {
    const std::vector<double> logit{1, 2, 3, 0};
    double sum = 0;
    for (const double l : logit) sum += std::exp(l);
    const auto raw = decide<most, double>(guild::qwen2_gate{}, 4, 2, logit), normalised = decide<most, double>(guild::qwen3_gate{}, 4, 2, logit),
               late = decide<most, double>(guild::mixtral_gate{}, 4, 2, logit);
    CHECK(raw.weight[0] == doctest::Approx(std::exp(3) / sum).epsilon(1e-14));
    CHECK(raw.sum() < 0.9);
    CHECK(normalised.weight[0] == doctest::Approx(1 / (1 + std::exp(-1.))).epsilon(1e-14));
    CHECK(normalised.weight[1] == doctest::Approx(late.weight[1]).epsilon(1e-14));
    CHECK(decide<most, double>(guild::qwen2_gate{}, 4, 4, logit).sum() == doctest::Approx(1).epsilon(1e-14));  // K = E: the same
}

TEST_CASE("the gradient of normalised weights leaves out their sum") {
    // by central differences of sum (1 + k) w_k
    for (int pattern = 0; pattern < 2; ++pattern) {
        std::vector<double> logit{0.3, -1, 0.8, 0.1, -0.2, 1.1, 0.5, -0.7};
        const auto objective = [&] {
            const auto v = pattern == 0 ? decide<most, double>(guild::qwen3_gate{}, 8, 3, logit)
                                        : decide<most, double>(guild::deepseek_v3_gate{.groups = 4, .keep = 3}, 8, 3, logit);
            double sum = 0;
            for (std::size_t k = 0; k < 3; ++k) sum += static_cast<double>(k + 1) * v.weight[k];
            return std::pair(sum, v.d_logit);
        };
        const auto gradient = objective().second;
        for (std::size_t e = 0; e < 8; ++e) {
            const double middle = logit[e];
            logit[e] = middle + 1e-5;
            const double above = objective().first;
            logit[e] = middle - 1e-5;
            const double below = objective().first;
            logit[e] = middle;
            CHECK(gradient[e] == doctest::Approx((above - below) / 2e-5).epsilon(1e-7));
        }
    }
}

TEST_CASE("noise and sampling stay on in evaluation") {
    const auto logit = normals(2 * 16 * 8);
    const auto quiet = decide(guild::noisy_top_k_gate{}, 8, 2, logit, {}, {.seed = 1}),
               other = decide(guild::noisy_top_k_gate{}, 8, 2, logit, {}, {.seed = 2}),
               loud = decide(guild::noisy_top_k_gate{}, 8, 2, logit, {}, {.seed = 1, .training = true});
    CHECK(quiet.expert == other.expert);
    CHECK(quiet.weight == other.weight);
    CHECK(loud.expert != quiet.expert);
    for (std::size_t t = 0; t < 16; ++t)  // the clean logits choose
        CHECK(quiet.expert[2 * t] ==
              test::in_rank(std::vector<float>(logit.begin() + static_cast<long>(16 * t), logit.begin() + static_cast<long>(16 * t + 8)), 0, 8)[0]);
    std::vector<float> flat;
    for (const float l : logit) flat.push_back(1 + l / 1000);  // close enough to be sampled
    CHECK(decide(guild::phi_moe_gate{}, 8, 2, flat, {}, {.seed = 1}).expert == decide(guild::phi_moe_gate{}, 8, 2, flat, {}, {.seed = 2}).expert);
    CHECK(decide(guild::phi_moe_gate{}, 8, 2, flat, {}, {.seed = 1, .training = true}).expert !=
          decide(guild::phi_moe_gate{}, 8, 2, flat, {}, {.seed = 2, .training = true}).expert);
    CHECK(decide(guild::gshard_capacity_gate{.factor = 8}, 8, 2, logit, {}, {.seed = 1}).expert == decide(guild::gshard_gate{}, 8, 2, logit).expert);
    CHECK(decide(guild::gshard_capacity_gate{.factor = 8}, 8, 2, logit, {}, {.seed = 1, .training = true}).expert !=
          decide(guild::gshard_gate{}, 8, 2, logit).expert);
}

TEST_CASE("who is dropped depends on how a sort treats equal weights") {
    const std::vector<float> equal(6 * 4, 0.5f);  // everybody wants experts 0 and 1
    for (const auto by : {guild::priority::choice, guild::priority::position, guild::priority::weight}) {
        struct bounded {
            guild::capacity bound;
            constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
        };
        const auto v = decide(bounded{{1, guild::rounding::up, by, 0, 2}}, 4, 2, equal);
        CHECK(v.expert == std::vector{0, 1, 0, 1, -1, -1, -1, -1, -1, -1, -1, -1});   // the first two tokens stay
        for (std::size_t i = 8; i < v.d_logit.size(); ++i) CHECK(v.d_logit[i] == 0);  // whatever gradient is said to come by a dropped weight
        CHECK(v.d_logit[0] != 0);
    }
    const auto taken = decide(guild::expert_choice_gate{.factor = 2}, 4, 1, equal);  // 3 of 6 tokens each
    for (std::size_t t = 0; t < 6; ++t)
        for (std::size_t e = 0; e < 4; ++e) CHECK((taken.expert[4 * t + e] == static_cast<int>(e)) == (t < 3));
}

TEST_CASE("a second choice takes the place of a later token's first") {
    // both tokens want expert 0: the first as its second choice
    const std::vector<float> logit{1, 2, 0, 2, 0, 1};
    struct bounded {
        guild::capacity bound;
        constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
    };
    CHECK(decide(bounded{{1, guild::rounding::up, guild::priority::choice, 0, 1}}, 3, 2, logit).expert == std::vector{1, -1, 0, 2});
    CHECK(decide(bounded{{1, guild::rounding::up, guild::priority::position, 0, 1}}, 3, 2, logit).expert == std::vector{1, 0, -1, 2});
}

TEST_CASE("a small batch has no capacity at all and everything is dropped") {
    for (const auto round : {guild::rounding::up, guild::rounding::nearest, guild::rounding::share_up})
        CHECK(guild::capacity{1.25, round, guild::priority::choice, round == guild::rounding::nearest ? 1 : 0}.room(1, 64, 1) >= 1);
    CHECK(guild::capacity{1.25, guild::rounding::down}.room(1, 64, 1) == 0);  // as published, where it is asked for
    CHECK(guild::capacity{}.room(0, 64, 1) == 0);
}
