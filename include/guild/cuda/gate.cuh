#pragma once
#ifndef __CUDACC__
#error "guild: .cuh headers are for a CUDA compiler; include <guild/guild.hpp> elsewhere"
#endif
#include <guild/gate/run.hpp>
#include <guild/gate/warp.hpp>

/// The gate on a GPU: one warp per token, running the stages of the CPU. All pointers are to device memory; nothing is checked.
///
///     gate_forward<<<gate_blocks(T), gate_threads, 0, stream>>>(m.stages(), m.extent(), data, side, logit, T, expert, weight);
namespace guild::inline v0::cuda {

/// A lane of a warp, as warp_lanes wants it.
struct thread {
    /// In [0, 32).
    __device__ unsigned lane() const { return threadIdx.x % 32; }
    /// v of lane `from`.
    template <class T> __device__ T shfl(T v, unsigned from) const {
        return each_word(v, [=](unsigned w) { return __shfl_sync(~0u, w, static_cast<int>(from)); });
    }
    /// v of the lane whose number differs by `mask`.
    template <class T> __device__ T shfl_xor(T v, unsigned mask) const {
        return each_word(v, [=](unsigned w) { return __shfl_xor_sync(~0u, w, static_cast<int>(mask)); });
    }

private:
    template <class T, class F> __device__ static T each_word(T v, F f) {
        static_assert(sizeof(T) % 4 == 0, "guild: a shuffle moves words of 4 bytes");
        unsigned word[sizeof(T) / 4];
        memcpy(word, &v, sizeof v);
        GUILD_UNROLL
        for (unsigned& w : word) w = f(w);
        memcpy(&v, word, sizeof v);
        return v;
    }
};

/// guild::batch, and what was decided across its tokens, in device memory; null: not given. Trivially copyable.
struct batch {
    const int* token_id = nullptr;       ///< [T]
    const bool* padding = nullptr;       ///< [T]
    const long* position = nullptr;      ///< [T]
    long first = 0;                      ///< position of token 0, where `position` is null
    unsigned long long seed = 0;         ///< of all random draws of the batch
    bool training = false;               ///< noise, sampling, exploration
    const given_draws* draws = nullptr;  ///< [draw_streams]; the numbers they point to are in device memory too
    int draw_streams = 0;                ///< how many streams are given
    const int* decided = nullptr;        ///< [T, W] by the stage that looks across tokens

    /// Whether token t is padding.
    __device__ bool padded(long t) const { return padding && padding[t]; }
    /// Token t as the stages see it, `slots` = W.
    __device__ token<float> at(long t, int slots, const gate_data<float>& d) const {
        return {.index = t,
                .position = position ? position[t] : first + t,
                .id = token_id ? token_id[t] : -1,
                .training = training,
                .seed = seed,
                .draws = draws,
                .draw_streams = draw_streams,
                .learned = d.learned,
                .state = d.state,
                .table = d.table,
                .decided = decided ? decided + t * slots : nullptr,
                .previous = d.previous.data ? d.previous.data + t * d.previous.stride : nullptr};
    }
};

constexpr int gate_threads = 128;  ///< of a block: four warps, four tokens
/// The grid for T tokens; for none there is nothing to launch.
constexpr unsigned gate_blocks(long T) { return static_cast<unsigned>((T * 32 + gate_threads - 1) / gate_threads); }

namespace detail {
__device__ inline long token_of_warp() { return (static_cast<long>(blockIdx.x) * gate_threads + threadIdx.x) / 32; }
}  // namespace detail

/// logit [T, P] -> expert [T, W] =, weight [T, W] =, and where the gate gives shared experts theirs, shared [T, X] =, or null. Padded tokens get
/// no_expert and 0.
template <class Pipeline, class Extent>
__global__ void __launch_bounds__(gate_threads) gate_forward(Pipeline stages, Extent n, gate_data<float> d, batch side, const float* logit, long T,
                                                             int* expert, float* weight, float* shared = nullptr) {
    const long t = detail::token_of_warp();
    if (t >= T) return;
    int* const own_expert = expert + t * n.slots;
    float* const own_weight = weight + t * n.slots;
    float* const own_shared = shared ? shared + t * n.extra : nullptr;
    if (side.padded(t)) {
        for (int k = static_cast<int>(thread{}.lane()); k < n.slots; k += 32) {
            own_expert[k] = no_expert;
            own_weight[k] = 0;
        }
        if (own_shared)
            for (int i = static_cast<int>(thread{}.lane()); i < n.extra; i += 32) own_shared[i] = 0;
        return;
    }
    gate::forward_warp(thread{}, stages, n, side.at(t, n.slots, d), logit + t * (n.experts + n.extra), own_expert, own_weight, own_shared);
}

/// by -> d_logit [T, P] +=, d_learned [T, L] =: each token's share of the gradient of the L learned numbers, null if there are none;
/// d_previous [T, E] = or null. Padded tokens add nothing. Recomputes the row from its logits.
template <class Pipeline, class Extent>
__global__ void __launch_bounds__(gate_threads)
    gate_backward(Pipeline stages, Extent n, gate_data<float> d, batch side, const float* logit, long T, gate::result_gradient<float> by,
                  float* d_logit, float* d_learned, float* d_previous = nullptr) {
    const long t = detail::token_of_warp();
    if (t >= T) return;
    const int P = n.experts + n.extra, L = stages.learned(n.experts);
    float* const own_learned = d_learned ? d_learned + t * L : nullptr;
    if (own_learned) {
        for (int i = static_cast<int>(thread{}.lane()); i < L; i += 32) own_learned[i] = 0;
        __syncwarp();
    }
    float* const own_previous = d_previous ? d_previous + t * n.experts : nullptr;
    if (own_previous) {
        for (int e = static_cast<int>(thread{}.lane()); e < n.experts; e += 32) own_previous[e] = 0;
        __syncwarp();
    }
    if (side.padded(t)) return;
    const gate::token_gradient own{by.weight.data + t * by.weight.stride, by.shared ? by.shared + t * n.extra : nullptr,
                                   by.logit.data ? by.logit.data + t * by.logit.stride : nullptr, by.score ? by.score + t * n.experts : nullptr};
    gate::backward_warp(thread{}, stages, n, side.at(t, n.slots, d), logit + t * P, own, d_logit + t * P, own_learned, own_previous);
}

}  // namespace guild::inline v0::cuda
