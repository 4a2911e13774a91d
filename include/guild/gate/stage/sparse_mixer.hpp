#pragma once
#include <guild/gate/stage/select.hpp>

namespace guild::inline v0 {

/// SparseMixer-v2: K picks one after the other. For each, logits further than 2 jitter below the best of those not yet picked,
/// relative to max(|logit|, best), are masked; the weight is the softmax over those kept, at the pick. The weights do not sum to 1.
/// Phi-3.5-MoE; GRIN, arXiv:2409.12136, appendix A, algorithms 1 and 3 (its text states a narrower mask; this is the released code's).
///
/// In training the pick is sampled from that softmax. Where it is not the best, the weight is multiplied by 1/3 with probability 3/4
/// (Heun's third-order method); `backward` is the published estimator: g p_pick (delta - p), without that factor.
struct sparse_mixer {
    static constexpr row_part reads = row_part::score, writes = row_part::choice | row_part::weight;
    static constexpr int stream = 3;
    double jitter = 0.01;  ///< half the relative distance to the best beyond which a logit is masked; >= 0
    constexpr bool fits(int experts, int k) const { return jitter >= 0 && is_finite(jitter) && k <= experts; }

    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        for (int k = 0; k < r.n.slots; ++k) {
            Row p = r;
            const auto pick = one(t, r, k, p);
            r.expert[k] = pick.expert;
            r.weight[k] = p.at(pick.expert) * typename Row::scalar(pick.factor);
        }
    }
    template <class Row> GUILD_HOST_DEVICE void backward(const auto& t, const Row& in, const Row&, auto& g) const {
        using S = typename Row::scalar;
        Row r = in;
        for (int k = 0; k < in.n.slots; ++k) {
            Row p = r;
            const int pick = one(t, r, k, p).expert;
            const S by = g.weight[k] * p.at(pick);
            in.each([&](int e) { g.score[e] += by * (S(e == pick) - p.score[e]); });
            r.expert[k] = pick;
            g.weight[k] = S(0);
        }
    }

private:
    template <class R> struct picked {
        int expert;
        R factor;
    };
    /// Pick k from the logits r.score, given the k picks before it. p.score becomes the probabilities, 0 where masked.
    template <class Row> GUILD_HOST_DEVICE picked<typename Row::real> one(const auto& t, const Row& r, int k, Row& p) const {
        using real = typename Row::real;
        using S = typename Row::scalar;
        const real never = rank<real>::worst().key;
        const auto gone = [&](int e) {
            for (int j = 0; j < k; ++j)
                if (r.expert[j] == e) return true;
            return false;
        };
        p.each([&](int e) { p.bias[e] = gone(e) ? never : real(0); });
        rank<real> best;
        p.best(1, &best, 0, r.n.experts);
        while (gone(best.index)) best.index = (best.index + 1) % r.n.experts;  // what is left is -infinity or no number
        const real top = best.key;
        p.each([&](int e) {
            const real z = value(r.score[e]), size = z < 0 ? -z : z;
            const bool kept = !gone(e) && (e == best.index || (top - z) <= nearest<real>(2 * jitter) * (size > top ? size : top));
            p.score[e] = kept ? exp(r.score[e] - S(top)) : S(0);
            p.bias[e] = !kept ? never : t.training ? -log(-log(t.uniform(stream, k * (r.n.experts + 1) + e) + real(1e-30))) : real(0);
        });
        const S mass = p.sum([&](int e) { return p.score[e]; });
        rank<real> winner = best;
        if (t.training) {
            Row noisy = r;
            noisy.bias = p.bias;
            noisy.best(1, &winner, 0, r.n.experts);
            if (!(winner.key > never)) winner = best;
        }
        p.each([&](int e) { p.score[e] = p.score[e] / mass; });
        const bool full = !t.training || winner.index == best.index || t.uniform(stream, k * (r.n.experts + 1) + r.n.experts) > real(0.75);
        return {winner.index, full ? real(1) : real(1) / 3};
    }
};

}  // namespace guild::inline v0
