#pragma once
#include <guild/core/check_weights.hpp>
#include <guild/core/quantise.hpp>

namespace guild::inline v0 {

namespace detail {
/// Matrices in Format, biases in S; E = 0 for a network that the model does not have.
template <class Format, class S, class Network>
void convert(const Network& from, long E, long F, long H, int inputs, bool bias, network_weights<Format, S>& to) {
    const auto biases = [&](const auto& b, long n) {
        std::vector<S> all;
        for (long e = 0; e < E; ++e)
            for (long i = 0; i < n; ++i) all.push_back(static_cast<S>(b(e, i, 0)));
        return all;
    };
    if (inputs == 2) to.gate = quantise<Format>(from.gate, E, F, H);
    to.up = quantise<Format>(from.up, E, F, H);
    to.down = quantise<Format>(from.down, E, H, F);
    if (!bias) return;
    if (inputs == 2) to.gate_bias = biases(from.gate_bias, F);
    to.up_bias = biases(from.up_bias, F);
    to.down_bias = biases(from.down_bias, H);
}
}  // namespace detail

/// The same weights stored in another format: rounded, quantised, or decoded if Format is float. Only the matrices of the experts are;
/// the rest is copied. Throws argument_error if the model needs what w does not have, or as `quantise` does.
template <class Format, class Model, class From, class S> weights<Model, Format> convert(const weights_view<From, S>& w, const Model& m = {}) {
    check::weights(m, w);
    const guild::config& c = m.config;
    weights<Model, Format> to(m);
    to.copy(w, c.hidden);
    to.table.assign(w.gate.table, w.gate.table + w.gate.vocabulary * c.top_k);
    detail::convert(w.experts, c.routed_experts, c.expert_hidden, c.hidden, m.activation.inputs, c.expert_bias, to.experts);
    detail::convert(w.shared, c.shared_width() > 0, c.shared_width(), c.hidden, m.activation.inputs, c.shared_bias, to.shared);
    return to;
}
template <class Format, class Model, class From> weights<Model, Format> convert(const weights<Model, From>& w) {
    return convert<Format>(static_cast<weights_view<From>>(w), w.model);
}

}  // namespace guild::inline v0
