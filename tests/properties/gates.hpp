#pragma once
#include <properties/cases.hpp>
#include <support/any_gate.hpp>

#include <guild/guild.hpp>

#include <cmath>
#include <limits>
#include <set>

namespace property {

/// The published gates that look at one token at a time.
using token_gate = any_gate<guild::deepseek_moe_gate, guild::deepseek_v2_gate, guild::deepseek_v2_lite_gate, guild::deepseek_v3_gate,
                            guild::deepseek_v4_gate, guild::mixtral_gate, guild::qwen3_gate, guild::dbrx_gate, guild::gpt_oss_gate, guild::ernie_gate,
                            guild::glm4_gate, guild::minimax_m2_gate, guild::lfm2_gate, guild::muse_spark_gate, guild::laguna_gate,
                            guild::kolibri_gate, guild::flint_gate, guild::mistral4_gate, guild::longcat_gate, guild::remoe_gate, guild::phi_moe_gate,
                            guild::noisy_top_k_gate, guild::dense_gate, guild::hierarchical_gate>;
constexpr int max_experts = 16;

constexpr double no_promise = std::numeric_limits<double>::quiet_NaN();

/// One of them, with numbers that fit.
struct drawn_gate {
    token_gate gate;
    int groups = 1, keep = 1;  ///< 1 where it has none
    double sum = no_promise;   ///< what the weights of a token add up to
};

namespace detail {
template <class Gate> constexpr bool has_scale = requires(Gate g) { g.scale; };
template <class Gate> constexpr bool has_groups = requires(Gate g) { g.groups; };
template <class Gate> constexpr bool has_keep = requires(Gate g) { g.keep; };
template <class Gate>
constexpr bool sums_to_scale =
    std::is_same_v<Gate, guild::deepseek_v3_gate> || std::is_same_v<Gate, guild::deepseek_v4_gate> || std::is_same_v<Gate, guild::glm4_gate> ||
    std::is_same_v<Gate, guild::muse_spark_gate> || std::is_same_v<Gate, guild::laguna_gate> || std::is_same_v<Gate, guild::mistral4_gate>;
template <class Gate>
constexpr bool sums_to_one =
    std::is_same_v<Gate, guild::mixtral_gate> || std::is_same_v<Gate, guild::qwen3_gate> || std::is_same_v<Gate, guild::dbrx_gate> ||
    std::is_same_v<Gate, guild::gpt_oss_gate> || std::is_same_v<Gate, guild::ernie_gate> || std::is_same_v<Gate, guild::minimax_m2_gate> ||
    std::is_same_v<Gate, guild::kolibri_gate> || std::is_same_v<Gate, guild::flint_gate> || std::is_same_v<Gate, guild::noisy_top_k_gate> ||
    std::is_same_v<Gate, guild::dense_gate> || std::is_same_v<Gate, guild::hierarchical_gate>;

template <class Gate> void set(drawn_gate& to, draws& d, int E, int K) {
    Gate g{};
    if constexpr (has_scale<Gate>) g.scale = 0.25 + 3 * d.real();
    if constexpr (has_groups<Gate>) {
        do g.groups = d.integer(1, E);
        while (E % g.groups != 0);
        to.groups = g.groups;
        if constexpr (has_keep<Gate>) {
            const int size = E / g.groups;
            g.keep = to.keep = d.integer((K + size - 1) / size, g.groups);
        }
    }
    if constexpr (sums_to_one<Gate>) to.sum = 1;
    else if constexpr (sums_to_scale<Gate>) to.sum = g.scale;
    to.gate.one = g;
}
}  // namespace detail

/// Any of them for E experts, K chosen.
inline drawn_gate draw_gate(draws& d, int E, int K) {
    drawn_gate to;
    const int which = d.integer(0, static_cast<int>(std::variant_size_v<decltype(to.gate.one)>) - 1);
    [&]<class... G>(std::variant<G...>&) {
        int i = 0;
        ((i++ == which ? detail::set<G>(to, d, E, K) : void()), ...);
    }(to.gate.one);
    return to;
}
/// One of those with accepts(gate), some of which must fit any E and K.
template <class F> drawn_gate draw_gate(draws& d, int E, int K, F accepts) {
    for (;;)
        if (drawn_gate g = draw_gate(d, E, K); std::visit([&](const auto& one) { return accepts(one); }, g.gate.one)) return g;
}
/// One of the types G.
template <class... G> auto one_of() {
    return []<class T>(const T&) { return (std::is_same_v<T, G> || ...); };
}

/// A gate on logits of its own: [T, P] in, choice out.
template <class S, class Gate> struct routed {
    Gate gate;
    int E, K;
    long T;
    std::vector<S> logit, learned;
    std::vector<S> state;
    guild::gate_result<S> result;

    /// Normal logits, and normal numbers for whatever else the gate asks for.
    routed(draws& d, const Gate& g, int experts, int top_k, long tokens) : gate(g), E(experts), K(top_k), T(tokens) {
        const auto s = gate.stages();
        const auto fill = [&](std::vector<S>& v, long n) {
            for (long i = 0; i < n; ++i) v.push_back(static_cast<S>(2 * d.normal()));
        };
        fill(logit, T * P());
        fill(learned, s.learned(E));
        fill(state, s.state(E));
    }
    int P() const { return E + gate.stages().extra(E); }
    int W() const { return gate.stages().slots(E, K); }
    S& at(long t, int e) { return logit[static_cast<std::size_t>(t * P() + e)]; }
    void run(const guild::batch& side = {}) {
        guild::gate::forward(guild::backend::reference{}, model{gate, {E, gate.stages().extra(E), W()}},
                             guild::gate_data<S>{learned.data(), state.data(), nullptr}, side, guild::view<const S>(logit.data(), T, P()), result);
    }
    int expert(long t, int k) const { return result.choice.expert[t * W() + k]; }
    S weight(long t, int k) const { return result.choice.weight[t * W() + k]; }
    std::set<int> chosen(long t) const {
        std::set<int> all;
        for (int k = 0; k < W(); ++k)
            if (expert(t, k) != guild::no_expert) all.insert(expert(t, k));
        return all;
    }
    /// The softmax of the logits.
    double score(long t, int e) const {
        double sum = 0;
        for (int i = 0; i < E; ++i)
            sum += std::exp(static_cast<double>(logit[static_cast<std::size_t>(t * P() + i)] - logit[static_cast<std::size_t>(t * P() + e)]));
        return 1 / sum;
    }
    /// The weight of an expert, 0 if it was not chosen.
    S weight_of(long t, int e) const {
        for (int k = 0; k < W(); ++k)
            if (expert(t, k) == e) return weight(t, k);
        return 0;
    }

private:
    struct model {
        const Gate& gate;
        guild::any_extent<max_experts> n;
        auto stages() const { return gate.stages(); }
        auto extent() const { return n; }
    };
};
}  // namespace property
