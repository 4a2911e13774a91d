#pragma once
#include <guild/balance/bias.hpp>
#include <guild/concepts.hpp>
#include <guild/config.hpp>
#include <guild/core/error.hpp>
#include <guild/expert/activation.hpp>
#include <guild/expert/clamped.hpp>
#include <guild/expert/passive.hpp>
#include <guild/expert/shared.hpp>
#include <guild/gate/gates.hpp>

#include <utility>

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
template <class Is, class... Ps> constexpr int count(Is is, Ps... ps) { return (static_cast<int>(decltype(is(ps))::value) + ... + 0); }
template <class G> constexpr bool weighs_shared(const G&) {
    return requires { requires G::weighs_shared; };
}
/// Whether the numbers of a policy can be used.
template <class P> constexpr bool valid(const P& p) {
    if constexpr (requires { p.valid(); }) return p.valid();
    else if constexpr (loss_policy<P>) return is_finite(p.weight);
    else return true;
}
/// Whether a loss needs scores that the stages do not make.
template <class Stages, class P> constexpr bool misses_scores() {
    if constexpr (loss_policy<P> && requires { requires P::reads_scores; }) return Stages::scored == Stages::logits_end;
    else return false;
}
/// Whether the stages have the state that a balancer moves.
template <class Stages, class B> constexpr bool moves_state() {
    if constexpr (requires { typename B::moves; }) return Stages::template has<typename B::moves>;
    else return true;
}
template <class G> constexpr bool input_fits(const G& g) {
    if constexpr (requires { g.input(); }) return input_policy<std::remove_cvref_t<decltype(g.input())>>;
    else return true;
}
template <class G> constexpr bool valid_input(const G& g) {
    if constexpr (requires { g.input().valid(); }) return g.input().valid();
    else return true;
}
/// Whether a loss accepts so many experts.
template <class P> constexpr bool suits(const P& p, int experts) {
    if constexpr (loss_policy<P> && requires { p.fits(experts); }) return p.fits(experts);
    else return true;
}
}  // namespace detail

template <class Model> concept moe_model = requires(const Model& m) {
    m.config.hidden;
    m.stages();
    m.extent();
    m.activation;
    m.shared;
    m.passive;
    m.balancer;
    m.residual;
};

