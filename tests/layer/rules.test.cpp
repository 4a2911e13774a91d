#include <support/products.hpp>
#include <support/policies.hpp>

#include <doctest/doctest.h>

#include <limits>

// Every rule of guild/rules.hpp broken in a dynamic_model: an argument_error with the sentence that a compiler shows for a model
// (compile_fail/rules.cpp), and what was found.

namespace {
using namespace guild;

constexpr int most = std::numeric_limits<int>::max();
constexpr double infinite = std::numeric_limits<double>::infinity(), no_number = std::numeric_limits<double>::quiet_NaN();
constexpr config good{.hidden = 4, .expert_hidden = 3, .routed_experts = 8, .top_k = 2, .shared_experts = 1};

template <class Model> std::string broken(const Model& m) {
    try {
        m.check();
    } catch (const argument_error& e) { return e.what(); }
    return "nothing";
}
/// What the gate says of good numbers.
template <class Gate, class... Rest> std::string gate_broken(const Gate& gate = {}, config c = good) {
    return broken(dynamic_model<Gate, Rest...>{.config = c, .gate = gate});
}

struct twice_across_gate {
    constexpr auto stages() const { return pipeline{top_k{}, capacity{}, device_capacity{}}; }
};
struct twice_extra_gate {
    constexpr auto stages() const { return pipeline{learned_noise{}, hierarchy{}, top_k{}}; }
};
/// Asks for any numbers.
struct asks {
    int l = 0, s = 0, w = 1, x = 0;
    int learned(int) const { return l; }
    int state(int) const { return s; }
    int slots(int, int) const { return w; }
    int extra(int) const { return x; }
    void forward(const auto&, auto&) const {}
};
struct asking_gate {
    asks stage{};
    constexpr auto stages() const { return pipeline{stage, top_k{}}; }
};
struct no_input_gate : mixtral_gate {
    constexpr int input() const { return 1; }
};
struct odd_gate : mixtral_gate {
    int odd = 1;
    constexpr bool valid() const { return odd % 2 == 0; }
};
struct odd_shared : plain_shared {
    static constexpr bool valid() { return false; }
};
struct filled_gate {
    double fill = 0;
    constexpr auto stages() const { return pipeline{group_limit{.groups = 2, .keep = 1, .fill = fill}, top_k{}}; }
};
struct gating_gate {
    constexpr auto stages() const { return pipeline{gating_residual{}, top_k{}}; }
};
}  // namespace

TEST_CASE("rules: config and passive experts") {
    using gated = dynamic_model<deepseek_v3_gate, swiglu, gated_shared, 12>;
    const gated sound{.config = good, .gate = {.groups = 2, .keep = 1}};
    sound.check();
    const auto refused = [&](const std::string& text, auto change) {
        gated m = sound;
        change(m);
        CHECK(broken(m) == text);
        CHECK_THROWS_WITH_AS(weights<gated>{m}, text.c_str(), argument_error);
        CHECK_THROWS_WITH_AS((layer<gated>{weights_view<float>{}, m}), text.c_str(), argument_error);
    };
    const std::string width = "guild::config: .expert_hidden must be at least 1 (guild::segmented: .segments must divide .ffn_hidden), found ";
    refused("guild::config: .hidden must be at least 1, found 0", [](auto& m) { m.config.hidden = 0; });
    refused(width + "-1", [](auto& m) { m.config.expert_hidden = -1; });
    refused(width + "0", [](auto& m) { m.config = segmented{.hidden = 4, .ffn_hidden = 10, .experts = 4, .top_k = 2, .segments = 4}; });
    refused("guild::config: .routed_experts must be at least 1, found 0", [](auto& m) { m.config.routed_experts = 0; });
    refused("guild::config: .shared_experts must not be negative, found -2", [](auto& m) { m.config.shared_experts = -2; });
    refused("guild::config: .shared_hidden must not be negative, found -1", [](auto& m) { m.config.shared_hidden = -1; });
    refused("guild::config: .shared_experts times .expert_hidden must fit in an int, found 6442450941",
            [](auto& m) { m.config.shared_experts = most; });
    refused("guild::passive: .zero must not be negative, found -1", [](auto& m) { m.passive.zero = -1; });
    refused("guild::passive: .identity must not be negative, found -1", [](auto& m) { m.passive.identity = -1; });
    refused("guild::passive: .constant must not be negative, found -1", [](auto& m) { m.passive.constant = -1; });
    refused("guild::passive: .blend must not be negative, found -1", [](auto& m) { m.passive.blend = -1; });
    refused("guild::passive: its experts and their learned vectors must fit in an int, found 4294967294",
            [](auto& m) { m.passive = {.zero = most, .identity = most}; });
    refused("guild::passive: its experts and their learned vectors must fit in an int, found 1000000000",
            [](auto& m) { m.passive.blend = 1000000000; });
    refused("guild::config: .routed_experts (plus passive experts) must fit in an int, found 2147483655", [](auto& m) { m.passive.zero = most; });
    refused("guild::config: .top_k must be at least 1, found 0", [](auto& m) { m.config.top_k = 0; });
    refused("guild::config: .top_k must be at most .routed_experts (plus passive experts), found 9 of 8", [](auto& m) { m.config.top_k = 9; });
    refused("guild::model: a learned shared policy needs .shared_experts or .shared_hidden, found 0", [](auto& m) { m.config.shared_experts = 0; });
}

