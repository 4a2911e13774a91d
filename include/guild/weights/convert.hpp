#pragma once
#include <guild/format/quantise.hpp>
#include <guild/weights/check.hpp>

namespace guild::inline v0 {

namespace detail {
/// Matrices in Format, biases in S; E = 0 for a network that the model does not have.
template <class Format, class S, class Network, class X>
void convert(const Network& from, long E, long F, long H, int inputs, bool bias, network_weights<Format, S>& to, const X& executor) {
    const auto biases = [&](const auto& b, long n) {
        std::vector<S> all;
        for (long e = 0; e < E; ++e)
            for (long i = 0; i < n; ++i) all.push_back(static_cast<S>(b(e, i, 0)));
        return all;
    };
    if (inputs == 2) quantise<Format>(from.gate, E, F, H, to.gate, executor);
    quantise<Format>(from.up, E, F, H, to.up, executor);
    quantise<Format>(from.down, E, H, F, to.down, executor);
    if (!bias) return;
    if (inputs == 2) to.gate_bias = biases(from.gate_bias, F);
    to.up_bias = biases(from.up_bias, F);
    to.down_bias = biases(from.down_bias, H);
}
}  // namespace detail

/// The same weights stored in another format: rounded, quantised, or decoded if Format is float. Only the matrices of the experts are;
/// the rest is copied. The same bits for any executor. Throws argument_error if the model needs what w does not have, or as `quantise` does.
template <class Format, class Model, class From, class S, class X = serial>
weights<Model, Format> convert(const weights_view<From, S>& w, const Model& m = {}, const X& executor = {}) {
    check::weights(m, w);
    const guild::config& c = m.config;
    weights<Model, Format> to(m, executor);
    to.copy(w, c.hidden);
    to.table.assign(w.gate.table, w.gate.table + w.gate.vocabulary * c.top_k);
    detail::convert(w.experts, c.routed_experts, c.expert_hidden, c.hidden, m.activation.inputs, c.expert_bias, to.experts, executor);
    detail::convert(w.shared, c.shared_width() > 0, c.shared_width(), c.hidden, m.activation.inputs, c.shared_bias, to.shared, executor);
    return to;
}
/// The numbers of w in another format, as the executor shares them out.
template <class Format, class Model, class From, class X = serial>
weights<Model, Format> convert(const weights<Model, From>& w, const X& executor = {}) {
    return convert<Format>(static_cast<weights_view<From>>(w), w.model, executor);
}

}  // namespace guild::inline v0
