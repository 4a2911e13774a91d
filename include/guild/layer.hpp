#pragma once
#include <guild/backend/eigen.hpp>
#include <guild/balance/load.hpp>
#include <guild/core/adjoints.hpp>
#include <guild/core/check.hpp>
#include <guild/core/reserve.hpp>
#include <guild/core/steps.hpp>
#include <guild/gate/inspect.hpp>

namespace guild::inline v0 {

/// A mixture that runs. `Model`: what is computed. `Format`: how the experts' weights are stored. `Backend`: who computes, on which
/// threads. It never changes after construction: any number of threads may call a const layer, each with its own workspace.
///
/// Activations and dx are overwritten, gradients of parameters accumulate. Preconditions are checked in every build, once per call,
/// before anything is written; what breaks one is a shape_error or argument_error.
template <moe_model Model, class Format = float, class Backend = backend::eigen<>> class layer {
    using parts = guild::parts<Model, Format, Backend>;
    using source = typename detail::packed_source<Model, Format, Backend>::type;
    using environment = typename detail::environment_of<Backend>::type;

public:
    using scalar = scalar_of<Format>;  ///< S, of activations, router and gradients
    using S = scalar;
    using gradients = guild::weights<Model, S>;

    /// Borrows the weights: they must outlive the layer and may change between calls (an optimiser, a mapped file).
    explicit layer(const typename parts::weights& w, const std::type_identity_t<Model>& m = {}, const Backend& b = {}) : p_{m, w, b} {
        check::weights(m, w);
    }
    explicit layer(const guild::weights<Model, Format>& w, const Backend& b = {}) : layer(w, w.model, b) {}
    explicit layer(guild::weights<Model, Format>&&, const Backend& = {}) = delete;  // would dangle
    /// Packed weights serve inference: `Format` is packed<...>. Throws argument_error if the backend computes otherwise than they are packed for.
    explicit layer(const source& w, const Backend& b = {}) : p_{w.model(), w, b} { check::packed(p_.backend, p_.w); }
    explicit layer(source&&, const Backend& = {}) = delete;

    const Model& model() const { return p_.model; }

    /// Inference. x [T, H] -> y [T, H] =.
    void forward(view<const S> x, view<S> y, workspace<S>& ws, const batch& side = {}) const { run(x, y, ws, side); }
    /// Training: the same, and the tape keeps what backward needs. x and the lists of `side` must stay alive until then.
    void forward(view<const S> x, view<S> y, tape<S>& tp, const batch& side = {}) const {
        run(x, y, tp, side);
        tp.x = x;
        tp.side = side;
    }
    /// The losses of the model on what the tape holds, each times its weight.
    S loss(tape<S>& tp) const {
        check::filled(p_, tp, "tape");
        return in_environment([&] {
            S sum(0);
            p_.each_loss(tp.side, [&](const auto& one) { sum += balance::value(one, p_.routing_of(tp)); });
            return sum;
        });
    }
    /// Any loss on what the tape holds, times its weight: measured, not optimised. Where the model has no losses, O(T E) for their scores.
    template <loss_policy Loss> S measure(const Loss& loss, tape<S>& tp) const {
        static_assert(!detail::misses_scores<decltype(p_.model.stages()), Loss>(), "guild::layer: the loss reads scores, and the gate has none");
        check::filled(p_, tp, "tape");
        if (!detail::suits(loss, static_cast<int>(p_.E())) || !detail::valid(loss))
            detail::raise<argument_error>("guild::layer: the loss has a number that does not fit ", p_.E(), " experts");
        return in_environment([&] {
            if constexpr (!Model::has_losses) step::scores(p_, tp.x.rows, tp.side, tp);
            return balance::value(loss, p_.routing_of(tp));
        });
    }
    /// dy [T, H] -> dx [T, H] =, grad +=; the gradients of the model's losses included.
    void backward(view<const S> dy, view<S> dx, gradients& grad, tape<S>& tp) const {
        check::filled(p_, tp, "tape");
        check::shape("dy", dy, tp.x.rows, p_.H());
        check_gradient(dx, grad, tp);
        check::apart("dx", dx, "dy", dy);
        const environment usual;
        step::combine_backward(p_, dy, tp);           // d_rows [R, H], d_weight [T, W]
        step::shared_backward(p_, dy, dx, grad, tp);  // dx =, grad.shared +=
        walk_back(dx, grad, tp);
    }
    /// The same from gradients by each expert's output (tp.d_rows [R, H]) and weight (tp.d_weight [T, W]), for objectives that look at
    /// experts one by one. dx +=.
    void backward(view<S> dx, gradients& grad, tape<S>& tp) const {
        check::filled(p_, tp, "tape");
        check_gradient(dx, grad, tp);
        const environment usual;
        step::shared_untouched(p_, tp);
        walk_back(dx, grad, tp);
    }

    /// How the last forward was shared out. O(T W + E).
    guild::load load(const workspace<S>& ws) const {
        check::filled(p_, ws, "workspace");
        guild::load l;
        l.count.resize(static_cast<std::size_t>(p_.E()));
        dispatch::each_chosen(ws.gate.choice, static_cast<int>(p_.E()), [&](int e) { ++l.count[static_cast<std::size_t>(e)], ++l.total; });
        return l;
    }
    /// Token t's row of the gate after every stage, first the logits: for tests, plots and people.
    std::vector<gate::snapshot<S>> inspect(tape<S>& tp, long t) const {
        check::filled(p_, tp, "tape");
        const environment usual;
        return gate::inspect(p_.model, p_.gate_data_of(tp), tp.side, view<const S>(tp.logits.shape(tp.x.rows, p_.P())), tp.gate, t);
    }
    /// See workspace::reserve.
    void reserve(auto& ws, long tokens, long rows = -1) const {
        if (tokens < 0) detail::raise<argument_error>("guild::workspace: reserve for ", tokens, " tokens, expected at least 0");
        check::room(workspace<S>{}, tokens, p_.W());
        step::reserve(p_, ws, tokens, rows < 0 ? tokens * p_.W() : rows);
    }

private:
    /// f() in the environment. Not inlined: a compiler would compute a number that is returned, not stored, before it or after.
    template <class F> [[gnu::noinline]] static S computed(const F& f) { return f(); }
    template <class F> static S in_environment(const F& f) {
        const environment usual;
        return computed(f);
    }
    void run(view<const S> x, view<S> y, auto& ws, const batch& side) const {
        ws.filled = false;
        if (x.rows < 0) detail::raise<shape_error>("guild::layer: x is [", x.rows, ", ", x.cols, "], expected [at least 0, ", p_.H(), "]");
        check::shape("x", x, x.rows, p_.H());
        check::shape("y", y, x.rows, p_.H());
        check::apart("y", y, "x", x);
        using stages = decltype(p_.model.stages());
        check::side(side, x.rows, stages::needs_token_id, p_.losses());
        if constexpr (stages::needs_table) check::table(side, p_.w.gate, static_cast<int>(p_.E()), p_.model.config.top_k);
        check::passed(ws.passed, x.rows, p_.E(), parts::needs_previous);
        check::room(ws, x.rows, p_.W());
        const environment usual;
        step::logits(p_, x, side, ws);        // logits [T, P]
        step::choose(p_, x.rows, side, ws);   // choice [T, W]
        if (!step::by_token(p_, x, ws, y)) {  // or y =, and that is all
            step::dispatch(p_, ws);           // plan [R]
            step::routed(p_, x, ws);          // rows [R, H]
            step::shared(p_, x, y, ws);       // y =
            step::combine(p_, x, ws, y);      // y +=
        }
        ws.by = p_.numbers();
        ws.filled = true;
    }
    void walk_back(view<S> dx, gradients& grad, tape<S>& tp) const {
        step::routed_backward(p_, grad, tp);      // d_read [R, H], grad.experts +=
        step::dispatch_backward(p_, dx, tp);      // dx +=
        step::losses_backward(p_, grad, tp);      // d_logits =, d_scores =, d_weight +=
        step::choose_backward(p_, grad, tp);      // d_logits +=, grad.learned +=
        step::logits_backward(p_, dx, grad, tp);  // dx +=, grad.router +=
    }
    void check_gradient(view<S> dx, const gradients& grad, tape<S>& tp) const {
        check::shape("dx", dx, tp.x.rows, p_.H());
        check::apart("dx", dx, "x", tp.x);
        check::gradients(p_.model, grad);
        check::passed_gradient(tp.passed, tp.x.rows, p_.E());
    }

    parts p_;
};

template <class Model, class Format> layer(const weights<Model, Format>&) -> layer<Model, Format>;
template <class Model, class Format, class Backend> layer(const weights<Model, Format>&, const Backend&) -> layer<Model, Format, Backend>;
template <class Model, class Format, class Backend> layer(const packed_weights<Model, Format, Backend>&) -> layer<Model, packed<Format>, Backend>;
template <class Model, class Format, class Backend>
layer(const packed_weights<Model, Format, Backend>&, const Backend&) -> layer<Model, packed<Format>, Backend>;

/// The model's balancer moves the gate's state by the load of a batch, once a batch, in w.state; `step` of the training run is what schedules go by.
/// Throws shape_error if the load counts other experts, argument_error if the gate has no selection bias.
template <class Model, class Format> void rebalance(weights<Model, Format>& w, const load& l, long step) {
    using balancer = std::remove_cvref_t<decltype(w.model.balancer)>;
    static_assert(!std::same_as<balancer, no_balance>, "guild::rebalance: this model has no balancer");
    const long E = w.model.experts(), counted = static_cast<long>(l.count.size()), state = static_cast<long>(w.state.size());
    if (counted != E) detail::raise<shape_error>("guild::rebalance: the load counts ", counted, " experts, expected ", E);
    if (state != E) detail::raise<argument_error>("guild::rebalance: the gate has ", state, " numbers of state, expected a selection bias of ", E);
    if (!detail::moves_state<decltype(w.model.stages()), balancer>())
        detail::raise<argument_error>("guild::rebalance: the gate has no state that this balancer moves");
    if constexpr (detail::moved_by_step<balancer>) w.model.balancer.update(l.count.data(), l.total, w.state.data(), static_cast<int>(E), step);
    else w.model.balancer.update(l.count.data(), l.total, w.state.data(), static_cast<int>(E));
}
/// The same for a balancer that does not go by the step.
template <class Model, class Format> void rebalance(weights<Model, Format>& w, const load& l) {
    static_assert(detail::moved_by_load<std::remove_cvref_t<decltype(w.model.balancer)>>,
                  "guild::rebalance: this model's balancer goes by the step: rebalance(weights, load, step)");
    rebalance(w, l, 0);
}

}  // namespace guild::inline v0
