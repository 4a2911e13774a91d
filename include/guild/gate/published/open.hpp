#pragma once
#include <guild/gate/input.hpp>
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/choose.hpp>
#include <guild/gate/stage/group_limit.hpp>
#include <guild/gate/stage/joint_shared.hpp>
#include <guild/gate/stage/logits.hpp>
#include <guild/gate/stage/normalise.hpp>
#include <guild/gate/stage/scores.hpp>
#include <guild/gate/stage/sparse_mixer.hpp>
#include <guild/gate/stage/weigh.hpp>

/// Routers of open models other than DeepSeek's, one struct each, as their released code computes them. Where a model is named without a
/// struct of its own, its computation is that of the struct.
namespace guild::inline v0 {

/// Mixtral, arXiv:2401.04088, eq. 2: softmax over the K best logits, so that no probability underflows before it is needed.
struct mixtral_gate {
    constexpr auto stages() const { return pipeline{top_k{}, weigh{softmax{}}}; }
};

/// Qwen3-MoE, arXiv:2505.09388: softmax over all, the K best normalised to 1. Mixtral's weights, by another road.
struct qwen3_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}}; }
};

/// Qwen1.5-MoE, Qwen2-MoE (with guild::gated_shared), OLMoE, Jamba: softmax over all, raw probabilities. DeepSeekMoE's.
struct qwen2_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}}; }
};
/// OLMoE: Qwen2's, softmax over all, raw probabilities.
using olmoe_gate = qwen2_gate;
/// Jamba: Qwen2's, softmax over all, raw probabilities.
using jamba_gate = qwen2_gate;
/// MiniMax-01: Qwen3's, softmax over all, the K best normalised to 1.
using minimax_gate = qwen3_gate;
/// Hunyuan: Qwen3's, softmax over all, the K best normalised to 1.
using hunyuan_gate = qwen3_gate;
/// Granite-MoE, Aria, JetMoE: Mixtral's, softmax over the K best logits.
using granite_gate = mixtral_gate;

/// DBRX: raw softmax divided by its L_p norm over the chosen.
struct dbrx_gate {
    double p = 1;  ///< of the norm
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{unit_norm{p}}}; }
};
/// GPT-OSS: a learned bias on the logits, softmax over the chosen.
struct gpt_oss_gate {
    constexpr auto stages() const { return pipeline{router_bias{}, top_k{}, weigh{softmax{}}}; }
};
/// Llama 4: sigmoid of the best logit, applied to what the expert reads, not to what it returns.
struct llama4_gate {
    static constexpr bool weighs_input = true;
    constexpr auto stages() const { return pipeline{top_k{}, weigh{sigmoid{}}}; }
};
/// Ernie 4.5: softmax, ranked with a bias, over the sum but at least `floor`.
struct ernie_gate {
    double floor = 1e-12;  ///< least divisor of the weights
    constexpr auto stages() const { return pipeline{score{softmax{}}, selection_bias{}, top_k{}, weigh{unit_max{floor}}}; }
};
/// GLM-4.5, dots1, Kimi-K2 (scale 2.827), Moonlight (2.446): DeepSeek-V3's with one group.
struct glm4_gate {
    double scale = 2.5;  ///< routed_scaling_factor
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, selection_bias{}, top_k{}, weigh{unit_sum{1e-20}}, weigh{times{scale}}}; }
};
/// dots1: GLM-4.5's, with the same scale.
using dots1_gate = glm4_gate;
/// Kimi-K2: DeepSeek-V3's with one group and a scale of its own.
struct kimi_k2_gate {
    double scale = 2.827;  ///< routed_scaling_factor
    constexpr auto stages() const { return glm4_gate{scale}.stages(); }
};
/// Moonlight: DeepSeek-V3's with one group and a scale of its own.
struct moonlight_gate {
    double scale = 2.446;  ///< routed_scaling_factor
    constexpr auto stages() const { return glm4_gate{scale}.stages(); }
};
/// MiniMax-M2: the same without epsilon and scale.
struct minimax_m2_gate {
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, selection_bias{}, top_k{}, weigh{unit_sum{}}}; }
};
/// LFM2-MoE.
struct lfm2_gate {
    double scale = 1;  ///< times the normalised weights
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, selection_bias{}, top_k{}, weigh{unit_sum{1e-6}}, weigh{times{scale}}}; }
};
/// Muse Spark: logits times a constant; projections and norms around its experts are not part of a router.
struct muse_spark_gate {
    /// Of the logits, and of the normalised weights.
    double multiplier = 0.5, scale = 1.5;
    constexpr auto stages() const {
        return pipeline{change_logits{times{multiplier}}, score{sigmoid{}}, selection_bias{}, top_k{}, weigh{unit_sum{1e-15}}, weigh{times{scale}}};
    }
};
/// Laguna: logits bounded by tanh.
struct laguna_gate {
    /// Bound of the logits, and factor of the normalised weights.
    double cap = 1.5, scale = 1.25;
    constexpr auto stages() const {
        return pipeline{change_logits{soft_cap{cap}}, score{sigmoid{}}, selection_bias{}, top_k{}, weigh{unit_sum{}}, weigh{times{scale}}};
    }
};
/// Kolibri 1: logits plus bias rank, the sigmoids of the chosen logits weigh.
struct kolibri_gate {
    constexpr auto stages() const { return pipeline{selection_bias{}, top_k{}, weigh{sigmoid{}}, weigh{unit_sum{}}}; }
};
/// Flint: sigmoid, normalised.
struct flint_gate {
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, top_k{}, weigh{unit_sum{}}}; }
};
/// Inkling: the chosen and the shared experts divide one sum of sigmoids.
struct inkling_gate {
    static constexpr bool weighs_shared = true;
    int shared = 1;    ///< shared experts that take part
    double scale = 1;  ///< what all weights of a token sum to
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, selection_bias{}, top_k{}, joint_shared{shared, scale}}; }
};
/// Gemma 4: a norm of its own before the router, Qwen3's weights, times a learned number per expert.
struct gemma4_gate {
    constexpr auto input() const { return rms_input{}; }
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}, expert_scale{}}; }
};
/// Mistral 4: softmax, groups by their two best, those left out rank as 0, normalised and scaled.
struct mistral4_gate {
    /// Equal runs of experts, and how many of them a token reaches.
    int groups = 1, keep = 1;
    double scale = 1;  ///< times the normalised weights
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, group_limit{.groups = groups, .keep = keep, .by = group_score::top2_sum, .fill = 0}, top_k{},
                        weigh{unit_sum{1e-20}}, weigh{times{scale}}};
    }
};
/// LongCat-Flash, arXiv:2509.01322: softmax over real and zero-computation experts (guild::passive), ranked with a bias, scaled.
struct longcat_gate {
    double scale = 6;  ///< times the raw probabilities
    constexpr auto stages() const { return pipeline{score{softmax{}}, selection_bias{}, top_k{}, weigh{times{scale}}}; }
};
/// ReMoE, arXiv:2412.14711: every expert with a positive logit, weighed by it.
struct remoe_gate {
    constexpr auto stages() const { return pipeline{score{rectify{}}, positive{}}; }
};
/// Phi-3.5-MoE: SparseMixer-v2.
struct phi_moe_gate {
    double jitter = 0.01;  ///< of sparse_mixer
    constexpr auto stages() const { return pipeline{sparse_mixer{jitter}}; }
};

}  // namespace guild::inline v0
