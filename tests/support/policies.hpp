#pragma once
#include <guild/guild.hpp>

/// Policies that a user of the library might write: together they use everything a stage, a loss or a gate may ask for.
namespace test {

/// score = factor tanh(score / factor) + offset_e, with learned offsets and a learned factor; no adjoint of its own.
struct capped {
    static constexpr int learned(int experts) { return experts + 1; }
    void forward(const auto& t, auto& r) const {
        using guild::tanh;
        const auto factor = t.learned[r.n.experts] * t.learned[r.n.experts] + 1;
        r.each([&](int e) { r.score[e] = factor * tanh(r.score[e] / factor) + t.learned[e]; });
    }
};

/// score *= 1 + sigmoid(extra): E extra logits; no adjoint of its own.
struct scaled_by_extra {
    static constexpr int extra(int experts) { return experts; }
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] = r.score[e] * (1 + guild::logistic(r.extra[e])); });
    }
};

/// weight += weight^2 of its neighbour; no adjoint of its own.
struct mixed_weights {
    void forward(const auto&, auto& r) const {
        for (int k = r.n.slots - 1; k > 0; --k) r.weight[k] += r.weight[k - 1] * r.weight[k - 1];
    }
};

/// The usual first stage of a user: only scores above a threshold stay.
struct threshold {
    double at = 0.1;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) {
            if (r.score[e] < at) r.score[e] = 0;
        });
    }
};

/// A softmax written by hand, then comparisons and functions, with a learned number for each expert; no adjoint of its own.
struct compares {
    static constexpr int learned(int experts) { return experts; }
    void forward(const auto& t, auto& r) const {
        using guild::abs, guild::exp, guild::log1p, guild::max, guild::min, guild::pow, guild::sqrt;
        const auto top = r.max([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] = exp(r.score[e] - top); });
        const auto total = r.sum([&](int e) { return r.score[e]; });
        r.each([&](int e) {
            const auto p = r.score[e] / total, l = t.learned[e];
            r.score[e] = (max)(p, 0.02f) * (l > 0 ? 1 + sqrt(l * l + 1) : exp(-abs(l))) + (min)(log1p(p), pow(p, 2.f)) / 4;
        });
    }
};

/// Every expert whose score is above the mean: any number of experts, holes at the end.
struct above_mean : guild::takes_score {
    static constexpr int slots(int experts, int) { return experts; }
    template <class Row> void forward(const auto&, Row& r) const {
        const auto total = guild::value(r.sum([&](int e) { return r.score[e]; }));
        int n = 0;
        for (int e = 0; e < r.n.experts; ++e)
            if (guild::value(r.score[e]) * r.n.experts > total) r.expert[n++] = e;
        for (; n < r.n.slots; ++n) r.expert[n] = guild::no_expert;
        take(r);
    }
};

/// At most `most` tokens per expert, in the order of the tokens: the other slots become empty.
struct places {
    int most = 3;
    void decide(const auto& c) const {
        for (int e = 0, taken = 0; e < c.experts; ++e, taken = 0)
            for (long i = 0; i < c.tokens * c.slots; ++i)
                if (c.expert[i] == e && ++taken > most) c.expert[i] = guild::no_expert;
    }
    void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k)
            if ((r.expert[k] = t.decided[k]) == guild::no_expert) r.weight[k] = 0;
    }
    static void backward(const auto&, const auto&, const auto& out, auto& g) {
        for (int k = 0; k < out.n.slots; ++k)
            if (out.expert[k] == guild::no_expert) g.weight[k] = 0;
    }
};

/// Random noise by position while training, of stream 9.
struct jitter : guild::ranks_only {
    void forward(const auto& t, auto& r) const {
        if (t.training) r.each([&](int e) { r.bias[e] += t.uniform(9, e) / 4; });
    }
};

/// Expert (token id + k) mod E, weighed by its score: asks for token ids.
struct by_id : guild::takes_score {
    static constexpr bool needs_token_id = true;
    void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = (t.id + k) % r.n.experts;
        take(r);
    }
};

/// The sigmoid of the K best logits, on the input of the experts.
struct llama4_gate {
    static constexpr bool weighs_input = true;
    constexpr auto stages() const { return guild::pipeline{guild::top_k{}, guild::weigh{guild::sigmoid{}}}; }
};
/// Two stages with learned numbers, one with state, extra logits.
struct learned_gate {
    constexpr auto stages() const {
        return guild::pipeline{capped{},       scaled_by_extra{}, guild::score{guild::sigmoid{}}, capped{}, guild::selection_bias{},
                               guild::top_k{}, mixed_weights{},   guild::weigh{guild::softmax{}}};
    }
};
/// 2 E extra logits, which nobody reads.
struct many_logits_gate {
    struct more : guild::ranks_only {
        static constexpr int extra(int experts) { return 2 * experts; }
        static void forward(const auto&, auto&) {}
    };
    constexpr auto stages() const { return guild::pipeline{more{}, guild::top_k{}}; }
};
struct comparing_gate {
    constexpr auto stages() const {
        return guild::pipeline{compares{}, guild::score{guild::softmax{}}, threshold{0.05}, guild::top_k{}, mixed_weights{}};
    }
};
struct threshold_gate {
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, above_mean{}, guild::weigh{guild::unit_sum{}}}; }
};
struct capacity_gate {
    int most = 3;
    constexpr auto stages() const {
        return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, places{most}, guild::weigh{guild::unit_sum{1e-9}}};
    }
};
struct jitter_gate {
    constexpr auto stages() const {
        return guild::pipeline{guild::score{guild::sigmoid{}}, jitter{}, guild::top_k{}, guild::weigh{guild::unit_sum{}}};
    }
};
struct hash_gate {
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, by_id{}}; }
};

/// Reads logits, scores, weights and the padding; no adjoint of its own.
struct curvature {
    double weight = 0.1;
    template <class S> S value(const guild::routing<S>& r) const {
        S sum(0);
        r.each([&](long t) {
            for (int e = 0; e < r.experts; ++e) sum += r.logit(t, e) * r.logit(t, e) * r.score(t, e);
            for (int k = 0; k < r.slots; ++k) sum += r.weight(t, k) * (1 + r.weight(t, k) * r.weight(t, k));  // a slope at 0 too
        });
        return sum * S(static_cast<guild::real_t<S>>(weight));
    }
};

/// Compares, counts and takes the largest; reads the router too. No adjoint of its own.
struct comparing_loss {
    double weight = 0.1;
    template <class S> S value(const guild::routing<S>& r) const {
        using guild::abs, guild::max;
        const auto load = r.template zeros<S>(r.experts);
        S sum(0);
        r.each([&](long t) {
            for (int e = 0; e < r.experts; ++e) {
                load[static_cast<std::size_t>(e)] += r.score(t, e);
                if (r.raw(t, e) > 0.25f) sum += abs(r.logit(t, e)) * r.raw(t, e);
            }
            for (int k = 0; k < r.slots; ++k) sum += (max)(r.weight(t, k), 0.3f);
        });
        S most(0);
        for (const S& l : load) most = (max)(most, l);
        return (sum + most * most + r.router(0, 0, 0) * r.router(0, 0, 0)) * S(static_cast<guild::real_t<S>>(weight));
    }
};

}  // namespace test
