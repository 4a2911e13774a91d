// expect: guild::config: .hidden must be at least 1
// expect: guild::config: .expert_hidden must be at least 1 \(guild::segmented: .segments must divide .ffn_hidden\)
// expect: guild::config: .expert_hidden must be at least 1 \(guild::segmented: .segments must divide .ffn_hidden\)
// expect: guild::config: .routed_experts must be at least 1
// expect: guild::config: .shared_experts must not be negative
// expect: guild::config: .shared_hidden must not be negative
// expect: guild::config: .shared_experts times .expert_hidden must fit in an int
// expect: guild::passive: .zero must not be negative
// expect: guild::passive: .identity must not be negative
// expect: guild::passive: .constant must not be negative
// expect: guild::passive: .blend must not be negative
// expect: guild::passive: its experts and their learned vectors must fit in an int
// expect: guild::config: .routed_experts \(plus passive experts\) must fit in an int
// expect: guild::config: .top_k must be at least 1
// expect: guild::config: .top_k must be at most .routed_experts \(plus passive experts\)
// expect: guild::model: at most one stage of the gate may look across tokens \(decide\)
// expect: guild::model: a stage of the gate does not fit .routed_experts and .top_k, or has a number that cannot be used
// expect: guild::model: a stage of the gate does not fit .routed_experts and .top_k, or has a number that cannot be used
// expect: guild::model: at most one stage of the gate may have logits of its own \(extra\)
// expect: guild::model: stages of the gate ask for negative numbers of logits, learned numbers or state
// expect: guild::model: a stage of the gate must leave a token at least one slot
// expect: guild::model: input\(\) of the gate is no input policy \(forward, backward\)
// expect: guild::model: the balancer moves a selection bias, and the gate has none \(or load_average without load_penalty\)
// expect: guild::model: the balancer moves a selection bias, and the gate has none \(or load_average without load_penalty\)
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a policy has a number that is not finite or out of its range
// expect: guild::model: a balance loss does not fit the number of experts \(its .devices must divide them, .reach not exceed .devices\)
// expect: guild::model: a balance loss reads scores, and the gate has none \(it ranks logits\): take guild::top_k_balance_loss
// expect: guild::model: shared experts that the gate weighs have no .shared_bias
// expect: guild::model: the gate weighs another number of shared experts than .shared_experts
// expect: guild::model: .shared_hidden must be a multiple of .shared_experts where the gate weighs these one by one
// expect: guild::model: a learned shared policy needs .shared_experts or .shared_hidden
// expect: guild::model: an argument is no policy: not a gate \(stages\)
// expect: guild::model: more than one gate given
// expect: guild::model: more than one activation given
// expect: guild::model: more than one shared policy given
// expect: guild::model: more than one passive policy given
// expect: guild::model: more than one balancer given
// expect: guild::model: more than one residual given
#include <guild/balance/device_losses.hpp>
#include <guild/balance/load_average.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/schedule.hpp>
#include <guild/gate/stage/load_penalty.hpp>
#include <guild/model.hpp>

#include <limits>

// Every rule of a model, broken once; tests/layer/rules.test.cpp does the same at run time.
using namespace guild;
constexpr config good{.hidden = 8, .expert_hidden = 4, .routed_experts = 8, .top_k = 2, .shared_experts = 1};
constexpr int most = std::numeric_limits<int>::max();
constexpr double infinite = std::numeric_limits<double>::infinity(), no_number = std::numeric_limits<double>::quiet_NaN();
constexpr config with(auto change) {
    config c = good;
    change(c);
    return c;
}
template <class M> constexpr int defined = M::config.hidden + M::config.top_k;