TEST_CASE("rules: MaxExperts bounds experts, extra logits and slots") {
    using narrow = dynamic_model<mixtral_gate, swiglu, plain_shared, 8>;
    const auto of = [](int experts, int zero) {
        config c = good;
        c.routed_experts = experts;
        return broken(narrow{.config = c, .passive = {.zero = zero}});
    };
    const std::string text = "guild::dynamic_model: .routed_experts (plus passive experts) must be at most MaxExperts, found ";
    CHECK(of(8, 0) == "nothing");
    CHECK(of(6, 2) == "nothing");
    CHECK(of(9, 0) == text + "9, MaxExperts 8");
    CHECK(of(6, 3) == text + "9, MaxExperts 8");
    CHECK(broken(dynamic_model<mixtral_gate>{.config = {.hidden = 4, .expert_hidden = 3, .routed_experts = 512, .top_k = 2}}) == "nothing");
    CHECK(broken(dynamic_model<mixtral_gate>{.config = {.hidden = 4, .expert_hidden = 3, .routed_experts = 513, .top_k = 2}}) ==
          text + "513, MaxExperts 512");

    using asking = dynamic_model<asking_gate, swiglu, plain_shared, 8>;
    const auto asked = [](asks a) { return broken(asking{.config = good, .gate = {a}}); };
    CHECK(asked({.w = 8, .x = 8}) == "nothing");
    CHECK(asked({.x = 9}) == "guild::dynamic_model: extra logits of the gate must be at most MaxExperts, found 9, MaxExperts 8");
    CHECK(asked({.w = 9}) == "guild::dynamic_model: slots of a token must be at most MaxExperts, found 9, MaxExperts 8");
}

TEST_CASE("rules: the gate") {
    const std::string misfit =
                          "guild::model: a stage of the gate does not fit .routed_experts and .top_k, or has a number that cannot be used, found ",
                      negative = "guild::model: stages of the gate ask for negative numbers of logits, learned numbers or state, found ";
    const auto begins = [](const std::string& text, const std::string& with) { return text.starts_with(with); };
    CHECK(gate_broken<twice_across_gate>() == "guild::model: at most one stage of the gate may look across tokens (decide), found 2");
    CHECK(begins(gate_broken<deepseek_v3_gate>({.groups = 3, .keep = 2}), misfit));
    const std::string found = gate_broken<deepseek_v3_gate>({.groups = 3, .keep = 2});
    CHECK(found.find("group_limit with 8 experts and .top_k 2") != std::string::npos);
    CHECK(begins(gate_broken<deepseek_v3_gate>({.groups = 1, .keep = 1, .scale = infinite}), misfit));
    CHECK(begins(gate_broken<deepseek_v3_gate>({.groups = 1, .keep = 1, .scale = no_number}), misfit));
    CHECK(begins(gate_broken<filled_gate>({.fill = no_number}), misfit));
    CHECK(begins(gate_broken<cosine_gate>({.dimension = 1 << 30}), misfit));
    CHECK(gate_broken<filled_gate>({.fill = -infinite}) == "nothing");
    const config wide{.hidden = 1, .expert_hidden = 1, .routed_experts = 46341, .top_k = 1};
    CHECK(begins(broken(dynamic_model<gating_gate, swiglu, plain_shared, 50000>{.config = wide}), misfit));
    CHECK(gate_broken<twice_extra_gate>() == "guild::model: at most one stage of the gate may have logits of its own (extra), found 2");
    CHECK(gate_broken<asking_gate>({{.x = -1}}) == negative + "-1, 0 and 0");
    CHECK(gate_broken<asking_gate>({{.l = -1}}) == negative + "0, -1 and 0");
    CHECK(gate_broken<asking_gate>({{.s = -1}}) == negative + "0, 0 and -1");
    CHECK(gate_broken<asking_gate>({{.w = 0}}) == "guild::model: a stage of the gate must leave a token at least one slot, found 0");
    CHECK(gate_broken<no_input_gate>() == "guild::model: input() of the gate is no input policy (forward, backward), found 1");
}

