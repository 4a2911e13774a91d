#pragma once
#include <guild/gate/row.hpp>

/// Stages that shape the ranking (they write row.bias) and stages that choose (they write row.expert and row.weight).
namespace guild::inline v0 {

/// The adjoint of a stage that shapes the ranking alone: a ranking has no derivative.
struct ranks_only {
    GUILD_HOST_DEVICE static void backward(const auto&, const auto&, const auto&, auto&) {}
};

/// Ranking by s + b, b [E] kept by a balancer; b is part of no weight. DeepSeek-V3, arXiv:2412.19437, eq. 16.
struct selection_bias : ranks_only {
    static constexpr row_part reads = row_part::bias, writes = row_part::bias;
    GUILD_HOST_DEVICE static constexpr int state(int experts) { return experts; }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        r.each([&](int e) { r.bias[e] += t.state[e]; });
    }
};

/// weight[k] = score[expert[k]], and its adjoint: how every stage that chooses ends.
struct takes_score {
    template <class Row> GUILD_HOST_DEVICE static void take(Row& r) {
        for (int k = 0; k < r.n.slots; ++k) r.weight[k] = r.expert[k] == no_expert ? typename Row::scalar(0) : r.at(r.expert[k]);
    }
    template <class Row> GUILD_HOST_DEVICE static void backward(const auto&, const auto&, const Row& out, auto& g) {
        for (int k = 0; k < out.n.slots; ++k) {
            if (out.expert[k] != no_expert) g.add(out.expert[k], g.weight[k]);
            g.weight[k] = typename Row::scalar(0);
        }
    }
};

/// The K best by score + bias, best first, ties to the lowest index.
struct top_k : takes_score {
    static constexpr row_part reads = row_part::score | row_part::bias, writes = row_part::choice | row_part::weight;
    static constexpr bool fits(int experts, int k) { return k <= experts; }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto&, Row& r) const {
        rank<typename Row::real> best[decltype(r.n)::max_slots];
        r.best(r.n.slots, best, 0, r.n.experts);
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = best[k].index;
        take(r);
    }
};

}  // namespace guild::inline v0