/// A mixture known at compile time: numbers, and policies as values in any order, at most one of each kind but for losses. Give it
/// a name by deriving; the name is what errors, symbols and debuggers show.
///     struct tiny : guild::model<guild::config{...}, guild::deepseek_v3_gate{.groups = 1}, guild::expert_loss{}> {};
/// Defaults: deepseek_moe_gate, swiglu, plain_shared, no passive experts, no residual, no balancer, no loss.
template <config C, auto... Policies> struct model {
    static_assert((policy<std::remove_cvref_t<decltype(Policies)>> && ...),
                  "guild::model: an argument is no policy: not a gate (stages), activation (inputs), shared (learned, factor), passive (zero, "
                  "identity, constant, blend), loss (weight, value), balancer (update) or residual");
    static_assert(detail::count(detail::is_gate, Policies...) <= 1, "guild::model: more than one gate given");
    static_assert(detail::count(detail::is_activation, Policies...) <= 1, "guild::model: more than one activation given");
    static_assert(detail::count(detail::is_shared, Policies...) <= 1, "guild::model: more than one shared policy given");
    static_assert(detail::count(detail::is_passive, Policies...) <= 1, "guild::model: more than one passive policy given");
    static_assert(detail::count(detail::is_balancer, Policies...) <= 1, "guild::model: more than one balancer given");
    static_assert(detail::count(detail::is_residual, Policies...) <= 1, "guild::model: more than one residual given");
    static_assert((detail::valid(Policies) && ...), "guild::model: a policy has a number that is not finite");

    static constexpr guild::config config = C;
    static constexpr auto gate = detail::pick(detail::is_gate, deepseek_moe_gate{}, Policies...);
    static constexpr auto activation = detail::pick(detail::is_activation, swiglu{}, Policies...);
    static constexpr auto shared = detail::pick(detail::is_shared, plain_shared{}, Policies...);
    static constexpr auto passive = detail::pick(detail::is_passive, guild::passive{}, Policies...);
    static constexpr auto balancer = detail::pick(detail::is_balancer, no_balance{}, Policies...);
    static constexpr auto residual = detail::pick(detail::is_residual, guild::residual::none, Policies...);
    static constexpr bool has_losses = (loss_policy<std::remove_cvref_t<decltype(Policies)>> || ...);

    static_assert(config.hidden >= 1, "guild::config: .hidden must be at least 1");
    static_assert(config.expert_hidden >= 1,
                  "guild::config: .expert_hidden must be at least 1 (guild::segmented: .segments must divide .ffn_hidden)");
    static_assert(config.routed_experts >= 1, "guild::config: .routed_experts must be at least 1");
    static_assert(config.shared_experts >= 0, "guild::config: .shared_experts must not be negative");
    static_assert(config.shared_hidden >= 0, "guild::config: .shared_hidden must not be negative");
    static_assert(passive.zero >= 0 && passive.identity >= 0 && passive.constant >= 0 && passive.blend >= 0,
                  "guild::passive: counts must not be negative");
    static_assert(config.top_k >= 1, "guild::config: .top_k must be at least 1");
    static_assert(config.top_k <= config.routed_experts + passive.count(),
                  "guild::config: .top_k must be at most .routed_experts (plus passive experts)");

    static constexpr auto stages() { return gate.stages(); }
    /// E as the gate sees it: routed and passive.
    static constexpr int experts() { return config.routed_experts + passive.count(); }

    static_assert(decltype(stages())::across_count <= 1, "guild::model: at most one stage of the gate may look across tokens (decide)");
    static_assert(
        stages().fits(experts(), config.top_k),
        "guild::model: a stage of the gate does not fit .routed_experts and .top_k (group_limit: .groups must divide the experts and the kept "
        "groups must hold .top_k; numbers must be finite)");
    static_assert((detail::suits(Policies, experts()) && ...),
                  "guild::model: a balance loss does not fit the number of experts (its .devices must divide them, .reach not exceed .devices)");
    static_assert(!(detail::misses_scores<decltype(stages()), std::remove_cvref_t<decltype(Policies)>>() || ...),
                  "guild::model: a balance loss reads scores, and the gate has none (it ranks logits): take guild::top_k_balance_loss");
    static_assert(std::same_as<decltype(detail::pick(detail::is_balancer, no_balance{}, Policies...)), no_balance> ||
                      (stages().state(experts()) == experts() && detail::moves_state<decltype(stages()), std::remove_cvref_t<decltype(balancer)>>()),
                  "guild::model: the balancer moves a selection bias, and the gate has none (or load_average without load_penalty)");
    static_assert(stages().extra_count(experts()) <= 1, "guild::model: at most one stage of the gate may have logits of its own (extra)");
    static_assert(detail::input_fits(gate), "guild::model: the gate's input() is no input policy (forward, backward)");
    static_assert(detail::valid_input(gate), "guild::model: the gate's input has a number that cannot be used");
    static_assert(!detail::weighs_shared(gate) || !config.shared_bias, "guild::model: shared experts that the gate weighs have no .shared_bias");
    static_assert(!detail::weighs_shared(gate) || (config.shared_experts >= 1 && stages().extra(experts()) == config.shared_experts &&
                                                   config.shared_width() % (config.shared_experts > 0 ? config.shared_experts : 1) == 0),
                  "guild::model: the gate weighs another number of shared experts than .shared_experts");
    static_assert(!shared.learned || config.shared_width() > 0, "guild::model: a learned shared policy needs .shared_experts or .shared_hidden");

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

/// Numbers from a file: the kinds of policy are still types, so one instantiation opens a whole family of checkpoints.
///     guild::dynamic_model<guild::deepseek_v3_gate> m{.config = {...}, .gate = {.groups = n_group}};
/// MaxExperts bounds what the gate of one token holds: E, extra logits and slots. Losses are compile-time values of `model` alone.
template <gate_policy Gate, activation_policy Activation = swiglu, shared_policy Shared = plain_shared, int MaxExperts = 512> struct dynamic_model {
    guild::config config{};
    Gate gate{};
    Activation activation{};
    Shared shared{};
    guild::passive passive{};
    guild::residual residual = guild::residual::none;
    bias_balance balancer{};
    static constexpr bool has_losses = false;

    constexpr auto stages() const { return gate.stages(); }
    constexpr int experts() const { return config.routed_experts + passive.count(); }
    constexpr any_extent<MaxExperts> extent() const { return {experts(), stages().extra(experts()), stages().slots(experts(), config.top_k)}; }
    template <class F> constexpr void each_loss(F) const {}

    /// The rules of `model`. Throws argument_error that names the number.
    void check() const {
        const auto at_least = [](const char* name, int found, int least) {
            if (found < least) detail::raise<argument_error>("guild::dynamic_model: ", name, " is ", found, ", expected at least ", least);
        };
        at_least("config.hidden", config.hidden, 1);
        at_least("config.expert_hidden", config.expert_hidden, 1);
        at_least("config.routed_experts", config.routed_experts, 1);
        at_least("config.shared_experts", config.shared_experts, 0);
        at_least("config.shared_hidden", config.shared_hidden, 0);
        at_least("config.top_k", config.top_k, 1);
        at_least("passive.zero", passive.zero, 0);
        at_least("passive.identity", passive.identity, 0);
        at_least("passive.constant", passive.constant, 0);
        at_least("passive.blend", passive.blend, 0);
        if (config.top_k > experts())
            detail::raise<argument_error>("guild::dynamic_model: config.top_k is ", config.top_k, ", expected at most the experts, ", experts());
        const auto bounded = [](const char* name, int found) {
            if (found > MaxExperts)
                detail::raise<argument_error>("guild::dynamic_model: ", name, " is ", found, ", expected at most MaxExperts, ", MaxExperts);
        };
        bounded("config.routed_experts (with passive experts)", experts());
        if (!stages().fits(experts(), config.top_k))
            detail::raise<argument_error>(
                "guild::dynamic_model: a stage of the gate does not fit ", experts(), " experts and top_k ", config.top_k,
                " (group_limit: groups must divide the experts and the kept groups must hold top_k; numbers must be finite)");
        bounded("extra logits of the gate", extent().extra);
        if (stages().extra_count(experts()) > 1)
            detail::raise<argument_error>("guild::dynamic_model: at most one stage of the gate may have logits of its own, found ",
                                          stages().extra_count(experts()));
        if (!detail::valid_input(gate)) detail::raise<argument_error>("guild::dynamic_model: the gate's input has a number that cannot be used");
        if (detail::weighs_shared(gate) && config.shared_bias)
            detail::raise<argument_error>("guild::dynamic_model: config.shared_bias is set, expected none where the gate weighs shared experts");
        if (detail::weighs_shared(gate) &&
            (extent().extra != config.shared_experts || config.shared_experts < 1 || config.shared_width() % config.shared_experts))
            detail::raise<argument_error>("guild::dynamic_model: the gate weighs ", extent().extra, " shared experts, config.shared_experts is ",
                                          config.shared_experts);
        if (Shared::learned && config.shared_width() == 0)
            detail::raise<argument_error>(
                "guild::dynamic_model: a learned shared policy needs config.shared_experts or config.shared_hidden, found 0");
    }
};

}  // namespace guild::inline v0