TEST_CASE("rules: numbers of policies") {
    const std::string text = "guild::model: a policy has a number that is not finite or out of its range, found ";
    const auto names = [&](const std::string& found, const std::string& type) { return found.starts_with(text) && found.ends_with(type); };
    for (const double limit : {-1., 0., infinite, no_number}) {
        CAPTURE(limit);
        CHECK(names(broken(dynamic_model<mixtral_gate, clamped_swiglu>{.config = good, .activation = {.limit = limit}}), "clamped_swiglu"));
    }
    for (const double rate : {infinite, -infinite, no_number}) {
        CAPTURE(rate);
        CHECK(names(broken(dynamic_model<deepseek_v3_gate>{.config = good, .gate = {.groups = 1, .keep = 1}, .balancer = {.rate = rate}}),
                    "bias_balance"));
        CHECK(names(gate_broken<switch_capacity_gate>({.jitter = rate}, {.hidden = 4, .expert_hidden = 3, .routed_experts = 8, .top_k = 1}),
                    "jitter_input"));
    }
    CHECK(names(gate_broken<odd_gate>(), "odd_gate"));
    CHECK(gate_broken<odd_gate>({{}, 2}) == "nothing");
    CHECK(names(broken(dynamic_model<mixtral_gate, swiglu, odd_shared>{.config = good}), "odd_shared"));
}

TEST_CASE("rules: shared experts that the gate weighs") {
    const auto with = [](config c, int shared) { return gate_broken<inkling_gate>({.shared = shared}, c); };
    config c = good;
    CHECK(with(c, 1) == "nothing");
    c.shared_bias = true;
    CHECK(with(c, 1) == "guild::model: shared experts that the gate weighs have no .shared_bias, found .shared_bias");
    const std::string other = "guild::model: the gate weighs another number of shared experts than .shared_experts, found ";
    CHECK(with(good, 2) == other + "2, .shared_experts 1");
    c = good;
    c.shared_experts = 0;
    CHECK(with(c, 1) == other + "1, .shared_experts 0");
    c.shared_experts = 2, c.shared_hidden = 5;
    CHECK(with(c, 2) ==
          "guild::model: .shared_hidden must be a multiple of .shared_experts where the gate weighs these one by one, found 5, .shared_experts 2");
    c.shared_hidden = 6;
    CHECK(with(c, 2) == "nothing");
}

TEST_CASE("rules: a loss that is measured") {
    struct small : model<good> {};
    const auto w = random_weights<small>(1);
    const layer<small> one{w};
    Eigen::Matrix<float, 3, 4, Eigen::RowMajor> x = decltype(x)::Constant(1), y;
    tape<float> tp;
    one.forward(x, y, tp);
    const auto refused = [&](const auto& loss) { CHECK_THROWS_AS(one.measure(loss, tp), argument_error); };
    refused(z_loss{.weight = infinite});
    refused(importance_loss{.epsilon = no_number});
    refused(importance_loss{.epsilon = -1});
    refused(heterogeneous_loss{.ratio = -1});
    refused(heterogeneous_loss{.ratio = infinite});
    refused(heterogeneous_loss{.zero_computation = -1});
    refused(noisy_load_loss{.noise = {-1}});
    refused(noisy_load_loss{.epsilon = infinite});
    refused(device_loss{.devices = 3});
    refused(scheduled{z_loss{}, cosine_decay{.end = no_number}});
    refused(scheduled{importance_loss{.epsilon = -1}, constant_schedule{}});
    one.measure(scheduled{z_loss{}, cosine_decay{}}, tp);
}
