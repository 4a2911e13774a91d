#pragma once
#include "linear.hpp"

#include <cmath>
#include <cstdint>

namespace language_model {

/// Mean over tokens of -log softmax(logits)[target], in nats, and, if wanted, its gradient in place of the logits.
///   logits [T, V], overwritten if `gradient`;  target [T].
/// One number per token, then one sum in the order of the tokens.
template <class S> double cross_entropy(const threads& team, matrix<S>& logits, const std::vector<std::uint8_t>& target, bool gradient) {
    const Eigen::Index T = logits.rows(), V = logits.cols();
    std::vector<double> nats(static_cast<std::size_t>(T));
    each_block(team, T, 64, [&](Eigen::Index begin, Eigen::Index n) {
        Eigen::Array<S, 1, Eigen::Dynamic> e(V);
        for (Eigen::Index t = begin; t < begin + n; ++t) {
            S* l = logits.row(t).data();
            S top = l[0];
            for (Eigen::Index v = 1; v < V; ++v) top = std::max(top, l[v]);
            e = (logits.row(t).array() - top).exp();
            const S whole = sum_of<S>(V, [&](Eigen::Index v) { return e(v); });
            const auto right = static_cast<Eigen::Index>(target[static_cast<std::size_t>(t)]);
            nats[static_cast<std::size_t>(t)] = std::log(static_cast<double>(whole)) - static_cast<double>(l[right] - top);
            if (!gradient) continue;
            const S factor = S(1) / (whole * static_cast<S>(T));
            for (Eigen::Index v = 0; v < V; ++v) l[v] = e(v) * factor;
            l[right] -= S(1) / static_cast<S>(T);
        }
    });
    double sum = 0;
    for (const double n : nats) sum += n;
    return T > 0 ? sum / static_cast<double>(T) : 0;
}

/// Nats per byte to bits per byte.
inline double bits(double nats) { return nats / std::log(2.0); }

}  // namespace language_model
