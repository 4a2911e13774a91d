#pragma once
#include <guild/step/lender.hpp>
#include <guild/step/workspace.hpp>

#include <type_traits>

namespace guild::inline v0 {

namespace detail {
/// The packed weights of a layer whose format is packed<Format>; for another format a type that nothing has, so that clang does not
/// deduce such a layer from packed weights.
template <class Model, class Format, class Backend> struct packed_source { struct type; };
template <class Model, class Format, class Backend> struct packed_source<Model, packed<Format>, Backend> {
    using type = packed_weights<Model, Format, typename packer_of<Backend>::type>;
};
}  // namespace detail

/// The steps that a backend may override, a bit each, for its `overrides`.
struct overridden {
    enum : unsigned {
        none = 0,
        logits = 1,
        choose = 2,
        dispatch = 4,
        experts = 8,
        experts_backward = 16,
        losses_backward = 32,
        choose_backward = 64,
        logits_backward = 128
    };
};
/// What the steps of backend::host return, by which one sees whose a backend's step is.
struct of_host {};

/// What every step of a call is given: what is computed, with which numbers, by whom. `Backend` is the outermost one, through which steps call
/// products, loops and each other's parts: what wraps a backend is met by the steps of what it wraps.
template <class Model, class Format, class Backend> struct context {
    using S = scalar_of<Format>;                                            ///< of activations, router and gradients
    using weights = typename detail::lender<Model, Format, Backend>::view;  ///< a view of them, packed ones, or a backend's handle

    const Model& model;      ///< what is computed
    const weights& w;        ///< with which numbers
    const Backend& backend;  ///< by whom
    const void* owner;       ///< of the weights

    /// The gate weighs what experts read.
    static constexpr bool weighs_input = requires { requires std::remove_cvref_t<decltype(Model::gate)>::weighs_input; };
    /// The gate weighs the shared experts.
    static constexpr bool weighs_shared = gate::weighs_shared<Model>;
    /// The router reads something else than x.
    static constexpr bool changes_input = requires(const Model& m) { m.gate.input(); };
    /// The gate reads logits of the layer before.
    static constexpr bool needs_previous = decltype(std::declval<const Model&>().stages())::needs_previous;
    /// Training has losses.
    static constexpr bool model_has_losses = Model::has_losses;
    /// Of the activation.
    static constexpr int inputs = std::remove_cvref_t<decltype(Model::activation)>::inputs;
    /// The shared policy has numbers.
    static constexpr bool shared_learns = std::remove_cvref_t<decltype(Model::shared)>::learned;

    /// The router's matrix as the backend's product reads it.
    const auto& router() const {
        if constexpr (requires { w.packed_router; }) return w.packed_router;
        else return w.router;
    }
    /// Experts with matrices, of all that the gate sees, and of these weights.
    int routed_experts() const { return model.config.routed_experts; }
    /// H, hidden.
    long H() const { return model.config.hidden; }
    /// F, width of a routed expert.
    long F() const { return model.config.expert_hidden; }
    /// G, width of the shared network.
    long G() const { return model.config.shared_width(); }
    /// E, experts that the gate sees.
    long E() const { return model.extent().experts; }
    /// P, rows of the router.
    long P() const { return model.extent().experts + model.extent().extra; }
    /// W, slots of a token.
    long W() const { return model.extent().slots; }

    /// What a workspace is known by.
    layer_numbers numbers() const { return {model.config, model.extent().experts, model.extent().extra, model.extent().slots}; }

    /// The rows of the experts that have matrices.
    groups<S> routed(const forward_memory<S>& m) const {
        return {routed_experts(), m.plan.offset.data(), m.plan.token.data(), weighs_input ? m.factor.data() : nullptr};
    }
    /// How many these are, of the R.
    long own_rows(const forward_memory<S>& m) const { return m.plan.offset[routed_experts()]; }

    /// What the stages read: the weights' numbers, and the logits that the caller passes on.
    gate_data<S> gate_data_of(const forward_memory<S>& m) const {
        gate_data<S> d = w.gate;
        if constexpr (needs_previous) d.previous = m.passed.previous;
        return d;
    }

    /// How many losses the model has.
    long losses() const {
        long n = 0;
        model.each_loss([&](const auto&) { ++n; });
        return n;
    }
    /// f(loss) for each loss of the model, its weight times what the batch says.
    template <class F> void each_loss(const batch& side, F f) const {
        std::size_t i = 0;
        model.each_loss([&](auto loss) {
            if constexpr (requires { loss.weight *= 1.0; })
                if (!side.strength.empty()) loss.weight *= side.strength[i];
            ++i;
            f(loss);
        });
    }

    /// The batch of a tape, as losses see it.
    routing<S> routing_of(tape<S>& tp) const {
        const long T = tp.x.rows;
        using stages = decltype(model.stages());
        return {.experts = static_cast<int>(E()),
                .slots = static_cast<int>(W()),
                .top_k = model.config.top_k,
                .logit = {tp.scored_logits.data(), T, E()},
                .score = {tp.scores.data(), T, E()},
                .weight = {tp.gate.choice.weight.data(), T, W()},
                .expert = tp.gate.choice.expert.data(),
                .wanted = tp.gate.template asked<stages>(),
                .side = &tp.side,
                .raw = {tp.logits.data(), T, P()},
                .router = w.router,
                .hidden = H(),
                .memory = &tp.scratch};
    }
};

/// Rows [0, T) as one group, row r that of token source[r], or r.
template <class S> struct one_group {
    int offset[2];      ///< of the group
    const int* source;  ///< [T], or null
    /// All of them.
    explicit one_group(long T, const int* from = nullptr) : offset{0, static_cast<int>(T)}, source(from) {}
    /// Those that are present.
    explicit one_group(const present_tokens& present) : one_group(present.count(), present.source()) {}
    /// Borrows from this.
    operator groups<S>() const& { return {1, offset, source}; }
    operator groups<S>() const&& = delete;  // would dangle
};

}  // namespace guild::inline v0
