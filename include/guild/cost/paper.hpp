#pragma once
#include <guild/core/error.hpp>
#include <cstdint>
#include <limits>
#include <numeric>

/// The figures of the DeepSeekMoE paper (arXiv:2401.06066) in the paper's own, idealised convention. For a model's real
/// shapes see cost/transformer.hpp; the two differ by 1 to 3 %.
namespace guild::inline v0::cost {

/// A transformer as the paper counts it: an attention block has 4 d^2 numbers and a standard feed-forward network 8 d^2,
/// whatever the widths really are and however many heads share keys; no norms, biases or router. Mixture layers are told in
/// standard networks: DeepSeekMoE 2B has experts of 0.25 of one, holds 64 * 0.25 = 16 of them and uses (1 + 7) * 0.25 = 2.
struct paper {
    int layers;            ///< L, dense ones included
    int hidden;            ///< d
    int vocabulary;        ///< rows of the embedding and of the head
    double active = 1;     ///< standard networks that a token passes in a mixture layer
    double total = 0;      ///< standard networks that a mixture layer holds; 0: `active`, a dense model
    int dense_layers = 0;  ///< leading layers without mixture
    double dense = 0;      ///< standard networks in each of those; 0: `active`
    double network = 8;    ///< numbers of a standard network over d^2
    double attention = 4;  ///< numbers of an attention block over d^2

    /// All numbers, input embedding and head included.
    constexpr double parameters() const { return body(total > 0 ? total : active) + 2 * embedding(); }
    /// Those that one token passes, input embedding and head included.
    constexpr double active_parameters() const { return body(active) + 2 * embedding(); }
    /// Those of the feed-forward networks of all mixture layers ("expert parameters").
    constexpr double expert_parameters() const { return (layers - dense_layers) * square() * network * (total > 0 ? total : active); }
    /// Of the networks that a token passes in the mixture layers.
    constexpr double active_expert_parameters() const { return (layers - dense_layers) * square() * network * active; }
    /// One training step on a sequence of T tokens: 6 N_act T + 12 L T^2 d, N_act without the input embedding and with the
    /// head, attention in full (not halved for causality).
    constexpr double training_flops(double tokens) const {
        return 6 * tokens * (body(active) + embedding()) + 12 * double(layers) * tokens * tokens * hidden;
    }

private:
    constexpr double square() const { return double(hidden) * hidden; }
    constexpr double embedding() const { return double(vocabulary) * hidden; }
    constexpr double body(double networks) const {
        const double first = dense > 0 ? dense : active;
        return square() * (layers * attention + network * ((layers - dense_layers) * networks + dense_layers * first));
    }
};

/// n over k, exact: in how many ways a token can choose k of n experts (section 3.1 of the paper: 120 for 2 of 16,
/// 4,426,165,368 after each is cut in four). Throws argument_error for negative arguments and for a result beyond 64 bits.
constexpr std::int64_t combinations(int n, int k) {
    if (n < 0 || k < 0) guild::detail::raise<argument_error>("guild::cost::combinations: n, k are ", n, ", ", k, ", expected at least 0");
    if (k > n) return 0;
    if (k > n - k) k = n - k;
    std::int64_t result = 1;
    for (std::int64_t i = 1; i <= k; ++i) {  // result = n - k + i over i, increasing in i
        const std::int64_t common = std::gcd(result, i), factor = (n - k + i) / (i / common);
        if (result / common > (std::numeric_limits<std::int64_t>::max)() / factor)
            guild::detail::raise<argument_error>("guild::cost::combinations: ", n, " over ", k, " does not fit in 64 bits");
        result = result / common * factor;
    }
    return result;
}

}  // namespace guild::inline v0::cost
