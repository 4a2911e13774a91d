#pragma once
#include <guild/gate/inspect.hpp>
#include <guild/parallel/serial.hpp>
#include <guild/step/check.hpp>
#include <guild/step/combine.hpp>
#include <guild/step/dispatch.hpp>
#include <guild/step/expert.hpp>
#include <guild/step/gate.hpp>
#include <guild/step/losses.hpp>
#include <guild/step/shared.hpp>

namespace guild::inline v0::backend {

/// The specification: the eight steps of a layer on the host's memory, in terms of three matrix products over groups of rows and a loop, these in
/// plain loops, for any scalar. What derives from it overrides products, or steps that it names in `overrides`: an override hides every overload of
/// its name, and hands what it leaves to host::name(...). Results do not differ beyond rounding.
///
/// `c` is the context (model, weights, outermost backend), `m` a workspace or a tape.
struct host {
    using reference = host;  ///< its former name, in what derives from it

    static constexpr unsigned overrides = overridden::none;  ///< steps that are not those of host
    static constexpr bool keeps_rows = true;                 ///< backward may start from gradients by each expert's rows

    template <class T> using matrix = view<T>;                                           ///< x, y, dy, dx
    using batch = guild::batch;                                                          ///< all that is not x
    template <class S> using workspace = guild::workspace<S>;                            ///< memory of an inference
    template <class S> using tape = guild::tape<S>;                                      ///< memory of a training forward
    template <class Model, class S> using gradients = guild::weights<Model, S>;          ///< what backward adds to
    template <class Model, class Format> using weights = guild::weights<Model, Format>;  ///< what a layer borrows

    // Products over groups of rows. Where a backend rounds operands, `exact()` is the same without: the router's products.

