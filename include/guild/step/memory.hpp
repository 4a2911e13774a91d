#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/context.hpp>

/// The one list of what a forward and its adjoint work in, with shapes: applied with T before the first step, with R once the plan is known, and with
/// both by `reserve`. No step makes a shape of its own.
namespace guild::inline v0::step {

/// v = 0
template <class S> view<S> zero(view<S> v) {
    for (long r = 0; r < v.rows; ++r)
        for (long i = 0; i < v.cols; ++i) v(r, i) = S(0);
    return v;
}

namespace detail {
/// Bytes for a recording of so many leaves and operations.
template <class S> constexpr long room_of_notes(long leaves, long operations) {
    using W = typename variable<S>::slope_type;  // an operation has two slopes and a gradient, and says of what
    return leaves * static_cast<long>(sizeof(variable<S>) + sizeof(W)) + operations * static_cast<long>(3 * sizeof(W) + 8) + 4096;
}
/// Whether a loss of the model has no adjoint of its own.
template <class C> bool derives_loss(const C& c) {
    bool any = false;
    c.model.each_loss([&](const auto& loss) { any = any || !balance::has_adjoint<std::remove_cvref_t<decltype(loss)>, typename C::S>; });
    return any;
}

/// f(buffer, rows, columns) for what T tokens take, of a workspace and of a tape.
template <class C, class S, class F> void each_of_tokens(const C& c, forward_memory<S>& m, long T, F f) {
    f(m.logits, T, c.P());
    if (C::changes_input) f(m.read, T, c.H());
    if (C::weighs_shared) f(m.shared_weighted, T, c.G());
    f(m.shared_h, T, C::inputs * c.G());
    f(m.shared_a, T, c.G());
    if (c.G() > 0 && C::shared_learns) f(m.shared_rows, T, c.H());
}
/// The same of R rows, the first `own` of which belong to experts with matrices.
template <class C, class S, class F> void each_of_rows(const C& c, forward_memory<S>& m, long R, long own, F f) {
    if (C::weighs_input) f(m.factor, 1, R);
    f(m.h, own, C::inputs * c.F());
    f(m.a, own, c.F());
    f(m.rows, R, c.H());
}
}  // namespace detail

template <class C, class S, class F> void each_of_tokens(const C& c, workspace<S>& m, long T, F f) { detail::each_of_tokens(c, m, T, f); }
template <class C, class S, class F> void each_of_rows(const C& c, workspace<S>& m, long R, long own, F f) { detail::each_of_rows(c, m, R, own, f); }
template <class C, class S, class F> void each_of_tokens(const C& c, tape<S>& m, long T, F f) {
    const long E = c.E(), H = c.H(), G = c.G();
    detail::each_of_tokens(c, m, T, f);
    if (G > 0 && !C::shared_learns) f(m.shared_rows, T, H);  // padding
    if (G > 0) f(m.shared_d_rows, T, H);
    if (C::shared_learns) f(m.shared_d_logit, 1, T);
    f(m.shared_d_a, T, G);
    f(m.shared_d_h, T, C::inputs * G);
    f(m.d_logits, T, c.P());
    f(m.d_weight, T, c.W());
    if (C::model_has_losses) f(m.scored_logits, T, E), f(m.scores, T, E), f(m.d_scored_logits, T, E), f(m.d_scores, T, E);
    if (C::weighs_shared) f(m.d_shared, T, long(c.model.extent().extra));
    if (C::changes_input) f(m.d_router_read, T, H);
}
template <class C, class S, class F> void each_of_rows(const C& c, tape<S>& m, long R, long own, F f) {
    detail::each_of_rows(c, m, R, own, f);
    f(m.d_rows, R, c.H());
    f(m.d_read, R, c.H());
    f(m.d_a, own, c.F());
    f(m.d_h, own, C::inputs * c.F());
}

template <class C> void size_tokens(const C& c, auto& m, long T) {
    m.tokens = T;
    c.backend.each_of_tokens(c, m, T, [](auto& b, long rows, long columns) { b.shape(rows, columns); });
}
template <class C> void size_rows(const C& c, auto& m, long R, long own) {
    c.backend.each_of_rows(c, m, R, own, [](auto& b, long rows, long columns) { b.shape(rows, columns); });
}

/// What the gate, the plan and derived adjoints take, which they shape themselves.
template <class C, class S> void reserve_gate(const C& c, forward_memory<S>& m, long T, long R) {
    using stages = decltype(c.model.stages());
    const long E = c.E(), W = c.W();
    m.gate.choice.resize(T, static_cast<int>(W));
    m.gate.present.reserve(T);
    if (stages::across < stages::size) {
        m.gate.score.shape(T, E);
        m.gate.wanted.shape(T, W);
        m.gate.decided.shape(T, W);
        m.gate.counters.shape(1, E + 1 > T * W ? E + 1 : T * W);
        m.gate.ranks.shape(1, E > T * W ? E : T * W);
    }
    if (C::weighs_shared) m.gate.shared.shape(T, c.model.extent().extra);
    m.plan.offset.shape(1, E + 1);
    m.plan.token.shape(1, R);
    m.plan.slot.shape(1, R);
    m.plan.row.shape(T, W);
    m.plan.next.shape(1, E > T ? E : T);
}
template <class C, class S> void reserve_adjoints(const C&, workspace<S>&, long) {}
template <class C, class S> void reserve_adjoints(const C& c, tape<S>& tp, long T) {
    using stages = decltype(c.model.stages());
    const long E = c.E(), W = c.W(), chunks = (T + gate::learned_chunk - 1) / gate::learned_chunk;
    long losses = 128 * (E + W) + 4096;  // what those of the library take
    if (detail::derives_loss(c)) losses += detail::room_of_notes<S>(T * (c.P() + 2 * E + W) + c.P() * c.H(), 8 * T * (2 * E + W));
    tp.scratch.reserve(static_cast<std::size_t>(losses));
    if constexpr (stages::template derives<S, row<S, std::remove_cvref_t<decltype(c.model.extent())>>>) {
        const long numbers = c.P() + E + W + c.model.stages().learned(static_cast<int>(E));
        tp.notes.resize(static_cast<std::size_t>(chunks));
        for (scratch& notes : tp.notes) notes.reserve(static_cast<std::size_t>(detail::room_of_notes<S>(numbers, 16 * numbers)));
    }
    tp.partial.shape(chunks, c.model.stages().learned(c.model.extent().experts));
}
/// Room for T tokens with R rows.
template <class C> void reserve(const C& c, auto& m, long T, long R) {
    reserve_gate(c, m, T, R);
    reserve_adjoints(c, m, T);
    size_tokens(c, m, T);
    size_rows(c, m, R, R);
    if (c.E() > c.routed_experts()) size_rows(c, m, R, 0);  // where all rows are of experts without matrices
    m.filled = false;
    m.max_tokens = T;
    m.max_rows = R;
}

}  // namespace guild::inline v0::step
