#pragma once
#include <guild/step/lender.hpp>
#include <guild/step/tape.hpp>

#include <type_traits>

namespace guild::inline v0 {

namespace detail {
/// The packed weights of a layer whose format is packed<Format>; for another format a type that nothing has, so that clang does not
/// deduce such a layer from packed weights.
template <class Model, class Format, class Backend> struct packed_source { struct type; };
template <class Model, class Format, class Backend> struct packed_source<Model, packed<Format>, Backend> {
    using type = packed_weights<Model, Format, Backend>;
};
/// What a backend sets for the caller's thread while a layer runs, such as how to round: nothing, unless it says.
template <class Backend> struct environment_of {
    struct type {
        type() {}
    };
};
template <class Backend>
requires requires { typename Backend::environment; }
struct environment_of<Backend> {
    using type = typename Backend::environment;
};
}  // namespace detail

/// What every step of a call is given: what is computed, with which numbers, by whom.
template <class Model, class Format, class Backend> struct parts {
    using S = scalar_of<Format>;
    using weights = typename detail::lender<Model, Format, Backend>::view;

    const Model& model;
    const weights& w;
    const Backend& backend;
    const void* owner;  ///< of the weights

    static constexpr bool weighs_input = requires { requires std::remove_cvref_t<decltype(Model::gate)>::weighs_input; };
    static constexpr bool weighs_shared = gate::weighs_shared<Model>;
    static constexpr bool changes_input = requires(const Model& m) { m.gate.input(); };
    static constexpr bool needs_previous = decltype(std::declval<const Model&>().stages())::needs_previous;
    static constexpr bool model_has_losses = Model::has_losses;
    static constexpr int inputs = std::remove_cvref_t<decltype(Model::activation)>::inputs;
    static constexpr bool shared_learns = std::remove_cvref_t<decltype(Model::shared)>::learned;
    using network = std::remove_cvref_t<decltype(std::declval<weights>().experts)>;
    using activation = std::remove_cvref_t<decltype(Model::activation)>;

    /// Whether the backend has the fused product for inference.
    static constexpr bool fused_down =
        requires(const Backend& b, const groups<S>& g, view<const S> a, const network& n, const plan& p, const S* weight, view<S> y) {
        b.expert_down(g, a, n, p, weight, y);
    };
    static constexpr bool fused_up =
        requires(const Backend& b, const activation& act, const groups<S>& g, view<const S> x, const network& n, view<S> h, view<S> a) {
        b.expert_up(act, g, x, n, h, a);
    };

    /// Whether it has the fused products of `expert_down` and those of few rows, each through a whole network.
    static constexpr bool fused_rows = fused_down && requires(const Backend& b, const activation& act, const network& n) { b.few_rows(act, n); };

    /// The router's matrix as the backend's product reads it.
    const auto& router() const {
        if constexpr (requires { w.packed_router; }) return w.packed_router;
        else return w.router;
    }
    int routed_experts() const { return model.config.routed_experts; }
    long H() const { return model.config.hidden; }
    long F() const { return model.config.expert_hidden; }
    long G() const { return model.config.shared_width(); }
    long E() const { return model.extent().experts; }
    long P() const { return model.extent().experts + model.extent().extra; }
    long W() const { return model.extent().slots; }

    /// What a workspace lends to the products of this thread.
    room::lent room_in(workspace<S>& ws) const {
        if constexpr (requires { backend.template product_bytes<S>(); }) return ws.products.reserve(backend.template product_bytes<S>());
        else return {};
    }

    layer_numbers numbers() const { return {model.config, model.extent().experts, model.extent().extra, model.extent().slots}; }

    /// The rows of the experts that have matrices; how many these are of the R.
    groups<S> routed(const workspace<S>& ws) const {
        return {routed_experts(), ws.plan.offset.data(), ws.plan.token.data(), weighs_input ? ws.factor.data() : nullptr};
    }
    long own_rows(const workspace<S>& ws) const { return ws.plan.offset[routed_experts()]; }

    /// What the stages read: the weights' numbers, and the logits that the caller passes on.
    gate_data<S> gate_data_of(const workspace<S>& ws) const {
        gate_data<S> d = w.gate;
        if constexpr (needs_previous) d.previous = ws.passed.previous;
        return d;
    }

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
    int offset[2];
    const int* source;
    explicit one_group(long T, const int* from = nullptr) : offset{0, static_cast<int>(T)}, source(from) {}
    explicit one_group(const present_tokens& present) : one_group(present.count(), present.source()) {}
    operator groups<S>() const { return {1, offset, source}; }
    /// For the router, whose products no backend rounds.
    groups<S> exact() const { return {1, offset, source, nullptr, true}; }
};

}  // namespace guild::inline v0
