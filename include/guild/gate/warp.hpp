#pragma once
#include <guild/gate/pipeline.hpp>

/// The gate of one token on one warp: the body of the CUDA kernels. The stages are those of the CPU.
namespace guild::inline v0::gate {

namespace detail {
/// f(i) for each extra logit of this lane.
template <class Thread, class Extent, class F> GUILD_HOST_DEVICE void each_extra(const Thread& thread, Extent n, F f) {
    if constexpr (Extent::max_extra > 0)
        for (int i = static_cast<int>(thread.lane()); i < n.extra; i += 32) f(i);
}
template <class Row, class Thread, class Extent> GUILD_HOST_DEVICE Row load_warp(const Thread& thread, Extent n, const float* logit) {
    Row r;
    r.n = n;
    r.lanes.thread = &thread;
    r.each([&](int e) {
        r.score[e] = logit[e];
        r.bias[e] = 0;
    });
    each_extra(thread, n, [&](int i) { r.extra[i] = logit[n.experts + i]; });
    for (int k = 0; k < n.slots; ++k) {
        r.expert[k] = no_expert;
        r.weight[k] = 0;
    }
    return r;
}
}  // namespace detail

/// logit [P] -> expert [W], weight [W] of token t.
template <class Thread, class Pipeline, class Extent>
GUILD_HOST_DEVICE void forward_warp(const Thread& thread, const Pipeline& stages, Extent n, const token<float>& t, const float* logit, int* expert,
                                    float* weight) {
    auto r = detail::load_warp<row<float, Extent, warp_lanes<Thread>>>(thread, n, logit);
    stages.forward(t, r);
    if (thread.lane() == 0)
        for (int k = 0; k < n.slots; ++k) {
            expert[k] = r.expert[k];
            weight[k] = r.expert[k] == no_expert ? 0 : r.weight[k];
        }
}

/// d_weight [W], d_score [E] or null -> d_logit [P] +=, d_learned [L] +=, d_previous [E] += or null; recomputes the row from its logits.
template <class Thread, class Pipeline, class Extent>
GUILD_HOST_DEVICE void backward_warp(const Thread& thread, const Pipeline& stages, Extent n, const token<float>& t, const float* logit,
                                     const float* d_weight, const float* d_score, float* d_logit, float* d_learned, float* d_previous = nullptr) {
    using Row = row<float, Extent, warp_lanes<Thread>>;
    const Row r = detail::load_warp<Row>(thread, n, logit);
    row_gradient<Row> g;
    static_cast<Row&>(g) = r;
    g.learned = d_learned;
    g.previous = d_previous;
    g.each([&](int e) { g.score[e] = 0; });
    detail::each_extra(thread, n, [&](int i) { g.extra[i] = 0; });
    for (int k = 0; k < n.slots; ++k) g.weight[k] = d_weight[k];
    stages.backward(t, r, g, d_score);
    g.each([&](int e) { d_logit[e] += g.score[e]; });
    detail::each_extra(thread, n, [&](int i) { d_logit[n.experts + i] += g.extra[i]; });
}

}  // namespace guild::inline v0::gate
