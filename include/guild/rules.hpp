#pragma once
#include <guild/concepts.hpp>
#include <guild/config.hpp>
#include <guild/core/finite.hpp>
#include <guild/core/rule.hpp>
#include <guild/gate/order.hpp>

#include <limits>

/// What makes a model sound, in one list. For `model` the compiler stops at the first sentence that does not hold and shows it;
/// `dynamic_model` throws it at run time, with what was found.
namespace guild::inline v0::detail {

template <class G> inline constexpr bool weighs_shared = requires { requires G::weighs_shared; };
/// Whether the numbers of a policy can be used.
template <class P> constexpr bool valid(const P& p) {
    bool all = true;
    if constexpr (requires { p.valid(); }) all = p.valid();
    if constexpr (loss_policy<P>) all = all && is_finite(p.weight);
    return all;
}
template <class P> constexpr void usable(const P& p) {
    rule("guild::model: a policy has a number that is not finite or out of its range", valid(p), p);
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
/// Whether a loss accepts so many experts.
template <class P> constexpr bool suits(const P& p, int experts) {
    if constexpr (loss_policy<P> && requires { p.fits(experts); }) return p.fits(experts);
    else return true;
}

/// Of the numbers in config and passive: those that the rest counts with.
template <class M> constexpr void number_rules(const M& m) {
    constexpr long most = (std::numeric_limits<int>::max)();
    const guild::config& c = m.config;
    const auto& p = m.passive;
    rule("guild::config: .hidden must be at least 1", c.hidden >= 1, c.hidden);
    rule("guild::config: .expert_hidden must be at least 1 (guild::segmented: .segments must divide .ffn_hidden)", c.expert_hidden >= 1,
         c.expert_hidden);
    rule("guild::config: .routed_experts must be at least 1", c.routed_experts >= 1, c.routed_experts);
    rule("guild::config: .shared_experts must not be negative", c.shared_experts >= 0, c.shared_experts);
    rule("guild::config: .shared_hidden must not be negative", c.shared_hidden >= 0, c.shared_hidden);
    const long side_by_side = c.shared_hidden > 0 ? c.shared_hidden : static_cast<long>(c.shared_experts) * c.expert_hidden;
    rule("guild::config: .shared_experts times .expert_hidden must fit in an int", side_by_side <= most, side_by_side);
    rule("guild::passive: .zero must not be negative", p.zero >= 0, p.zero);
    rule("guild::passive: .identity must not be negative", p.identity >= 0, p.identity);
    rule("guild::passive: .constant must not be negative", p.constant >= 0, p.constant);
    rule("guild::passive: .blend must not be negative", p.blend >= 0, p.blend);
    const long passive = long{p.zero} + p.identity + p.constant + p.blend, vectors = p.constant + 3L * p.blend;
    rule("guild::passive: its experts and their learned vectors must fit in an int", passive <= most && vectors <= most, passive);
    const long experts = c.routed_experts + passive;
    rule("guild::config: .routed_experts (plus passive experts) must fit in an int", experts <= most, experts);
    rule("guild::config: .top_k must be at least 1", c.top_k >= 1, c.top_k);
    rule("guild::config: .top_k must be at most .routed_experts (plus passive experts)", c.top_k <= experts, c.top_k, " of ", experts);
    if constexpr (requires { M::max_experts; })
        rule("guild::dynamic_model: .routed_experts (plus passive experts) must be at most MaxExperts", experts <= M::max_experts, experts,
             ", MaxExperts ", M::max_experts);
}

/// Of the gate and its stages.
template <class M> constexpr void gate_rules(const M& m) {
    const auto stages = m.stages();
    using Stages = std::remove_const_t<decltype(stages)>;
    const int E = m.experts(), K = m.config.top_k;
    rule("guild::model: at most one stage of the gate may look across tokens (decide)", Stages::across_count <= 1, Stages::across_count);
    const auto fits = [&](const auto& s) {
        if constexpr (requires { s.fits(E, K); })
            rule("guild::model: a stage of the gate does not fit .routed_experts and .top_k, or has a number that cannot be used", s.fits(E, K), s,
                 " with ", E, " experts and .top_k ", K);
    };
    if constexpr (requires { stages.each(fits); }) stages.each(fits);
    else fits(stages);
    const int asked = stages.extra_count(E), extra = stages.extra(E), slots = stages.slots(E, K);
    rule("guild::model: at most one stage of the gate may have logits of its own (extra)", asked <= 1, asked);
    const int learned = stages.learned(E), state = stages.state(E);
    rule("guild::model: stages of the gate ask for negative numbers of logits, learned numbers or state", extra >= 0 && learned >= 0 && state >= 0,
         extra, ", ", learned, " and ", state);
    rule("guild::model: a stage of the gate must leave a token at least one slot", slots >= 1, slots);
    if constexpr (requires { M::max_experts; }) {
        rule("guild::dynamic_model: extra logits of the gate must be at most MaxExperts", extra <= M::max_experts, extra, ", MaxExperts ",
             M::max_experts);
        rule("guild::dynamic_model: slots of a token must be at most MaxExperts", slots <= M::max_experts, slots, ", MaxExperts ", M::max_experts);
    }
    usable(m.gate);
    if constexpr (requires { m.gate.input(); }) {
        const auto input = m.gate.input();
        rule("guild::model: input() of the gate is no input policy (forward, backward)", input_policy<std::remove_const_t<decltype(input)>>, input);
        usable(input);
    }
    if constexpr (requires { requires M::has_balancer; })
        rule("guild::model: the balancer moves a selection bias, and the gate has none (or load_average without load_penalty)",
             state == E && moves_state<Stages, std::remove_cvref_t<decltype(m.balancer)>>(), m.balancer, " and ", state, " numbers of state");
}

/// Of the policies beside the gate.
template <class M> constexpr void policy_rules(const M& m) {
    usable(m.activation);
    usable(m.shared);
    usable(m.balancer);
    m.each_loss([&](const auto& loss) {
        usable(loss);
        rule("guild::model: a balance loss does not fit the number of experts (its .devices must divide them, .reach not exceed .devices)",
             suits(loss, m.experts()), loss, " with ", m.experts(), " experts");
        rule("guild::model: a balance loss reads scores, and the gate has none (it ranks logits): take guild::top_k_balance_loss",
             !misses_scores<std::remove_const_t<decltype(m.stages())>, std::remove_cvref_t<decltype(loss)>>(), loss);
    });
    const guild::config& c = m.config;
    if constexpr (weighs_shared<std::remove_cvref_t<decltype(m.gate)>>) {
        const int weighed = m.stages().extra(m.experts());
        rule("guild::model: shared experts that the gate weighs have no .shared_bias", !c.shared_bias, ".shared_bias");
        rule("guild::model: the gate weighs another number of shared experts than .shared_experts",
             c.shared_experts >= 1 && weighed == c.shared_experts, weighed, ", .shared_experts ", c.shared_experts);
        rule("guild::model: .shared_hidden must be a multiple of .shared_experts where the gate weighs these one by one",
             c.shared_width() % c.shared_experts == 0, c.shared_hidden, ", .shared_experts ", c.shared_experts);
    }
    rule("guild::model: a learned shared policy needs .shared_experts or .shared_hidden", !m.shared.learned || c.shared_width() > 0, 0);
}

template <class M> constexpr bool rules(const M& m) {
    number_rules(m);
    gate_rules(m);
    policy_rules(m);
    return true;
}

/// Of the order of the gate's stages.
template <class Gate> constexpr bool order(bool losses) {
    using stages = std::remove_cvref_t<decltype(std::declval<const Gate&>().stages())>;
    const row_use use{losses, weighs_shared<Gate>};
    if constexpr (requires(const stages* s) { order_rules(s, use); }) return order_rules(static_cast<const stages*>(nullptr), use);
    else return true;  // not a pipeline
}

/// Of the list of policies of `model`.
template <class... Policies> constexpr bool kinds() {
    const auto one_at_most = [](const char* sentence, auto... is) {
        const int given = (static_cast<int>(is) + ... + 0);
        rule(sentence, given <= 1, given);
    };
    rule(
        "guild::model: an argument is no policy: not a gate (stages), activation (inputs), shared (learned, factor), passive (zero, identity, "
        "constant, blend), loss (weight, value), balancer (update) or residual",
        (policy<Policies> && ...), "one");
    one_at_most("guild::model: more than one gate given", gate_policy<Policies>...);
    one_at_most("guild::model: more than one activation given", activation_policy<Policies>...);
    one_at_most("guild::model: more than one shared policy given", shared_policy<Policies>...);
    one_at_most("guild::model: more than one passive policy given", passive_policy<Policies>...);
    one_at_most("guild::model: more than one balancer given", balancer_policy<Policies>...);
    one_at_most("guild::model: more than one residual given", residual_policy<Policies>...);
    return true;
}

/// Where a compiler meets the rules of a model: as the argument of an alias in a class of its own, a sentence that does not hold is one error,
/// and the model, which stays whole, gives no second.
template <class M, class... Policies> struct sound {
    using gate = std::remove_cvref_t<decltype(M::gate)>;
    using model = std::bool_constant<kinds<Policies...>() && order<gate>(M::has_losses) && rules(M{})>;
};
/// The part of them that the type of a gate decides.
template <class Gate> struct sound_gate { using model = std::bool_constant<order<Gate>(false)>; };

}  // namespace guild::inline v0::detail
