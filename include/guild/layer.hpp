#pragma once
#include <guild/backend/eigen.hpp>
#include <guild/gate/inspect.hpp>
#include <guild/step/check.hpp>
#include <guild/step/combine.hpp>
#include <guild/step/expert.hpp>
#include <guild/step/gate.hpp>
#include <guild/step/losses.hpp>
#include <guild/step/reserve.hpp>
#include <guild/telemetry/load.hpp>

namespace guild::inline v0 {

/// A mixture that runs. `Model`: what is computed. `Format`: how the experts' weights are stored. `Backend`: who computes, on which
/// threads. It never changes after construction: any number of threads may call a const layer, each with its own workspace.
///
/// Activations and dx are overwritten, gradients of parameters accumulate. Preconditions are checked in every build, once per call,
/// before anything is written; what breaks one is a shape_error or argument_error.
template <moe_model Model, class Format = float, class Backend = backend::eigen<>> class layer {
    using parts = guild::parts<Model, Format, Backend>;
    using lender = detail::lender<Model, Format, Backend>;
    using source = typename detail::packed_source<Model, Format, Backend>::type;
    using environment = typename detail::environment_of<Backend>::type;

public:
    using scalar = scalar_of<Format>;            ///< S, of activations, router and gradients
    using S = scalar;                            ///< the same
    using gradients = guild::weights<Model, S>;  ///< what backward adds to

    /// Borrows the weights, which must outlive the layer. Between calls they may change, be assigned to, swapped or moved into: every call
    /// looks at them anew and throws shape_error if a tensor has not the size that the model gives it.
    explicit layer(const guild::weights<Model, Format>& w, const Backend& b = {}) : layer(w.model, b, lender(w)) { model_.check(); }
    explicit layer(guild::weights<Model, Format>&&, const Backend& = {}) = delete;  // would dangle
    /// Keeps the view as it is; the numbers may change between calls (an optimiser, a mapped file).
    explicit layer(const weights_view<Format>& w, const std::type_identity_t<Model>& m = {}, const Backend& b = {}) : layer(m, b, lender(w)) {
        check::weights(model_, w);
    }
    /// Packed weights serve inference: `Format` is packed<...>. Others may be moved into them between calls. Throws argument_error, as calls do, if
    /// the backend computes otherwise than they are packed for.
    explicit layer(const source& w, const Backend& b = {}) : layer(w.model(), b, lender(w)) { weights_.check(model_, backend_); }
    explicit layer(source&&, const Backend& = {}) = delete;

    /// What is computed.
    const Model& model() const { return model_; }

    /// Inference. x [T, H] -> y [T, H] =.
    void forward(view<const S> x, view<S> y, workspace<S>& ws, const batch& side = {}) const {
        const in_use here(ws.use, "workspace");
        run(x, y, ws, side);
    }
    /// Training: the same, and the tape keeps what backward needs. It keeps x and the lists of `side` by address: they must stay alive, in
    /// place and unchanged until then. A matrix that ends with this call does not compile.
    void forward(view<const S> x, view<S> y, tape<S>& tp, const batch& side = {}) const {
        const in_use here(tp.use, "tape");
        run(x, y, tp, side);
        tp.x = x;
        tp.side = side;
    }
    /// Refused: a temporary matrix.
    template <detail::owning_temporary X> void forward(X&&, view<S>, tape<S>&, const batch& = {}) const {
        static_assert(!detail::owning_temporary<X>, "guild::layer: the tape keeps x by address until backward, and x is a temporary: give it a name");
    }
    /// The losses of the model on what the tape holds, each times its weight.
    S loss(tape<S>& tp) const {
        const in_use here(tp.use, "tape");
        place w;
        const parts p = filled(tp, w);
        return in_environment([&] {
            S sum(0);
            p.each_loss(tp.side, [&](const auto& one) { sum += balance::value(one, p.routing_of(tp)); });
            return sum;
        });
    }
    /// Any loss on what the tape holds, times its weight: measured, not optimised. Where the model has no losses, O(T E) for their scores.
    template <loss_policy Loss> S measure(const Loss& loss, tape<S>& tp) const {
        static_assert(!detail::misses_scores<decltype(model_.stages()), Loss>(), "guild::layer: the loss reads scores, and the gate has none");
        const in_use here(tp.use, "tape");
        place w;
        const parts p = filled(tp, w);
        if (!detail::suits(loss, static_cast<int>(p.E())) || !detail::valid(loss))
            detail::raise<argument_error>("guild::layer: the loss has a number that does not fit ", p.E(), " experts");
        return in_environment([&] {
            if constexpr (!Model::has_losses) step::scores(p, tp.x.rows, tp.side, tp);
            return balance::value(loss, p.routing_of(tp));
        });
    }
    /// dy [T, H] -> dx [T, H] =, grad +=; the gradients of the model's losses included. Once more on the same tape, with this dy or another,
    /// it gives what it would have given at first.
    void backward(view<const S> dy, view<S> dx, gradients& grad, tape<S>& tp) const {
        const in_use here(tp.use, "tape");
        place w;
        const parts p = filled(tp, w);
        check::shape("dy", dy, tp.x.rows, p.H());
        check_gradient(p, dx, grad, tp);
        check::apart("dx", dx, "dy", dy);
        const environment usual;
        const room::lend memory(p.room_in(tp));
        step::combine_backward(p, dy, tp);           // d_rows [R, H], d_weight [T, W]
        step::shared_backward(p, dy, dx, grad, tp);  // dx =, grad.shared +=
        walk_back(p, dx, grad, tp);
    }
    /// The same from gradients by each expert's output (tp.d_rows [R, H]) and weight (tp.d_weight [T, W]), for objectives that look at
    /// experts one by one. dx +=. It uses both up: they must be written anew before another backward of this kind, and that they were cannot
    /// be told.
    void backward(view<S> dx, gradients& grad, tape<S>& tp) const {
        const in_use here(tp.use, "tape");
        place w;
        const parts p = filled(tp, w);
        check_gradient(p, dx, grad, tp);
        const environment usual;
        const room::lend memory(p.room_in(tp));
        step::shared_untouched(p, tp);
        walk_back(p, dx, grad, tp);
    }

    /// How the last forward was shared out. O(T W + E).
    guild::load load(const workspace<S>& ws) const {
        ws.use.check("workspace");
        place w;
        check::filled(with(w), ws, "workspace", false);
        const auto E = static_cast<int>(model_.extent().experts);
        guild::load l;
        l.count.resize(static_cast<std::size_t>(E));
        dispatch::each_chosen(ws.gate.choice, E, [&](int e) { ++l.count[static_cast<std::size_t>(e)], ++l.total; });
        return l;
    }
    /// Whether a workspace or tape holds what a forward of this layer left in it.
    bool filled(const workspace<S>& ws) const {
        ws.use.check("workspace");
        place w;
        const parts p = with(w);
        return ws.filled && ws.by == p.numbers() && ws.owner == p.owner;
    }
    /// Token t's row of the gate after every stage, first the logits: for tests, plots and people.
    std::vector<gate::snapshot<S>> inspect(tape<S>& tp, long t) const {
        const in_use here(tp.use, "tape");
        place w;
        const parts p = filled(tp, w);
        const environment usual;
        return gate::inspect(p.model, p.gate_data_of(tp), tp.side, view<const S>(tp.logits.shape(tp.x.rows, p.P())), tp.gate, t);
    }
    /// See workspace::reserve.
    void reserve(auto& ws, long tokens, long rows = -1) const {
        const in_use here(ws.use, "workspace");
        const long W = model_.extent().slots;
        if (tokens < 0) detail::raise<argument_error>("guild::workspace: reserve for ", tokens, " tokens, expected at least 0");
        check::room(workspace<S>{}, tokens, W);
        place w;
        step::reserve(with(w), ws, tokens, rows < 0 || rows > tokens * W ? tokens * W : rows);
    }

private:
    using in_use = detail::in_use::call;
    using place = typename lender::place;

    layer(const Model& m, const Backend& b, const lender& w) : model_(m), weights_(w), backend_(b) {}

    /// f() in the environment. Not inlined: a compiler would compute a number that is returned, not stored, before it or after.
    template <class F> [[gnu::noinline]] static S computed(const F& f) { return f(); }
    template <class F> static S in_environment(const F& f) {
        const environment usual;
        return computed(f);
    }
    /// What the steps of a call are given: the weights as they are now, of which a view may be made in w; checked; with what a forward left.
    parts with(place& w) const { return {model_, weights_.lend(w), backend_, weights_.identity()}; }
    parts checked(place& w) const {
        weights_.check(model_, backend_);
        return with(w);
    }
    parts filled(const tape<S>& tp, place& w) const {
        const parts p = checked(w);
        check::filled(p, tp, "tape", true);
        return p;
    }
    void run(view<const S> x, view<S> y, auto& ws, const batch& side) const {
        ws.filled = false;
        place w;
        const parts p = checked(w);
        if (x.rows < 0) detail::raise<shape_error>("guild::layer: x is [", x.rows, ", ", x.cols, "], expected [at least 0, ", p.H(), "]");
        check::room(ws, x.rows, p.W());
        check::shape("x", x, x.rows, p.H());
        check::shape("y", y, x.rows, p.H());
        check::apart("y", y, "x", x);
        using stages = decltype(model_.stages());
        check::side(side, x.rows, stages::needs_token_id, p.losses());
        if constexpr (stages::needs_table) check::table(side, p.w.gate, static_cast<int>(p.E()), p.model.config.top_k);
        check::passed(ws.passed, x.rows, p.E(), parts::needs_previous, x, y);
        const environment usual;
        const room::lend memory(p.room_in(ws));
        step::logits(p, x, side, ws);        // logits [T, P]
        step::choose(p, x.rows, side, ws);   // choice [T, W]
        if (!step::by_token(p, x, ws, y)) {  // or y =, and that is all
            step::dispatch(p, ws);           // plan [R]
            step::routed(p, x, ws);          // rows [R, H]
            step::shared(p, x, y, ws);       // y =
            step::combine(p, x, ws, y);      // y +=
        }
        ws.by = p.numbers();
        ws.owner = p.owner;
        ws.kept = std::remove_cvref_t<decltype(ws)>::keeps;
        ws.filled = true;
    }
    void walk_back(const parts& p, view<S> dx, gradients& grad, tape<S>& tp) const {
        step::routed_backward(p, grad, tp);      // d_read [R, H], grad.experts +=
        step::dispatch_backward(p, dx, tp);      // dx +=
        step::losses_backward(p, grad, tp);      // d_logits =, d_scores =, d_weight +=
        step::choose_backward(p, grad, tp);      // d_logits +=, grad.learned +=
        step::logits_backward(p, dx, grad, tp);  // dx +=, grad.router +=
    }
    void check_gradient(const parts& p, view<S> dx, const gradients& grad, tape<S>& tp) const {
        check::shape("dx", dx, tp.x.rows, p.H());
        check::apart("dx", dx, "x", tp.x);
        check::gradients(p, grad);
        check::passed_gradient(tp.passed, tp.x.rows, p.E(), tp.x, dx);
    }

    Model model_;
    lender weights_;
    Backend backend_;
};

/// On one thread, from weights.
template <class Model, class Format> layer(const weights<Model, Format>&) -> layer<Model, Format>;
/// The same on a backend.
template <class Model, class Format, class Backend> layer(const weights<Model, Format>&, const Backend&) -> layer<Model, Format, Backend>;
/// From packed weights.
template <class Model, class Format, class Backend> layer(const packed_weights<Model, Format, Backend>&) -> layer<Model, packed<Format>, Backend>;
/// The same on a backend.
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