struct hidden : model<with([](config& c) { c.hidden = 0; })> {};
struct width : model<with([](config& c) { c.expert_hidden = 0; })> {};
struct cut : model<segmented{.hidden = 8, .ffn_hidden = 10, .experts = 4, .top_k = 2, .segments = 4}> {};
struct no_experts : model<with([](config& c) { c.routed_experts = 0; })> {};
struct negative_shared : model<with([](config& c) { c.shared_experts = -1; })> {};
struct negative_width : model<with([](config& c) { c.shared_hidden = -1; })> {};
struct wide_shared : model<with([](config& c) { c.shared_experts = most; })> {};
struct negative_zero : model<good, passive{.zero = -1}> {};
struct negative_identity : model<good, passive{.identity = -1}> {};
struct negative_constant : model<good, passive{.constant = -1}> {};
struct negative_blend : model<good, passive{.blend = -1}> {};
struct many_vectors : model<good, passive{.blend = most / 2}> {};
struct many_experts : model<good, passive{.zero = most}> {};
struct no_choice : model<with([](config& c) { c.top_k = 0; })> {};
struct many_choices : model<with([](config& c) { c.top_k = 9; })> {};

struct twice_across {
    constexpr auto stages() const { return pipeline{top_k{}, capacity{}, device_capacity{}}; }
};
struct across : model<good, twice_across{}> {};
struct groups : model<good, deepseek_v3_gate{.groups = 3, .keep = 2}> {};
struct infinite_stage : model<good, deepseek_v3_gate{.groups = 1, .keep = 1, .scale = infinite}> {};
struct twice_extra {
    constexpr auto stages() const { return pipeline{learned_noise{}, hierarchy{}, top_k{}}; }
};
struct extras : model<good, twice_extra{}> {};
struct asks_for_less {
    static constexpr int learned(int) { return -1; }
    void forward(const auto&, auto&) const {}
};
struct negative_gate {
    constexpr auto stages() const { return pipeline{asks_for_less{}, top_k{}}; }
};
struct negative_numbers : model<good, negative_gate{}> {};
struct leaves_nothing {
    static constexpr int slots(int, int) { return 0; }
    void forward(const auto&, auto&) const {}
};
struct empty_gate {
    constexpr auto stages() const { return pipeline{leaves_nothing{}}; }
};
struct no_slots : model<good, empty_gate{}> {};
struct no_input_gate : mixtral_gate {
    constexpr int input() const { return 1; }
};
struct no_input : model<good, no_input_gate{}> {};
struct no_bias : model<good, mixtral_gate{}, bias_balance{}> {};
struct other_state : model<good, deepseek_v3_gate{.groups = 1, .keep = 1}, load_average{}> {};

struct odd_gate : mixtral_gate {
    static constexpr bool valid() { return false; }
};
struct odd_shared : plain_shared {
    static constexpr bool valid() { return false; }
};
struct unusable_gate : model<good, odd_gate{}> {};
struct unusable_input : model<good, switch_capacity_gate{.jitter = no_number}> {};
struct unusable_activation : model<good, clamped_swiglu{.limit = -1}> {};
struct unusable_shared : model<good, odd_shared{}> {};
struct unusable_balancer : model<good, deepseek_v3_gate{.groups = 1, .keep = 1}, bias_balance{.rate = no_number}> {};
struct unusable_loss : model<good, z_loss{.weight = infinite}> {};
struct unusable_schedule : model<good, scheduled{z_loss{}, cosine_decay{.end = infinite}}> {};
struct devices : model<good, communication_loss{.devices = 3}> {};
struct no_scores : model<good, mixtral_gate{}, expert_loss{}> {};

struct biased : model<with([](config& c) { c.shared_bias = true; }), inkling_gate{}> {};
struct other_number : model<good, inkling_gate{.shared = 2}> {};
struct odd_width : model<with([](config& c) { c.shared_experts = 2, c.shared_hidden = 5; }), inkling_gate{.shared = 2}> {};
struct nothing_shared : model<with([](config& c) { c.shared_experts = 0; }), gated_shared{}> {};

struct no_policy : model<good, 3> {};
struct two_gates : model<good, mixtral_gate{}, qwen3_gate{}> {};
struct two_activations : model<good, swiglu{}, geglu{}> {};
struct two_shared : model<good, plain_shared{}, gated_shared{}> {};
struct two_passive : model<good, passive{}, passive{.zero = 1}> {};
struct two_balancers : model<good, deepseek_v3_gate{.groups = 1, .keep = 1}, bias_balance{}, proportional_bias_balance{}> {};
struct two_residuals : model<good, residual::plain, residual::complement> {};
constexpr int all = defined<hidden> + defined<across> + defined<no_policy> + defined<two_gates>;
