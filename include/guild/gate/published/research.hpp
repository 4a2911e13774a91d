#pragma once
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/cosine.hpp>
#include <guild/gate/stage/load_penalty.hpp>
#include <guild/gate/stage/logits.hpp>
#include <guild/gate/stage/normalise.hpp>
#include <guild/gate/stage/weigh.hpp>

/// Routers of papers rather than of open models, and one of this library, one struct each.
namespace guild::inline v0 {

/// Specialised routing with load balance, this library's own: affinity decides unless an expert has lately had its share. Softmax scores,
/// the K best by score less load_penalty, normalised. For experts that stay apart, with the losses orthogonality_loss (centroids) and
/// mutual_information_loss (certain for each token, even over all), and load_average as the balancer, moved by guild::rebalance.
///
///     struct mine : guild::model<numbers, guild::specialised_gate{}, guild::orthogonality_loss{}, guild::mutual_information_loss{},
///                                guild::load_average{}> {};
struct specialised_gate {
    /// The numbers of load_penalty.
    double strength = 1, sharpness = 4, capacity = 1.25;
    constexpr auto stages() const { return pipeline{score{softmax{}}, load_penalty{strength, sharpness, capacity}, top_k{}, weigh{unit_sum{}}}; }
};

/// MoE++, arXiv:2410.07348, eq. 1-8: softmax over feed-forward and zero-computation experts (guild::passive: zero, identity, blend), raw
/// probabilities of the K best, logits that look back at those of the layer before (workspace::passed). The model's first layer, which has
/// none, is moe_plus_plus_first_gate. Its balance loss is heterogeneous_loss, its capacity heterogeneous_capacity, a stage after top_k; its
/// released code differs from the paper: it takes no weight for the zero expert, normalises the rest, and multiplies what experts read by K.
struct moe_plus_plus_gate {
    constexpr auto stages() const { return pipeline{gating_residual{}, score{softmax{}}, top_k{}}; }
};
/// The router of MoE++'s first layer: softmax, raw probabilities of the K best.
struct moe_plus_plus_first_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}}; }
};

/// Tutel's cosine router: softmax of cosines over a learned temperature, the K best normalised. For top_k > 1.
struct cosine_gate {
    int dimension = 256;    ///< d of the projection
    double coldest = 0.01;  ///< least temperature
    constexpr auto stages() const { return pipeline{cosine{dimension, true, coldest}, score{softmax{}}, top_k{}, weigh{unit_max{float_epsilon}}}; }
};
/// X-MoE, arXiv:2204.09179: the raw probability of the best, a projection without bias. For top_k = 1.
struct xmoe_gate {
    int dimension = 16;     ///< d of the projection
    double coldest = 0.01;  ///< least temperature
    constexpr auto stages() const { return pipeline{cosine{dimension, false, coldest}, score{softmax{}}, top_k{}}; }
};

}  // namespace guild::inline v0
