#pragma once
#include <guild/gate/input.hpp>
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/balanced_assignment.hpp>
#include <guild/gate/stage/choose.hpp>
#include <guild/gate/stage/expert_choice.hpp>
#include <guild/gate/stage/logits.hpp>
#include <guild/gate/stage/normalise.hpp>
#include <guild/gate/stage/weigh.hpp>

/// The routers that led to today's, one struct each, in the order of their years.
namespace guild::inline v0 {

/// Adaptive mixtures of local experts: every expert, weighed by softmax. Jacobs, Jordan, Nowlan & Hinton 1991, eq. 1.
struct dense_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, everyone{}}; }
};
/// Hierarchical mixtures of experts: a softmax over groups times one inside each. Jordan & Jacobs 1994.
struct hierarchical_gate {
    int groups = 2;  ///< equal runs of experts: divides E
    constexpr auto stages() const { return pipeline{hierarchy{groups}, everyone{}}; }
};
/// Noisy top-k, arXiv:1701.06538, eq. 3-5: softmax over the K best of logits with learned noise (in training).
struct noisy_top_k_gate {
    double floor = 1e-2;  ///< least deviation of the noise; 0 in the paper, 1e-2 in published code
    constexpr auto stages() const { return pipeline{learned_noise{floor}, top_k{}, weigh{softmax{}}}; }
};

/// GShard, arXiv:2006.16668, algorithm 1, without capacity: softmax, the two best normalised to 1. For top_k = 2.
struct gshard_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}}; }
};
/// GShard with capacity, as its algorithm 1: normalised before anything is dropped and never again; second choices queue behind all
/// first ones even if they are then not dispatched; in training the second is kept with probability 2 g2, g2 normalised.
/// With `per_sequence` each sequence of the batch is one of its local groups.
struct gshard_capacity_gate {
    double factor = 1;          ///< of the capacity K T / E
    bool per_sequence = false;  ///< capacity in each sequence by itself
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}, capacity{factor, rounding::up, priority::choice, 0, -1, per_sequence},
                        random_second{}};
    }
};
/// The same as fairseq and NLLB-MoE compute it: the raw probability is tested, seconds that are not dispatched do not queue, and the
/// weights are normalised over what survived.
struct fairseq_top2_gate {
    double factor = 1;  ///< of the capacity K ceil(T / E)
    int rows = -1;      ///< of an expert; < 0: by factor
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, top_k{}, random_second{}, capacity{factor, rounding::share_up, priority::choice, 0, rows},
                        weigh{unit_max{float_epsilon}}};
    }
};
/// NLLB-MoE, arXiv:2207.04672: fairseq's.
using nllb_gate = fairseq_top2_gate;
/// fairseq's with the second expert drawn from the probabilities of the others in training (moe-second-expert-policy sampling).
struct fairseq_sampled_top2_gate {
    double factor = 1;  ///< of the capacity K ceil(T / E)
    int rows = -1;      ///< of an expert; < 0: by factor
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, top_k{}, sampled_second{}, capacity{factor, rounding::share_up, priority::choice, 0, rows},
                        weigh{unit_max{float_epsilon}}};
    }
};
/// fairseq's with moe-normalize-gate-prob-before-dropping: normalised over both, then tested and dropped.
struct fairseq_top2_before_gate {
    double factor = 1;  ///< of the capacity K ceil(T / E)
    int rows = -1;      ///< of an expert; < 0: by factor
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, top_k{}, weigh{unit_max{float_epsilon}}, random_second{},
                        capacity{factor, rounding::share_up, priority::choice, 0, rows}};
    }
};
/// GLaM, arXiv:2112.06905: top-2 over gated experts, normalised (its text leaves the normalisation open; GShard's is assumed).
using glam_gate = gshard_gate;

/// Switch Transformer, arXiv:2101.03961, eq. 1-2, without capacity: the raw probability of the best. For top_k = 1: normalised, the
/// weight would be 1 and the router without gradient.
struct switch_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}}; }
};
/// The same with capacity, and jitter on the router's own copy of x in training.
struct switch_capacity_gate {
    /// Of the capacity T / E; x of the router times numbers in [1 - jitter, 1 + jitter).
    double factor = 1.25, jitter = 1e-2;
    int rows = -1;  ///< of an expert; < 0: by factor, at least 4
    constexpr auto input() const { return jitter_input{jitter}; }
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, capacity{factor, rounding::nearest, priority::choice, 4, rows}}; }
};

/// Hash layers, arXiv:2106.04426: experts by token id, weight 1. For any top_k.
struct hash_gate {
    constexpr auto stages() const { return pipeline{hash_table{}, weigh_one{}}; }
};
/// BASE layers, arXiv:2103.16716: balanced assignment in training, the best in evaluation; weight sigmoid(logit). With
/// residual::complement where the expert carries no residual of its own. For top_k = 1.
struct base_gate {
    constexpr auto stages() const { return pipeline{top_k{}, balanced_assignment{}, weigh{sigmoid{}}}; }
};
/// Expert choice, arXiv:2202.09368, eq. 1-2: each expert takes its best tokens.
struct expert_choice_gate {
    double factor = 2;  ///< rows of an expert over T / E: experts of a token on average
    int rows = -1;      ///< of an expert; < 0: by factor
    constexpr auto stages() const { return pipeline{score{softmax{}}, expert_choice{factor, rows}}; }
};

}  // namespace guild::inline v0
