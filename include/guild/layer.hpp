#pragma once
#include <guild/gate/inspect.hpp>
#include <guild/step/check.hpp>
#include <guild/step/contract.hpp>
#include <guild/telemetry/load.hpp>

namespace guild::inline v0 {

namespace backend {
template <class Executor> struct eigen;
}

/// A mixture that runs. `Model`: what is computed. `Format`: how the experts' weights are stored. `Backend`: who computes, on which
/// threads. It never changes after construction: any number of threads may call a const layer, each with its own workspace.
///
/// Activations and dx are overwritten, gradients of parameters accumulate. Preconditions are checked in every build, once per call,
/// before anything is written; what breaks one is a shape_error or argument_error.
///
/// A call is eight steps, all of them the backend's: backend/host.hpp has them in plain loops.
template <moe_model Model, class Format = float, class Backend = backend::eigen<serial>> class layer {
    using context = guild::context<Model, Format, Backend>;
    using lender = detail::lender<Model, Format, Backend>;
    using source = typename detail::packed_source<Model, Format, Backend>::type;
    using in = typename Backend::template matrix<const scalar_of<Format>>;
    using out = typename Backend::template matrix<scalar_of<Format>>;
    using batch = typename Backend::batch;

public:
    using scalar = scalar_of<Format>;                                   ///< S, of activations, router and gradients
    using S = scalar;                                                   ///< the same
    using workspace = typename Backend::template workspace<S>;          ///< memory of an inference: guild::workspace<S> on the host
    using tape = typename Backend::template tape<S>;                    ///< memory of a training forward: guild::tape<S> on the host
    using gradients = typename Backend::template gradients<Model, S>;   ///< what backward adds to: guild::weights<Model, S> on the host
    using weights = typename Backend::template weights<Model, Format>;  ///< that own their memory: guild::weights<Model, Format> on the host
    static_assert(detail::fits<Backend, context, workspace, tape, gradients, false>());

    /// Borrows the weights, which must outlive the layer. Between calls they may change, be assigned to, swapped or moved into: every call
    /// looks at them anew and throws shape_error if a tensor has not the size that the model gives it. What is computed is what their model said when
    /// the layer was made.
    explicit layer(const weights& w, const Backend& b = {}) : layer(w.model, b, lender(w)) { model_.check(); }
    explicit layer(weights&&, const Backend& = {}) = delete;  // would dangle
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
    void forward(in x, out y, workspace& ws, const batch& side = {}) const {
        const auto here = backend_.enter(ws, "workspace");
        run(x, y, ws, side);
    }
    /// Training: the same, and the tape keeps what backward needs. It keeps x and the lists of `side` by address: they must stay alive, in
    /// place and unchanged until then. A matrix that ends with this call does not compile;
    /// that an Eigen::Ref<const> had to copy cannot be told.
    void forward(in x, out y, tape& tp, const batch& side = {}) const {
        const auto here = backend_.enter(tp, "tape");
        run(x, y, tp, side);
    }
    /// Refused: a temporary matrix.
    template <detail::owning_temporary X> void forward(X&&, out, tape&, const batch& = {}) const {
        static_assert(!detail::owning_temporary<X>, "guild::layer: the tape keeps x by address until backward, and x is a temporary: give it a name");
    }
    /// The losses of the model on what the tape holds, each times its weight.
    S loss(tape& tp) const {
        const auto here = backend_.enter(tp, "tape");
        place w;
        const context c = checked(w);
        return computed([&] { return backend_.loss(c, tp); });
    }
    /// Any loss on what the tape holds, times its weight: measured, not optimised. Where the model has no losses, O(T E) for their scores.
    template <loss_policy Loss> S measure(const Loss& loss, tape& tp) const {
        static_assert(!detail::misses_scores<decltype(model_.stages()), Loss>(), "guild::layer: the loss reads scores, and the gate has none");
        const auto here = backend_.enter(tp, "tape");
        place w;
        const context c = checked(w);
        if (!detail::suits(loss, static_cast<int>(c.E())) || !detail::valid(loss))
            detail::raise<argument_error>("guild::layer: the loss has a number that does not fit ", c.E(), " experts");
        return computed([&] { return backend_.measure(c, loss, tp); });
    }
    /// dy [T, H] -> dx [T, H] =, grad +=; the gradients of the model's losses included. Once more on the same tape, with this dy or another,
    /// it gives what it would have given at first.
    void backward(in dy, out dx, gradients& grad, tape& tp) const {
        static_assert(detail::fits<Backend, context, workspace, tape, gradients, true>());
        const auto here = backend_.enter(tp, "tape");
        place w;
        const context c = checked(w);
        backend_.check(c, dy, dx, grad, tp);
        backend_.experts_backward(c, dy, dx, grad, tp);  // dx =, d_weight =, grad.experts, .shared +=
        back_through_gate(c, dx, grad, tp);
    }
    /// The same from gradients by each expert's output (tp.d_rows [R, H]) and weight (tp.d_weight [T, W]), for objectives that look at
    /// experts one by one. dx +=. It uses both up: they must be written anew before another backward of this kind, and that they were cannot
    /// be told.
    void backward(out dx, gradients& grad, tape& tp) const requires(Backend::keeps_rows) {
        const auto here = backend_.enter(tp, "tape");
        place w;
        const context c = checked(w);
        backend_.check(c, dx, grad, tp);
        backend_.rows_backward(c, dx, grad, tp);  // dx +=, grad.experts +=
        back_through_gate(c, dx, grad, tp);
    }

    /// How the last forward was shared out. O(T W + E).
    guild::load load(const workspace& ws) const { return load_of(ws); }
    /// The same.
    guild::load load(const tape& tp) const { return load_of(tp); }
    /// Whether a workspace or tape holds what a forward of this layer left in it.
    bool filled(const workspace& ws) const { return filled_by(ws); }
    /// The same.
    bool filled(const tape& tp) const { return filled_by(tp); }
    /// Token t's row of the gate after every stage, first the logits: for tests, plots and people.
    std::vector<gate::snapshot<S>> inspect(tape& tp, long t) const {
        const auto here = backend_.enter(tp, "tape");
        place w;
        return backend_.inspect(checked(w), tp, t);
    }
    /// See workspace::reserve.
    void reserve(auto& ws, long tokens, long rows = -1) const {
        const auto here = backend_.enter(ws, "workspace");
        const long W = model_.extent().slots;
        if (tokens < 0) detail::raise<argument_error>("guild::workspace: reserve for ", tokens, " tokens, expected at least 0");
        check::countable(tokens, W);
        place w;
        backend_.reserve(with(w), ws, tokens, rows < 0 || rows > tokens * W ? tokens * W : rows);
    }

private:
    using place = typename lender::place;

    layer(const Model& m, const Backend& b, const lender& w) : model_(m), weights_(w), backend_(b) {}

    /// f(). Not inlined: a compiler would compute a number that is returned, not stored, before the thread rounds as it should, or after.
    template <class F> [[gnu::noinline]] static S computed(const F& f) { return f(); }
    /// What the steps of a call are given: the weights as they are now, of which a view may be made in w; checked.
    context with(place& w) const { return {model_, weights_.lend(w), backend_, weights_.identity()}; }
    context checked(place& w) const {
        weights_.check(model_, backend_);
        return with(w);
    }
    void run(in x, out y, auto& m, const batch& side) const {
        place w;
        backend_.begin(m);
        const context c = checked(w);
        backend_.check(c, x, y, side, m);
        backend_.logits(c, x, side, m);  // logits [T, P]
        backend_.choose(c, side, m);     // choice [T, W]
        backend_.dispatch(c, m);         // plan [R]
        backend_.experts(c, x, m, y);    // y =
        backend_.done(c, x, side, m);
    }
    void back_through_gate(const context& c, out dx, gradients& grad, tape& tp) const {
        backend_.losses_backward(c, grad, tp);      // d_logits =, d_scores =, d_weight +=
        backend_.choose_backward(c, grad, tp);      // d_logits +=, grad.learned +=
        backend_.logits_backward(c, dx, grad, tp);  // dx +=, grad.router +=
    }
    guild::load load_of(const auto& m) const {
        place w;
        guild::load l;
        l.count.resize(static_cast<std::size_t>(model_.extent().experts));
        backend_.each_chosen(with(w), m, [&](int e) { ++l.count[static_cast<std::size_t>(e)], ++l.total; });
        return l;
    }
    bool filled_by(const auto& m) const {
        place w;
        return backend_.filled(with(w), m);
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
