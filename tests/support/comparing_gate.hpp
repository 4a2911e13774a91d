#pragma once
#include <guild/gate/pipeline.hpp>
#include <guild/gate/stage/select.hpp>
#include <guild/gate/stage/weigh.hpp>

/// Stages of a user that compare and call functions, on scores with extra logits and on weights; no adjoints.
struct compares {
    static constexpr int extra(int experts) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const {
        using guild::exp, guild::abs, guild::sqrt;
        const auto top = (r.max)([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] = exp(r.score[e] - top); });
        const auto total = r.sum([&](int e) { return r.score[e]; });
        r.each([&](int e) {
            r.score[e] = r.score[e] / total;
            if (r.score[e] < 0.01f) r.score[e] *= 0.5f;
            r.score[e] = (guild::max)(r.score[e], r.score[e] * r.score[e]) + abs(r.extra[e]) / (4 + sqrt(1 + r.extra[e] * r.extra[e]));
        });
    }
};
struct tempered {
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.weight[k] = r.weight[k] > 0.5f ? r.weight[k] : (r.weight[k] + r.weight[0]) / 2;
    }
};
struct comparing_gate {
    constexpr auto stages() const { return guild::pipeline{compares{}, guild::top_k{}, tempered{}, guild::weigh{guild::softmax{}}}; }
};
