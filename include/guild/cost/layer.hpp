#pragma once
#include <guild/config.hpp>
#include <guild/core/error.hpp>
#include <cstdint>

/// What one mixture layer costs, from its real shapes. Everything is constexpr; tokens and experts are counts >= 0, other
/// values throw argument_error (in a constant expression: do not compile).
///
/// Convention of every FLOP here: 2 per multiply-add of a matrix product, products only (no softmax, activation or weighted
/// sum); the backward pass is two products (by the input, by the weights) for each of the forward pass.
namespace guild::inline v0::cost {

namespace detail {
constexpr double at_least_0(const char* what, double n) {
    if (!(n >= 0)) guild::detail::raise<argument_error>("guild::cost: ", what, " is ", n, ", expected at least 0");
    return n;
}
}  // namespace detail

/// Matrices and vectors of one feed-forward network: `inputs` matrices [width, H] that read x, one [H, width] that writes y.
constexpr std::int64_t network_parameters(int hidden, std::int64_t width, int inputs, bool bias = false) {
    return std::int64_t(inputs + 1) * hidden * width + (bias && width > 0 ? inputs * width + hidden : 0);
}

/// One mixture layer. H, F, E, K, S as in guild::config, P rows of the router, W_s = config.shared_width().
struct mixture {
    guild::config config;      ///< H, F, E, K, S
    int inputs = 2;            ///< matrices of an expert that read x: 2 gated (SwiGLU), 1 plain
    int router_rows = 0;       ///< P; 0: E
    bool shared_gate = false;  ///< a learned gate [H] scales the shared network
    std::int64_t learned = 0;  ///< further numbers of the gate that have a gradient (a router bias: E)

    /// P, rows of the router.
    constexpr std::int64_t rows() const { return router_rows > 0 ? router_rows : config.routed_experts; }
    /// Of one routed expert.
    constexpr std::int64_t expert_parameters() const { return network_parameters(config.hidden, config.expert_hidden, inputs, config.expert_bias); }
    /// Of the shared network, all shared experts side by side.
    constexpr std::int64_t shared_parameters() const { return network_parameters(config.hidden, config.shared_width(), inputs, config.shared_bias); }
    /// Of what chooses and weighs: router [P, H], learned numbers, gate of the shared network [H].
    constexpr std::int64_t gate_parameters() const { return rows() * config.hidden + learned + (shared_gate ? config.hidden : 0); }

    /// All numbers of the layer.
    constexpr std::int64_t parameters() const { return gate_parameters() + shared_parameters() + config.routed_experts * expert_parameters(); }
    /// The numbers that one token passes: the gate, the shared network, K routed experts.
    constexpr std::int64_t active_parameters() const { return gate_parameters() + shared_parameters() + config.top_k * expert_parameters(); }

    /// Of T tokens: 2 T H (P + [learned shared gate] + (inputs + 1) (K F + W_s)).
    constexpr double forward_flops(double tokens = 1) const {
        const double networks = (inputs + 1.0) * (double(config.top_k) * config.expert_hidden + config.shared_width());
        return 2 * detail::at_least_0("tokens", tokens) * config.hidden * (double(rows()) + (shared_gate ? 1 : 0) + networks);
    }
    /// Of T tokens, without the forward pass: twice its products.
    constexpr double backward_flops(double tokens = 1) const { return 2 * forward_flops(tokens); }

    /// Expected number of routed experts that T tokens reach if each chooses K of E uniformly: E (1 - (1 - K/E)^T).
    constexpr double experts_reached(std::int64_t tokens) const {
        detail::at_least_0("tokens", double(tokens));
        double missed = 1;
        for (double base = 1 - double(config.top_k) / config.routed_experts; tokens > 0; tokens /= 2, base *= base)
            if (tokens % 2 == 1) missed *= base;
        return config.routed_experts * (1 - missed);
    }
    /// Bytes of weights that one forward pass reads if it reads each reached expert once. `bytes`: of one weight in the expert
    /// matrices, scales included (fp32 4, bf16 2, int4 in groups of 32 with an fp16 scale 0.5625); router and vectors are fp32.
    constexpr double weight_bytes(double experts_reached, double bytes = 4) const {
        detail::at_least_0("experts_reached", experts_reached);
        detail::at_least_0("bytes", bytes);
        const double expert = double(network_parameters(config.hidden, config.expert_hidden, inputs));
        const double shared = double(network_parameters(config.hidden, config.shared_width(), inputs));
        const double expert_vectors = double(expert_parameters()) - expert, shared_vectors = double(shared_parameters()) - shared;
        return bytes * (shared + experts_reached * expert) + 4 * (double(gate_parameters()) + shared_vectors + experts_reached * expert_vectors);
    }
    /// Bytes of what a training step of T tokens keeps between forward and backward, x and y not counted: of each of the T K
    /// routed rows h [inputs F], a [F] and the output [H], of each token the same of the shared network (its output only with a
    /// learned gate), logits [P] and weights [K], all of `bytes` each. Integers (choice and plan) are not counted.
    constexpr double activation_bytes(double tokens, double bytes = 4) const {
        const double routed = config.top_k * ((inputs + 1.0) * config.expert_hidden + config.hidden + 1);
        const double shared = (inputs + 1.0) * config.shared_width() + (shared_gate ? config.hidden : 0);
        return detail::at_least_0("bytes", bytes) * detail::at_least_0("tokens", tokens) * (routed + shared + double(rows()));
    }
    constexpr bool operator==(const mixture&) const = default;
};

/// The costs of a model (guild::model, a preset, guild::dynamic_model). Passive experts count as rows of the router and as
/// learned vectors; the active parameters are those of a token that chooses none of them.
template <class Model> constexpr mixture of(const Model& m = {}) {
    const int E = m.config.routed_experts + m.passive.count();
    return {.config = m.config,
            .inputs = m.activation.inputs,
            .router_rows = E + m.stages().extra(E),
            .shared_gate = m.shared.learned,
            .learned = m.stages().learned(E) + std::int64_t(m.passive.vectors()) * m.config.hidden};
}

}  // namespace guild::inline v0::cost
