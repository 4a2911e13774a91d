#pragma once
#include <guild/gate/run.hpp>

namespace guild::inline v0::gate {

/// A row of the gate between two stages.
template <class S> struct snapshot {
    std::vector<S> score;         ///< [E]
    std::vector<real_t<S>> bias;  ///< [E] of the ranking
    std::vector<int> expert;      ///< [W]
    std::vector<S> weight;        ///< [W]
};

/// Token t before the first stage and after each: size + 1 snapshots, all alike for a padded token. Allocates.
template <class Model, class S>
std::vector<snapshot<S>> inspect(const Model& m, const gate_data<S>& data, const batch& side, view<const S> logit, const gate_result<S>& result,
                                 long t) {
    const auto stages = m.stages();
    const auto extent = m.extent();
    using row = guild::row<S, std::remove_const_t<decltype(extent)>>;
    using pipeline = decltype(stages);
    if (t < 0 || t >= logit.rows) guild::detail::raise<argument_error>("guild::layer::inspect: token ", t, ", expected one of ", logit.rows);

    std::vector<snapshot<S>> seen;
    const auto keep = [&](const row& r) {
        seen.emplace_back();
        for (int e = 0; e < r.n.experts; ++e) seen.back().score.push_back(r.score[e]), seen.back().bias.push_back(r.bias[e]);
        for (int k = 0; k < r.n.slots; ++k) seen.back().expert.push_back(r.expert[k]), seen.back().weight.push_back(r.weight[k]);
    };
    row r = load<row>(extent, logit.row(t));
    const auto token = token_at(t, side, data, pipeline::across < pipeline::size ? &result.decided[t * long(extent.slots)] : nullptr);
    keep(r);
    [&]<int... Index>(std::integer_sequence<int, Index...>) {
        ((padded(side, t) ? void() : stages.template forward<Index, Index + 1>(token, r), keep(r)), ...);
    }
    (std::make_integer_sequence<int, pipeline::size>{});
    return seen;
}

}  // namespace guild::inline v0::gate
