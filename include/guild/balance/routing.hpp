#pragma once
#include <guild/core/batch.hpp>
#include <guild/core/buffer.hpp>
#include <guild/core/view.hpp>
#include <guild/gate/rank.hpp>

#include <vector>

namespace guild::inline v0 {

/// Zeros to count in: memory of the caller, or own where there is none.
class tally {
public:
    tally(buffer<double>* memory, int n)
        : own_(memory ? 0 : static_cast<std::size_t>(n)), at_(memory ? memory->shape(1, n).data : own_.data()), size_(n) {
        for (int i = 0; i < n; ++i) at_[i] = 0;
    }
    tally(tally&&) = default;
    double& operator[](int i) { return at_[i]; }
    double operator[](int i) const { return at_[i]; }
    int size() const { return size_; }

private:
    std::vector<double> own_;
    double* at_;
    int size_;
};

/// What a balance loss sees of a forward, and what it may add to. Padded tokens are not there: `each` skips them.
template <class S> struct routing {
    int experts = 0, slots = 0, top_k = 0;  ///< E, W, K
    view<const S> logit;                    ///< [T, P] raw, P = E + extra
    view<const S> score;                    ///< [T, E] after the gate's last score stage
    view<const S> weight;                   ///< [T, W]
    const int* expert = nullptr;            ///< [T, W] the choice
    const int* wanted = nullptr;            ///< [T, W] before anything was dropped
    const batch* side = nullptr;
    buffer<double>* memory = nullptr;  ///< scratch of [E], kept from call to call; without it losses allocate

    /// f(t) for every token that is not padding, in order.
    template <class F> void each(F f) const {
        for (long t = 0; t < logit.rows; ++t)
            if (side->padding.empty() || !side->padding[static_cast<std::size_t>(t)]) f(t);
    }
    long tokens() const {
        long n = 0;
        each([&](long) { ++n; });
        return n;
    }
    /// [E] rows that were asked of each expert, before anything was dropped, times `scale`.
    tally wanted_count(double scale = 1) const {
        tally count(memory, experts);
        for (long i = 0; i < logit.rows * slots; ++i)
            if (wanted[i] != no_expert) count[wanted[i]] += 1;
        for (int e = 0; e < experts; ++e) count[e] *= scale;
        return count;
    }
};

/// Where a loss adds its gradient, each [T, ..] as in routing: by the logits, by the scores, by the weights.
template <class S> struct routing_gradient { view<S> logit, score, weight; };

}  // namespace guild::inline v0
