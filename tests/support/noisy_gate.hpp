#pragma once
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/select.hpp>
#include <guild/gate/stage/weigh.hpp>

/// A gate with everything a stage may ask for: E extra logits, learned numbers, random draws. In the manner of noisy top-k gating
/// (Shazeer et al. 2017, arXiv:1701.06538, eq. 4), with a learned offset per expert and a learned factor in front of all.
struct noise {
    static constexpr int stream = 5;
    GUILD_HOST_DEVICE static constexpr int extra(int experts) { return experts; }
    GUILD_HOST_DEVICE static constexpr int learned(int experts) { return experts + 1; }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        const auto factor = t.learned[r.n.experts];
        r.each([&](int e) { r.score[e] = factor * r.score[e] + t.learned[e] + guild::softplus(r.extra[e]) * draw(t, e); });
    }
    GUILD_HOST_DEVICE void backward(const auto& t, const auto& in, const auto&, auto& g) const {
        const int E = in.n.experts;
        const auto factor = t.learned[E];
        g.learn(E, in.sum([&](int e) { return g.score[e] * in.score[e]; }));
        in.each([&](int e) {
            g.learned[e] += g.score[e];
            g.extra[e] += g.score[e] * draw(t, e) * guild::logistic(in.extra[e]);
            g.score[e] = factor * g.score[e];
        });
    }

private:
    /// Noise in training alone.
    template <class T> GUILD_HOST_DEVICE static auto draw(const T& t, int e) { return t.training ? t.normal(stream, e) : typename T::real(0); }
};
struct noisy_gate {
    constexpr auto stages() const { return guild::pipeline{noise{}, guild::top_k{}, guild::weigh{guild::softmax{}}}; }
};
