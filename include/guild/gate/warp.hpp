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

/// logit [P] -> expert [W], weight [W] of token t, and where the gate gives shared experts theirs, shared [X]; null: nobody asks.
template <class Thread, class Pipeline, class Extent>
GUILD_HOST_DEVICE void forward_warp(const Thread& thread, const Pipeline& stages, Extent n, const token<float>& t, const float* logit, int* expert,
                                    float* weight, float* shared = nullptr) {
    auto r = detail::load_warp<row<float, Extent, warp_lanes<Thread>>>(thread, n, logit);
    stages.forward(t, r);
    if (thread.lane() == 0)
        for (int k = 0; k < n.slots; ++k) {
            expert[k] = r.expert[k];
            weight[k] = r.expert[k] == no_expert ? 0 : r.weight[k];
        }
    if (shared) detail::each_extra(thread, n, [&](int i) { shared[i] = r.extra[i]; });
}

/// result_gradient of one token: by its weights [W], shared weights [X] or null, logits as scored and scores [E] or null.
struct token_gradient {
    const float* weight;
    const float* shared = nullptr;
    const float* logit = nullptr;
    const float* score = nullptr;
};

/// -> d_logit [P] +=, d_learned [L] +=, d_previous [E] += or null; recomputes the row from its logits.
template <class Thread, class Pipeline, class Extent>
GUILD_HOST_DEVICE void backward_warp(const Thread& thread, const Pipeline& stages, Extent n, const token<float>& t, const float* logit,
                                     const token_gradient& by, float* d_logit, float* d_learned, float* d_previous = nullptr) {
    using Row = row<float, Extent, warp_lanes<Thread>>;
    const Row r = detail::load_warp<Row>(thread, n, logit);
    row_gradient<Row> g;
    static_cast<Row&>(g) = r;
    g.learned = d_learned;
    g.previous = d_previous;
    g.each([&](int e) { g.score[e] = 0; });
    detail::each_extra(thread, n, [&](int i) { g.extra[i] = by.shared ? by.shared[i] : 0; });
    for (int k = 0; k < n.slots; ++k) g.weight[k] = by.weight[k];
    stages.backward(t, r, g, by.score, by.logit);
    g.each([&](int e) { d_logit[e] += g.score[e]; });
    detail::each_extra(thread, n, [&](int i) { d_logit[n.experts + i] += g.extra[i]; });
}

}  // namespace guild::inline v0::gate
