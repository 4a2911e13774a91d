#pragma once
#include <guild/gate/stage/select.hpp>

/// Further stages that choose, other than by the K best.
namespace guild::inline v0 {

/// Every expert: the dense mixture. W = E.
struct everyone : takes_score {
    static constexpr row_part reads = row_part::score, writes = row_part::choice | row_part::weight;
    static constexpr int slots(int experts, int) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = k;
        take(r);
    }
};

/// Every expert with a positive score, possibly none. ReMoE, arXiv:2412.14711, eq. 6. W = E.
struct positive : takes_score {
    static constexpr row_part reads = row_part::score, writes = row_part::choice | row_part::weight;
    static constexpr int slots(int experts, int) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = value(r.at(k)) > 0 ? k : no_expert;
        take(r);
    }
};

/// Experts by token id, from the table [vocabulary, K] of the weights. Hash Layers, arXiv:2106.04426; DeepSeek-V4's first layers.
struct hash_table : takes_score {
    static constexpr row_part reads = row_part::score, writes = row_part::choice | row_part::weight;
    static constexpr bool needs_token_id = true, needs_table = true;
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = t.table[static_cast<long>(t.id) * r.n.slots + k];
        take(r);
    }
};

/// weight = 1: what a router without parameters gives its choice. Follows a choosing stage.
struct weigh_one {
    static constexpr row_part reads = row_part::choice, writes = row_part::weight;
    template <class Row> GUILD_HOST_DEVICE void forward(const auto&, Row& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.weight[k] = typename Row::scalar(r.expert[k] != no_expert);
    }
    template <class Row> GUILD_HOST_DEVICE void backward(const auto&, const Row&, const Row& out, auto& g) const {
        for (int k = 0; k < out.n.slots; ++k) g.weight[k] = typename Row::scalar(0);
    }
};

/// weight[k] *= v[expert[k]], v [E] learned. Gemma 4.
struct expert_scale {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::weight;
    GUILD_HOST_DEVICE static constexpr int learned(int experts) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k)
            if (r.expert[k] != no_expert) r.weight[k] = r.weight[k] * t.learned[r.expert[k]];
    }
    GUILD_HOST_DEVICE void backward(const auto& t, const auto& in, const auto&, auto& g) const {
        for (int k = 0; k < in.n.slots; ++k) {
            const int e = in.expert[k];
            if (e == no_expert) continue;
            g.learn(e, g.weight[k] * in.weight[k]);
            g.weight[k] = g.weight[k] * t.learned[e];
        }
    }
};

/// Keeps the second expert with probability min(1, 2 w), w its weight at this point, in training. GShard, arXiv:2006.16668,
/// algorithm 1, line 15. Whether w is normalised there is where published code differs: place the stage accordingly.
struct random_second {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::choice | row_part::weight;
    static constexpr int stream = 1;
    static constexpr bool fits(int, int k) { return k == 2; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        if (!t.training || 2 * value(r.weight[1]) > t.uniform(stream, 0)) return;
        r.expert[1] = no_expert;
        r.weight[1] = typename Row::scalar(0);
    }
    template <class Row> GUILD_HOST_DEVICE void backward(const auto&, const Row&, const Row& out, auto& g) const {
        if (out.expert[1] == no_expert) g.weight[1] = typename Row::scalar(0);
    }
};

/// In training draws the second expert by the scores of all but the first, which are probabilities here: log score plus Gumbel noise, the
/// largest. GShard as fairseq and DeepSpeed run it by default ("sampling").
struct sampled_second {
    static constexpr row_part reads = row_part::score | row_part::choice | row_part::weight, writes = row_part::choice | row_part::weight;
    static constexpr int stream = 6;
    static constexpr bool fits(int, int k) { return k == 2; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        using real = typename Row::real;
        if (!t.training) return;
        Row drawn = r;
        drawn.each([&](int e) {
            drawn.score[e] = typename Row::scalar(0);
            drawn.bias[e] = e == r.expert[0] ? rank<real>::worst().key : log(value(r.score[e])) - log(-log(t.uniform(stream, e) + real(1e-30)));
        });
        rank<real> second;
        drawn.best(1, &second, 0, r.n.experts);
        if (!(second.key > rank<real>::worst().key)) return;  // no other has a probability
        r.expert[1] = second.index;
        r.weight[1] = r.at(second.index);
    }
    template <class Row> GUILD_HOST_DEVICE void backward(const auto&, const Row& in, const Row& out, auto& g) const {
        if (out.expert[1] == in.expert[1]) return;
        g.add(out.expert[1], g.weight[1]);
        g.weight[1] = typename Row::scalar(0);
    }
};

}  // namespace guild::inline v0
