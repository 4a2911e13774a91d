#pragma once
#include <guild/balance/bias.hpp>
#include <guild/balance/losses.hpp>
#include <guild/gate/published/gates.hpp>
#include <guild/model.hpp>

/// Published mixtures, one struct each: `guild::layer<guild::deepseek_moe_16b>` is the mixture layer of that model. Those of the
/// DeepSeekMoE paper carry its expert-level balance loss and DeepSeek-V3 its balancer, with the published numbers; the others
/// carry none. Inference ignores both.
namespace guild::inline v0 {

// ---- the 2B models of the DeepSeekMoE paper, arXiv:2401.06066, section 4.1.3 and table 7 ----
// The paper gives their widths as ratios of a standard network, which with SwiGLU and 8 H^2 numbers is 8/3 H = 3413.3 wide.
// Here it is 3412, the nearest multiple of the 4 segments: experts of 853, and the same number of expert weights in all three.

/// DeepSeekMoE 2B: 16 standard experts cut in 4, one of the 64 shared (1 + 7 of 63); alpha_1 = 0.01.
struct deepseek_moe_2b : model<segmented{.hidden = 1280, .ffn_hidden = 3412, .experts = 16, .top_k = 2, .segments = 4, .shared = 1},
                               deepseek_moe_gate{}, expert_loss{.weight = 0.01}> {};
/// GShard of the same size, 2 of 16. The paper drops no token.
struct gshard_2b
    : model<config{.hidden = 1280, .expert_hidden = 3412, .routed_experts = 16, .top_k = 2}, gshard_gate{}, expert_loss{.weight = 0.01}> {};
/// Switch Transformer of the same size, 1 of 16.
struct switch_2b
    : model<config{.hidden = 1280, .expert_hidden = 3412, .routed_experts = 16, .top_k = 1}, switch_gate{}, expert_loss{.weight = 0.01}> {};

// ---- DeepSeek ----

/// DeepSeekMoE 16B: 27 of its 28 layers. arXiv:2401.06066, section 5.1; deepseek-ai/deepseek-moe-16b-base, config.json.
struct deepseek_moe_16b : model<config{.hidden = 2048, .expert_hidden = 1408, .routed_experts = 64, .top_k = 6, .shared_experts = 2},
                                deepseek_moe_gate{}, expert_loss{.weight = 0.001}> {};
/// DeepSeekMoE 145B: 61 of 62 layers. arXiv:2401.06066, section 6.1, which gives the width as 0.125 of a standard network (1365.3);
/// 1408 is the width that its parameter and FLOPs figures were computed with. Of its losses the expert-level one (alpha_1 = 0.003).
struct deepseek_moe_145b : model<config{.hidden = 4096, .expert_hidden = 1408, .routed_experts = 128, .top_k = 12, .shared_experts = 4},
                                 deepseek_moe_gate{}, expert_loss{.weight = 0.003}> {};
/// DeepSeek-V2-Lite: 26 of 27 layers. arXiv:2405.04434, appendix B; deepseek-ai/DeepSeek-V3, config_16B.json.
struct deepseek_v2_lite
    : model<config{.hidden = 2048, .expert_hidden = 1408, .routed_experts = 64, .top_k = 6, .shared_experts = 2}, deepseek_v2_lite_gate{.scale = 1}> {
};
/// DeepSeek-V2: 59 of 60 layers, 3 of 8 groups. arXiv:2405.04434, section 3.1.2; deepseek-ai/DeepSeek-V3, config_236B.json.
struct deepseek_v2 : model<config{.hidden = 5120, .expert_hidden = 1536, .routed_experts = 160, .top_k = 6, .shared_experts = 2},
                           deepseek_v2_gate{.groups = 8, .keep = 3, .scale = 16}> {};
/// DeepSeek-V3: 58 of 61 layers, 4 of 8 groups, balanced by the bias. arXiv:2412.19437, section 4.2 (gamma = 0.001); config_671B.json.
struct deepseek_v3 : model<config{.hidden = 7168, .expert_hidden = 2048, .routed_experts = 256, .top_k = 8, .shared_experts = 1},
                           deepseek_v3_gate{.groups = 8, .keep = 4, .scale = 2.5}, bias_balance{.rate = 0.001}> {};

// ---- others ----

/// Mixtral 8x7B: all 32 layers. arXiv:2401.04088, table 1; mistralai/Mixtral-8x7B-v0.1, config.json.
struct mixtral_8x7b : model<config{.hidden = 4096, .expert_hidden = 14336, .routed_experts = 8, .top_k = 2}, mixtral_gate{}> {};
/// Mixtral 8x22B: all 56 layers. mistralai/Mixtral-8x22B-v0.1, config.json.
struct mixtral_8x22b : model<config{.hidden = 6144, .expert_hidden = 16384, .routed_experts = 8, .top_k = 2}, mixtral_gate{}> {};
/// Qwen3-30B-A3B: all 48 layers. Qwen/Qwen3-30B-A3B, config.json.
struct qwen3_30b_a3b : model<config{.hidden = 2048, .expert_hidden = 768, .routed_experts = 128, .top_k = 8}, qwen3_gate{}> {};
/// Qwen3-235B-A22B: all 94 layers. Qwen/Qwen3-235B-A22B, config.json.
struct qwen3_235b_a22b : model<config{.hidden = 4096, .expert_hidden = 1536, .routed_experts = 128, .top_k = 8}, qwen3_gate{}> {};

}  // namespace guild::inline v0
