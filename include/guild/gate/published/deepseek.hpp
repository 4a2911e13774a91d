#pragma once
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/choose.hpp>
#include <guild/gate/stage/group_limit.hpp>
#include <guild/gate/stage/scores.hpp>
#include <guild/gate/stage/weigh.hpp>

/// DeepSeek's routers, one struct each: the members are the numbers that a checkpoint states, stages() is the algorithm.
namespace guild::inline v0 {

/// DeepSeekMoE, arXiv:2401.06066, eq. 9-11: raw softmax probabilities of the K best. Also OLMoE, Qwen1.5-MoE, Qwen2-MoE.
struct deepseek_moe_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}}; }
};

/// DeepSeek-V2, arXiv:2405.04434, section 2.2.2 and released code: groups by their best expert, those left out rank as 0, raw
/// probabilities times `scale`.
struct deepseek_v2_gate {
    /// n_group and topk_group: equal runs of experts, and how many of them a token reaches.
    int groups = 8, keep = 3;
    double scale = 16;  ///< routed_scaling_factor
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, group_limit{.groups = groups, .keep = keep, .by = group_score::max, .fill = 0}, top_k{},
                        weigh{times{scale}}};
    }
};

/// DeepSeek-V2-Lite, arXiv:2405.04434, appendix B: no groups, scale 1.
struct deepseek_v2_lite_gate {
    double scale = 1;  ///< routed_scaling_factor
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{times{scale}}}; }
};

/// DeepSeek-V3, arXiv:2412.19437, eq. 12-16 and released code: sigmoid scores, ranked with a bias, groups by the sum of their
/// two best, weights normalised and scaled. Kimi-K2, GLM-4.5, Moonlight: one group and their own scale.
struct deepseek_v3_gate {
    /// n_group and topk_group: equal runs of experts, and how many of them a token reaches.
    int groups = 8, keep = 4;
    double scale = 2.5;  ///< routed_scaling_factor
    constexpr auto stages() const {
        return pipeline{score{sigmoid{}}, selection_bias{},       group_limit{.groups = groups, .keep = keep, .by = group_score::top2_sum},
                        top_k{},          weigh{unit_sum{1e-20}}, weigh{times{scale}}};
    }
};

/// DeepSeek-V3.2: its attention differs, its router does not.
using deepseek_v32_gate = deepseek_v3_gate;

/// DeepSeek-V4 outside its hash layers: sqrt(softplus) scores, ranked with a bias, normalised and scaled.
struct deepseek_v4_gate {
    double scale = 1.5;  ///< times the normalised weights
    constexpr auto stages() const { return pipeline{score{sqrt_softplus{}}, selection_bias{}, top_k{}, weigh{unit_sum{1e-20}}, weigh{times{scale}}}; }
};
/// DeepSeek-V4's hash layers: the token id decides, the scores only weigh.
struct deepseek_v4_hash_gate {
    double scale = 1.5;  ///< times the normalised weights
    constexpr auto stages() const { return pipeline{score{sqrt_softplus{}}, hash_table{}, weigh{unit_sum{1e-20}}, weigh{times{scale}}}; }
};

}  // namespace guild::inline v0
