#pragma once
#include <guild/gate/row.hpp>

/// Stages that act on the logits before they are scored: `logits = true`.
namespace guild::inline v0 {

/// logits + b, b [E] learned. GPT-OSS.
struct router_bias {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool logits = true;
    GUILD_HOST_DEVICE static constexpr int learned(int experts) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        r.each([&](int e) { r.score[e] += t.learned[e]; });
    }
    GUILD_HOST_DEVICE void backward(const auto&, const auto&, const auto& out, auto& g) const {
        out.each([&](int e) { g.learned[e] += g.score[e]; });
    }
};

/// logits + W_g previous: previous [E] are the logits that the layer before left (workspace::passed), its own residual included; W_g [E, E]
/// is learned, and so are they: backward gives their gradient. MoE++, arXiv:2410.07348, eq. 6; the first layer has no such stage. O(E^2).
struct gating_residual {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool logits = true, needs_previous = true;
    static constexpr bool fits(int experts, int) { return experts <= 46340; }  // learned(E) is an int
    GUILD_HOST_DEVICE static constexpr int learned(int experts) { return experts * experts; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        r.each([&](int e) {
            for (int j = 0; j < r.n.experts; ++j) r.score[e] += t.learned[e * r.n.experts + j] * t.previous[j];
        });
    }
    GUILD_HOST_DEVICE void backward(const auto& t, const auto&, const auto& out, auto& g) const {
        const int E = out.n.experts;
        out.each([&](int e) {
            for (int j = 0; j < E; ++j) g.learned[e * E + j] += g.score[e] * t.previous[j];
        });
        if (!g.previous) return;
        for (int j = 0; j < E; ++j) {
            const auto by = out.sum([&](int e) { return g.score[e] * t.learned[e * E + j]; });
            if (out.owns(j)) g.previous[j] += by;
        }
    }
};

/// logits + N(0, 1) (softplus(extra) + floor) in training; extra = W_noise x. Shazeer et al. 2017, arXiv:1701.06538, eq. 4, where
/// floor is 0; published code has 1e-2.
struct learned_noise {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool logits = true;
    static constexpr int stream = 2;
    double floor = 1e-2;  ///< least deviation; >= 0
    static constexpr int extra(int experts) { return experts; }
    constexpr bool fits(int, int) const { return floor >= 0 && is_finite(floor); }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        using S = typename Row::scalar;
        if (t.training) r.each([&](int e) { r.score[e] += S(t.normal(stream, e)) * spread(r.extra[e]); });
    }
    template <class Row> GUILD_HOST_DEVICE void backward(const auto& t, const Row& in, const Row&, auto& g) const {
        if (t.training) in.each([&](int e) { g.extra[e] += g.score[e] * t.normal(stream, e) * logistic(in.extra[e]); });
    }
    /// The standard deviation that an extra logit stands for.
    template <class S> GUILD_HOST_DEVICE S spread(S extra) const { return softplus(extra) + S(static_cast<real_t<S>>(floor)); }
};

/// Two levels of gating: s_e = softmax(extra)_group softmax(logits of the group)_e, the groups' logits being extra rows of the router.
/// Jordan & Jacobs 1994, Hierarchical mixtures of experts and the EM algorithm, eq. 1-4.
struct hierarchy {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool scores = true;
    int groups = 2;  ///< equal runs of experts: divides E
    constexpr int extra(int) const { return groups; }
    constexpr bool fits(int experts, int) const { return groups >= 1 && experts % groups == 0; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto&, Row& r) const {
        using S = typename Row::scalar;
        const auto share = top_level(r);
        for (int g = 0; g < groups; ++g) {
            const int size = r.n.experts / groups;
            const auto top = (r.max)([&](int e) { return e / size == g ? value(r.score[e]) : rank<typename Row::real>::worst().key; });
            const S mass = r.sum([&](int e) { return e / size == g ? exp(r.score[e] - S(top)) : S(0); });
            const S part = exp(r.extra_at(g) - share.top) / share.mass;
            r.each([&](int e) {
                if (e / size == g) r.score[e] = part * exp(r.score[e] - S(top)) / mass;
            });
        }
    }
    /// s_e = a_g b_e: by a logit of the group, a_g (delta - a) sum of g s; by one inside, s_e (g_e - sum_group g b).
    template <class Row> GUILD_HOST_DEVICE void backward(const auto&, const Row& in, const Row& out, auto& g) const {
        using S = typename Row::scalar;
        const int size = in.n.experts / groups;
        const auto share = top_level(in);
        const S all = out.sum([&](int e) { return g.score[e] * out.score[e]; });
        for (int i = 0; i < groups; ++i) {
            const S part = exp(in.extra_at(i) - share.top) / share.mass;
            const S inside = out.sum([&](int e) { return e / size == i ? g.score[e] * out.score[e] : S(0); });
            g.add_extra(i, inside - part * all);
            out.each([&](int e) {
                if (e / size == i) g.score[e] = value(part) == 0 ? S(0) : out.score[e] * (g.score[e] - inside / part);
            });
        }
    }

private:
    template <class S> struct level { S top, mass; };
    template <class Row> GUILD_HOST_DEVICE level<typename Row::scalar> top_level(const Row& r) const {
        using S = typename Row::scalar;
        S top = r.extra_at(0), mass(0);
        for (int g = 1; g < groups; ++g) top = value(r.extra_at(g)) > value(top) ? r.extra_at(g) : top;
        top = S(value(top));
        for (int g = 0; g < groups; ++g) mass += exp(r.extra_at(g) - top);
        return {top, mass};
    }
};

}  // namespace guild::inline v0
