#include <guild/guild.hpp>

// What has a default is one where nothing is said: `guild::weights<mine> w;` as a member of an aggregate, an argument `{}`.
namespace {
using namespace guild;

template <class T> concept by_default = requires(void (*f)(T)) { f({}); }
&&std::is_default_constructible_v<T>;
template <class... T> constexpr bool all = (by_default<T> && ...);

struct small : model<config{.hidden = 4, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}> {};
static_assert(all<weights<small>, weights<small, bf16>, weights<small, int8>, weights<dynamic_model<mixtral_gate>>, weights_view<float>>);
static_assert(all<workspace<float>, tape<double>, batch, load, view<float>, stack<float>, telemetry, small, dynamic_model<mixtral_gate>>);
static_assert(all<backend::eigen<>, backend::reference, serial, config, segmented, passive>);
static_assert(all<top_k, selection_bias, load_penalty, group_limit, everyone, positive, hash_table, weigh_one, expert_scale, random_second,
                  sampled_second, capacity, heterogeneous_capacity, device_capacity, expert_choice, balanced_assignment, joint_shared, router_bias,
                  gating_residual, learned_noise, hierarchy, cosine, sparse_mixer, score<softmax>, weigh<unit_sum>, change_logits<soft_cap>>);
static_assert(all<bias_balance, proportional_bias_balance, load_average, no_balance, z_loss, scheduled<z_loss, warm_up>,
                  scheduled<bias_balance, step_decay>, rms_input, jitter_input, swiglu, clamped_swiglu, plain_shared, gated_shared>);

struct trainer {
    weights<small> w, gradients{};
    workspace<float> ws;
    backend::eigen<> by{};
    balanced_assignment assigned{};
};
[[maybe_unused]] trainer made() { return {}; }
}  // namespace