    /// c [R, N] = a[source] [R, M] w_e^T factor, w [E, N, M]. O(R N M).
    template <class S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long n = 0; n < c.cols; ++n) {
                    S sum(0);
                    for (long m = 0; m < a.cols; ++m) sum += a(g.from(r), m) * S(w(e, n, m));
                    c(r, n) = g.factor ? sum * g.factor[r] : sum;
                }
    }
    /// da [R, M] (+)= dc [R, N] w_e: row by row, without source and factor.
    template <class S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long m = 0; m < da.cols; ++m) {
                    S sum(0);
                    for (long n = 0; n < dc.cols; ++n) sum += dc(r, n) * S(w(e, n, m));
                    da(r, m) = mode == into::add ? da(r, m) + sum : sum;
                }
    }
    /// dw_e [N, M] += dc^T [N, R] (a[source] factor) [R, M]. An expert without rows is not touched.
    template <class S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long n = 0; n < dc.cols; ++n) {
                    const S d = g.factor ? dc(r, n) * g.factor[r] : dc(r, n);
                    for (long m = 0; m < a.cols; ++m) dw.row(e, n)[m] += d * a(g.from(r), m);
                }
    }
    /// The same products, rounding no operand.
    const host& exact() const { return *this; }

    /// f(begin, end) on disjoint ranges that cover [0, n): tokens of the gate, rows of the experts. Here an executor enters.
    template <class F> void each(long n, F&& f) const { serial{}.run(n, f); }
    /// out [n] = act(gate, up)
    template <class Act, class S> void activation(const Act& act, const S* gate, const S* up, long n, S* out) const {
        for (long i = 0; i < n; ++i) out[i] = act(gate[i], up[i]);
    }
    /// Its adjoint: d_gate, d_up [n] = by d [n].
    template <class Act, class S> void activation_gradient(const Act& act, const S* gate, const S* up, const S* d, long n, S* d_gate, S* d_up) const {
        using D = dual<S>;
        for (long i = 0; i < n; ++i) {
            d_gate[i] = d[i] * act(D(gate[i], S(1)), D(up[i])).d;
            d_up[i] = d[i] * act(D(gate[i]), D(up[i], S(1))).d;
        }
    }

    // A call.

    /// What lives while a call does: the memory is in use.
    struct call {
        detail::in_use::call use;  ///< of the memory
    };
    /// Begins a call. Throws argument_error if another one works in m, which is `what`.
    template <class S> call enter(forward_memory<S>& m, const char* what) const { return {{m.use, what}}; }
    /// m is empty from here on, until `done`.
    template <class S> void begin(forward_memory<S>& m) const { m.filled = false; }
    /// A forward has run to its end. The tape borrows x and the lists of the batch.
    template <class C, class S> void done(const C& c, view<const S>, const guild::batch&, guild::workspace<S>& m) const { fill(c, m); }
    /// The same.
    template <class C, class S> void done(const C& c, view<const S> x, const guild::batch& side, guild::tape<S>& m) const {
        m.x = x;
        m.side = side;
        fill(c, m);
    }
    /// Whether m holds what a forward of this layer left.
    template <class C, class S> bool filled(const C& c, const forward_memory<S>& m) const {
        m.use.check("workspace");
        return m.filled && m.by == c.numbers() && m.owner == c.owner;
    }
    /// What a call is given is right; before anything is written. Throws shape_error, argument_error.
    template <class C, class S> void check(const C& c, view<const S> x, view<S> y, const guild::batch& side, const forward_memory<S>& m) const {
        guild::check::forward(c, x, y, side, m);
    }
    /// The same of a backward.
    template <class C, class Model, class S>
    void check(const C& c, view<const S> dy, view<S> dx, const guild::weights<Model, S>& grad, const guild::tape<S>& tp) const {
        guild::check::filled(c, tp, "tape");
        guild::check::shape("dy", dy, tp.x.rows, c.H());
        guild::check::backward(c, dx, grad, tp);
        guild::check::apart("dx", dx, "dy", dy);
    }
    /// The same of one from gradients by rows.
    template <class C, class Model, class S>
    void check(const C& c, view<S> dx, const guild::weights<Model, S>& grad, const guild::tape<S>& tp) const {
        guild::check::filled(c, tp, "tape");
        guild::check::backward(c, dx, grad, tp);
    }
    /// Room for T tokens with R rows.
    template <class C> void reserve(const C& c, auto& m, long T, long R) const { step::reserve(c, m, T, R); }
    /// f(buffer, rows, columns) for what T tokens take: the shapes of m.
    template <class C> void each_of_tokens(const C& c, auto& m, long T, auto f) const { step::each_of_tokens(c, m, T, f); }
    /// The same for R rows, of which `own` belong to experts with matrices.
    template <class C> void each_of_rows(const C& c, auto& m, long R, long own, auto f) const { step::each_of_rows(c, m, R, own, f); }

    // Forward.

    /// x [T, H] -> logits [T, P]
    template <class C, class S> of_host logits(const C& c, view<const S> x, const guild::batch& side, auto& m) const {
        step::logits(c, x, side, m);
        return {};
    }
    /// -> choice [T, W]; on a tape also what losses read
    template <class C, class S> of_host choose(const C& c, const guild::batch& side, guild::workspace<S>& m) const {
        step::choose(c, side, m);
        return {};
    }
    /// The same.
    template <class C, class S> of_host choose(const C& c, const guild::batch& side, guild::tape<S>& m) const {
        step::choose(c, side, m);
        if constexpr (C::model_has_losses) step::scores(c, side, m);
        return {};
    }
    /// -> plan [R]
    template <class C> of_host dispatch(const C& c, auto& m) const {
        step::dispatch(c, m);
        return {};
    }
    /// y [T, H] =, by its parts: routed experts, shared experts, combine. A tape has the rows of padded tokens last, so that the adjoint's sums leave
    /// them out.
    template <class C, class S> of_host experts(const C& c, view<const S> x, guild::workspace<S>& m, view<S> y) const {
        c.backend.routed(c, x, m);
        c.backend.shared(c, x, nullptr, m, y);
        c.backend.combine(c, x, m, y);
        return {};
    }
    /// The same.
    template <class C, class S> of_host experts(const C& c, view<const S> x, guild::tape<S>& m, view<S> y) const {
        c.backend.routed(c, x, m);
        c.backend.shared(c, x, m.gate.present.source(), m, y);
        c.backend.combine(c, x, m, y);
        return {};
    }
    /// x [.., H] -> a [R, F] = by the network w, h [R, inputs F] = what the activation read
    template <class C, class S> void up(const C& c, const groups<S>& g, view<const S> x, const auto& w, view<S> h, view<S> a) const {
        expert::up(c.backend, c.model.activation, g, x, w, h, a);
    }
    /// a [R, F] -> rows [R, H] = by the network w
    template <class C, class S> void down(const C& c, const groups<S>& g, view<const S> a, const auto& w, view<S> rows) const {
        expert::down(c.backend, g, a, w, rows);
    }
    /// x -> m.rows [R, H]
    template <class C, class S> void routed(const C& c, view<const S> x, auto& m) const { step::routed(c, x, m); }
    /// x -> y = by the shared experts, or 0; rows in the order of `source`, if there is one
    template <class C, class S> void shared(const C& c, view<const S> x, const int* source, auto& m, view<S> y) const {
        step::shared(c, x, source, m, y);
    }
    /// y += the rows of each token by their weights, and the residual
    template <class C, class S> void combine(const C& c, view<const S> x, auto& m, view<S> y) const { step::combine(c, x, m, y); }

    // Backward.

    /// dy -> dx [T, H] =, d_weight [T, W] =, grad.experts, .shared +=: first all that reaches inputs, then the weights.
    template <class C, class S> of_host experts_backward(const C& c, view<const S> dy, view<S> dx, auto& grad, guild::tape<S>& tp) const {
        c.backend.experts_inputs_backward(c, dy, dx, tp);
        c.backend.experts_weights_backward(c, dy, grad, tp);
        return {};
    }
    /// dy -> dx =, d_weight =
    template <class C, class S> void experts_inputs_backward(const C& c, view<const S> dy, view<S> dx, guild::tape<S>& tp) const {
        step::combine_backward(c, dy, tp);            // d_rows [R, H], d_weight [T, W]
        step::shared_inputs_backward(c, dy, dx, tp);  // dx =
        step::routed_inputs_backward(c, tp);          // d_read [R, H]
        step::dispatch_backward(c, dx, tp);           // dx +=
    }
    /// After that: grad.experts, .shared +=
    template <class C, class S> void experts_weights_backward(const C& c, view<const S> dy, auto& grad, guild::tape<S>& tp) const {
        step::shared_weights_backward(c, dy, grad, tp);
        step::routed_weights_backward(c, grad, tp);
    }
    /// From d_rows [R, H] and d_weight [T, W] of the tape: dx +=, grad.experts +=.
    template <class C, class S> void rows_backward(const C& c, view<S> dx, auto& grad, guild::tape<S>& tp) const {
        step::shared_untouched(c, tp);
        step::routed_inputs_backward(c, tp);
        step::dispatch_backward(c, dx, tp);
        step::routed_weights_backward(c, grad, tp);
    }
    /// -> d_logits =, d_scored_logits, d_scores =, d_weight +=, grad.router +=
    template <class C, class S> of_host losses_backward(const C& c, auto& grad, guild::tape<S>& tp) const {
        step::losses_backward(c, grad, tp);
        return {};
    }
    /// -> d_logits +=, grad.learned +=
    template <class C, class S> of_host choose_backward(const C& c, auto& grad, guild::tape<S>& tp) const {
        step::choose_backward(c, grad, tp);
        return {};
    }
    /// d_logits -> dx +=, grad.router +=
    template <class C, class S> of_host logits_backward(const C& c, view<S> dx, auto& grad, guild::tape<S>& tp) const {
        step::logits_backward(c, dx, grad, tp);
        return {};
    }

    // What a user asks of a forward.

    /// The losses of the model, each times its weight.
    template <class C, class S> S loss(const C& c, guild::tape<S>& tp) const {
        guild::check::filled(c, tp, "tape");
        return step::loss(c, tp);
    }
    /// Any loss.
    template <class C, class S> S measure(const C& c, const auto& loss, guild::tape<S>& tp) const {
        guild::check::filled(c, tp, "tape");
        if constexpr (!C::model_has_losses) step::scores(c, tp.side, tp);
        return balance::value(loss, c.routing_of(tp));
    }
    /// Token t's row of the gate after every stage.
    template <class C, class S> std::vector<gate::snapshot<S>> inspect(const C& c, guild::tape<S>& tp, long t) const {
        guild::check::filled(c, tp, "tape");
        return gate::inspect(c.model, c.gate_data_of(tp), tp.side, view<const S>(tp.logits.all()), tp.gate, t);
    }
    /// f(e) for the expert of each occupied slot.
    template <class C, class S, class F> void each_chosen(const C& c, const forward_memory<S>& m, F f) const {
        m.use.check("workspace");
        guild::check::filled(c, m, "workspace");
        guild::dispatch::each_chosen(m.gate.choice, static_cast<int>(c.E()), f);
    }

private:
    template <class C, class S> static void fill(const C& c, forward_memory<S>& m) {
        m.by = c.numbers();
        m.owner = c.owner;
        m.filled = true;
    }
};

/// The same, by its former name.
using reference = host;

}  // namespace guild::inline v0::backend
