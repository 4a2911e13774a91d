#pragma once
#include <guild/balance/bias.hpp>
#include <guild/concepts.hpp>
#include <guild/config.hpp>
#include <guild/expert/activation.hpp>
#include <guild/expert/clamped.hpp>
#include <guild/expert/passive.hpp>
#include <guild/expert/shared.hpp>
#include <guild/gate/published/gates.hpp>
#include <guild/rules.hpp>

/// What is computed. `model` fixes it at compile time, `dynamic_model` carries the same members as run-time values; every step
/// reads m.config, m.gate, m.stages() from an object and does not ask which of the two it has.
namespace guild::inline v0 {

namespace detail {
constexpr auto is_gate = []<class P>(P) { return std::bool_constant<gate_policy<P>>{}; };
constexpr auto is_activation = []<class P>(P) { return std::bool_constant<activation_policy<P>>{}; };
constexpr auto is_shared = []<class P>(P) { return std::bool_constant<shared_policy<P>>{}; };
constexpr auto is_passive = []<class P>(P) { return std::bool_constant<passive_policy<P>>{}; };
constexpr auto is_balancer = []<class P>(P) { return std::bool_constant<balancer_policy<P>>{}; };
constexpr auto is_residual = []<class P>(P) { return std::bool_constant<residual_policy<P>>{}; };

/// The policy of a kind, or the default.
template <class Is, class Default> constexpr auto pick(Is, Default d) { return d; }
template <class Is, class Default, class P, class... Ps> constexpr auto pick(Is is, Default d, P p, Ps... ps) {
    if constexpr (decltype(is(p))::value) return p;
    else return pick(is, d, ps...);
}
template <class Model> concept has_numbers = requires(const Model& m) { m.config.hidden; };
}  // namespace detail

template <class Model> concept moe_model = detail::has_numbers<Model> && requires(const Model& m) {
    m.stages();
    m.extent();
    m.activation;
    m.shared;
    m.passive;
    m.balancer;
    m.residual;
};

namespace detail {
/// The members of a model; whoever wants them sound takes `model`.
template <config C, auto... Policies> struct model_members {
    static constexpr guild::config config = C;
    static constexpr auto gate = pick(is_gate, deepseek_moe_gate{}, Policies...);
    static constexpr auto activation = pick(is_activation, swiglu{}, Policies...);
    static constexpr auto shared = pick(is_shared, plain_shared{}, Policies...);
    static constexpr auto passive = pick(is_passive, guild::passive{}, Policies...);
    static constexpr auto balancer = pick(is_balancer, no_balance{}, Policies...);
    static constexpr auto residual = pick(is_residual, guild::residual::none, Policies...);
    static constexpr bool has_losses = (loss_policy<std::remove_cvref_t<decltype(Policies)>> || ...);
    static constexpr bool has_balancer = (balancer_policy<std::remove_cvref_t<decltype(Policies)>> || ...);

    static constexpr auto stages() { return gate.stages(); }
    /// E as the gate sees it: routed and passive.
    static constexpr int experts() { return config.routed_experts + passive.count(); }
    static constexpr auto extent() { return guild::extent<experts(), stages().extra(experts()), stages().slots(experts(), config.top_k)>{}; }
    /// f(loss) for each loss.
    template <class F> static constexpr void each_loss(F f) {
        [[maybe_unused]] const auto one = [&](auto p) {
            if constexpr (loss_policy<decltype(p)>) f(p);
        };
        (one(Policies), ...);
    }
    static void check() {}
};
}  // namespace detail

/// A mixture known at compile time: numbers, and policies as values in any order, at most one of each kind but for losses. Give it
/// a name by deriving; the name is what errors, symbols and debuggers show.
///
///     struct tiny : guild::model<guild::config{...}, guild::deepseek_v3_gate{.groups = 1}, guild::expert_loss{}> {};
/// Defaults: deepseek_moe_gate, swiglu, plain_shared, no passive experts, no residual, no balancer, no loss.
/// Where a policy is given as the name of a type, compilers show the name of the parameter, or its line: nothing else of this class.
template <config C, auto... a_policy_is_a_value_with_braces>  // guild::mixtral_gate{}, not guild::mixtral_gate
struct model : detail::model_members<C, a_policy_is_a_value_with_braces...> {
    static_assert(sizeof(detail::sound<detail::model_members<C, a_policy_is_a_value_with_braces...>,
                                       std::remove_cvref_t<decltype(a_policy_is_a_value_with_braces)>...>) > 0);
};

/// Numbers from a file: the kinds of policy are still types, so one instantiation opens a whole family of checkpoints.
///
///     guild::dynamic_model<guild::deepseek_v3_gate> m{.config = {...}, .gate = {.groups = n_group}};
/// MaxExperts bounds what the gate of one token holds: E, extra logits and slots. Losses are compile-time values of `model` alone.
template <gate_policy Gate, activation_policy Activation = swiglu, shared_policy Shared = plain_shared, int MaxExperts = 512> struct dynamic_model {
    guild::config config{};                            ///< its numbers
    Gate gate{};                                       ///< which experts, with which weight
    Activation activation{};                           ///< between the matrices of an expert
    Shared shared{};                                   ///< how the shared experts enter
    guild::passive passive{};                          ///< experts without matrices
    guild::residual residual = guild::residual::none;  ///< whether y holds x too
    bias_balance balancer{};                           ///< what rebalance moves the state by
    static constexpr bool has_losses = false;          ///< its losses are measured, not optimised
    static constexpr int max_experts = MaxExperts;     ///< most experts that config may ask for

    static_assert(sizeof(detail::sound_gate<Gate>) > 0);
    /// Those of the gate.
    constexpr auto stages() const { return gate.stages(); }
    /// Routed and passive experts, E.
    constexpr int experts() const { return config.routed_experts + passive.count(); }
    /// E, X and W.
    constexpr any_extent<MaxExperts> extent() const { return {experts(), stages().extra(experts()), stages().slots(experts(), config.top_k)}; }
    /// None.
    template <class F> constexpr void each_loss(F) const {}

    /// The rules of `model`. Throws argument_error: the sentence, and what was found.
    void check() const { detail::rules(*this); }
};

}  // namespace guild::inline v0
