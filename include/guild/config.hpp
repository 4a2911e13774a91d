#pragma once

namespace guild::inline v0 {

/// The numbers of a mixture. Letters used everywhere: H hidden, F expert_hidden, E routed_experts, K top_k, S shared_experts.
struct config {
    int hidden;                ///< H: width of the residual stream (d_model)
    int expert_hidden;         ///< F: intermediate width of one routed expert
    int routed_experts;        ///< E
    int top_k;                 ///< K: experts chosen per token
    int shared_experts = 0;    ///< S: experts that every token passes through
    int shared_hidden = 0;     ///< width of the shared network; 0: S F
    bool expert_bias = false;  ///< routed experts add a bias after each matrix
    bool shared_bias = false;  ///< the shared network does

    constexpr bool operator==(const config&) const = default;
    /// Width of the shared network, all shared experts side by side; 0 if there is none.
    constexpr int shared_width() const { return shared_hidden > 0 ? shared_hidden : shared_experts * expert_hidden; }
};

/// The same in the words of DeepSeekMoE (arXiv:2401.06066, section 3): N experts of width ffn_hidden of which top_k are
/// chosen, each cut into m segments, K_s of the segments shared:
///
///     E = m N - K_s        K = m top_k - K_s        F = ffn_hidden / m        S = K_s
struct segmented {
    int hidden;        ///< H
    int ffn_hidden;    ///< width of one expert before it is cut
    int experts;       ///< N, before they are cut
    int top_k;         ///< experts chosen per token, of the N
    int segments = 1;  ///< m
    int shared = 0;    ///< K_s

    constexpr bool operator==(const segmented&) const = default;
    /// Fits if m divides ffn_hidden; otherwise the width is 0, which no model accepts.
    constexpr operator config() const {
        const bool whole = segments >= 1 && ffn_hidden % segments == 0;
        return {.hidden = hidden,
                .expert_hidden = whole ? ffn_hidden / segments : 0,
                .routed_experts = segments * experts - shared,
                .top_k = segments * top_k - shared,
                .shared_experts = shared};
    }
};

}  // namespace guild::inline v0
