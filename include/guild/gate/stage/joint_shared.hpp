#pragma once
#include <guild/gate/stage/select.hpp>

namespace guild::inline v0 {

/// Chosen and shared experts divide one sum: the weights of the chosen, and the sigmoids of `shared` further logits, over their total,
/// times `scale`. Those of the shared experts are left in row.extra, for a gate with `weighs_shared = true`. Inkling.
struct joint_shared {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::weight | row_part::shared;
    int shared = 1;    ///< weights of shared experts, and so extra logits; 1 at least
    double scale = 1;  ///< what all weights of a token sum to
    constexpr int extra(int) const { return shared; }
    constexpr bool fits(int, int) const { return shared >= 1 && is_finite(scale); }
    template <class Row> GUILD_HOST_DEVICE void forward(const auto&, Row& r) const {
        typename Row::scalar part[decltype(r.n)::max_extra];
        const auto all = sum(r, part), factor = typename Row::scalar(nearest<typename Row::real>(scale));
        for (int k = 0; k < r.n.slots; ++k) r.weight[k] = factor * (r.weight[k] / all);
        for (int i = 0; i < shared; ++i) r.set_extra(i, factor * (part[i] / all));
    }
    /// w = scale s / sum: by s, scale / sum (g - sum of g s / sum).
    template <class Row> GUILD_HOST_DEVICE void backward(const auto&, const Row& in, const Row&, auto& g) const {
        using S = typename Row::scalar;
        S part[decltype(in.n)::max_extra], dot(0);
        const S all = sum(in, part), factor = S(nearest<typename Row::real>(scale));
        for (int k = 0; k < in.n.slots; ++k) dot += g.weight[k] * (in.weight[k] / all);
        for (int i = 0; i < shared; ++i) dot += g.extra_at(i) * (part[i] / all);
        for (int k = 0; k < in.n.slots; ++k) g.weight[k] = slope::held(factor * (g.weight[k] - dot) / all);
        for (int i = 0; i < shared; ++i) {
            const S by = g.extra_at(i);
            g.set_extra(i, factor * (part[i] / all) * (by - dot) * (S(1) - part[i]));
        }
    }

private:
    /// part = the sigmoids of the shared logits; 1 where everything has underflowed: then all weights are 0.
    template <class Row, class S> GUILD_HOST_DEVICE S sum(const Row& r, S* part) const {
        S all(0);
        for (int k = 0; k < r.n.slots; ++k) all += r.weight[k];
        for (int i = 0; i < shared; ++i) all += part[i] = logistic(r.extra_at(i));
        return value(all) == 0 ? S(1) : all;
    }
};

}  // namespace guild::inline v0
