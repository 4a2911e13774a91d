#include <support/gradient.hpp>

// Every published gate once, and among them every activation, both shared policies, biases, residuals, passive experts and losses.

namespace {
using guild::config, guild::model, guild::residual;

struct deepseek_moe
    : model<config{.hidden = 6, .expert_hidden = 5, .routed_experts = 7, .top_k = 3, .shared_experts = 1}, guild::expert_loss{.weight = 0.5}> {};
struct deepseek_v2 : model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 8, .top_k = 3, .expert_bias = true},
                           guild::deepseek_v2_gate{.groups = 4, .keep = 2}, guild::geglu{}, residual::plain> {};
struct deepseek_v2_lite : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 2, .shared_bias = true},
                                guild::deepseek_v2_lite_gate{.scale = 3}, guild::geglu_tanh{}, guild::z_loss{.weight = 0.5}> {};
struct deepseek_v3
    : model<config{.hidden = 5, .expert_hidden = 3, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
            guild::deepseek_v3_gate{.groups = 3, .keep = 2}, guild::reglu{}, guild::gated_shared{}, guild::bias_balance{}> {};
struct mixtral : model<config{.hidden = 5, .expert_hidden = 6, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate{}, guild::relu{},
                       guild::top_k_balance_loss{.weight = 0.5}> {};
struct qwen3 : model<config{.hidden = 4, .expert_hidden = 5, .routed_experts = 3, .top_k = 4, .shared_hidden = 7}, guild::qwen3_gate{},
                     guild::relu_squared{}, guild::passive{.zero = 1, .identity = 1, .constant = 2}, guild::expert_loss{.weight = 0.5}> {};
struct gshard : model<config{.hidden = 3, .expert_hidden = 4, .routed_experts = 5, .top_k = 2, .shared_experts = 1, .shared_bias = true},
                      guild::gshard_gate{}, guild::silu{}, residual::complement> {};
struct switch_transformer : model<config{.hidden = 4, .expert_hidden = 4, .routed_experts = 4, .top_k = 1, .expert_bias = true}, guild::switch_gate{},
                                  guild::gelu{}, residual::complement, guild::switch_loss{.weight = 0.5}, guild::expert_loss{}, guild::z_loss{}> {};
struct wide : model<config{.hidden = 3, .expert_hidden = 2, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, guild::gated_shared{},
                    guild::gelu_tanh{}> {};
}  // namespace

TEST_CASE_TEMPLATE("gradients of the published gates", Model, deepseek_moe, deepseek_v2, deepseek_v2_lite, deepseek_v3, mixtral, qwen3, gshard,
                   switch_transformer, wide) {
    for (const long T : {0, 1, 6}) test::check_gradients<Model>(T);
}

TEST_CASE_TEMPLATE("gradients with padded tokens", Model, deepseek_moe, qwen3, switch_transformer) {
    const bool some[] = {false, true, false, false, true, true}, all[] = {true, true};
    test::check_gradients<Model>(6, {.padding = some});
    test::check_gradients<Model>(2, {.padding = all});
}
