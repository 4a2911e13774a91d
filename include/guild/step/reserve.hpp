#pragma once
#include <guild/balance/adjoint.hpp>
#include <guild/step/parts.hpp>

namespace guild::inline v0::step {

namespace detail {
/// Bytes for a recording of so many leaves and operations.
template <class S> constexpr long room_of_notes(long leaves, long operations) {
    using W = typename variable<S>::slope_type;  // an operation has two slopes and a gradient, and says of what
    return leaves * static_cast<long>(sizeof(variable<S>) + sizeof(W)) + operations * static_cast<long>(3 * sizeof(W) + 8) + 4096;
}
/// Whether a loss of the model has no adjoint of its own.
template <class P> bool derives_loss(const P& p) {
    bool any = false;
    p.model.each_loss([&](const auto& loss) { any = any || !balance::has_adjoint<std::remove_cvref_t<decltype(loss)>, typename P::S>; });
    return any;
}
}  // namespace detail

/// Gives every buffer that the steps of a forward, and for a tape their adjoints, ask for the size that T tokens with R rows need.
/// The shapes are those that the steps make.
template <class P> void reserve(const P& p, auto& ws, long T, long R) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    using S = typename P::S;
    using stages = decltype(p.model.stages());
    const long E = p.E(), W = p.W(), H = p.H(), F = p.F(), G = p.G();
    const bool keep_h = WS::keeps || !P::fused_up;

    ws.gate.choice.resize(T, static_cast<int>(W));
    ws.gate.present.reserve(T);
    if (stages::across < stages::size) {
        ws.gate.score.shape(T, E);
        ws.gate.wanted.shape(T, W);
        ws.gate.decided.shape(T, W);
        ws.gate.counters.shape(1, E + 1 > T * W ? E + 1 : T * W);
        ws.gate.ranks.shape(1, E > T * W ? E : T * W);
    }
    ws.logits.shape(T, p.P());
    if (P::changes_input) ws.read.shape(T, H);
    if (P::weighs_shared) ws.gate.shared.shape(T, p.model.extent().extra), ws.shared_weighted.shape(T, G);
    ws.plan.offset.shape(1, E + 1);
    ws.plan.token.shape(1, R);
    ws.plan.slot.shape(1, R);
    ws.plan.row.shape(T, W);
    ws.plan.next.shape(1, E > T ? E : T);
    if (P::weighs_input) ws.factor.shape(1, R);
    if (keep_h) ws.h.shape(R, P::inputs * F);
    ws.a.shape(R, F);
    ws.rows.shape(R, H);
    if (keep_h) ws.shared_h.shape(T, P::inputs * G);
    ws.shared_a.shape(T, G);
    if (G > 0 && (P::shared_learns || WS::keeps)) ws.shared_rows.shape(T, H);

    if constexpr (WS::keeps) {
        if (P::model_has_losses) ws.scored_logits.shape(T, E), ws.scores.shape(T, E), ws.d_scored_logits.shape(T, E), ws.d_scores.shape(T, E);
        if (P::weighs_shared) ws.d_shared.shape(T, p.model.extent().extra);
        if (P::changes_input) ws.d_router_read.shape(T, H);
        long losses = 128 * (E + W) + 4096;  // what those of the library take
        if (detail::derives_loss(p)) losses += detail::room_of_notes<S>(T * (p.P() + 2 * E + W) + p.P() * H, 8 * T * (2 * E + W));
        ws.scratch.reserve(static_cast<std::size_t>(losses));
        if constexpr (stages::template derives<S, row<S, std::remove_cvref_t<decltype(p.model.extent())>>>) {
            const long numbers = p.P() + E + W + p.model.stages().learned(static_cast<int>(E));
            ws.notes.resize(static_cast<std::size_t>((T + gate::learned_chunk - 1) / gate::learned_chunk));
            for (scratch& notes : ws.notes) notes.reserve(static_cast<std::size_t>(detail::room_of_notes<S>(numbers, 16 * numbers)));
        }
        ws.d_logits.shape(T, p.P());
        ws.d_weight.shape(T, W);
        ws.d_rows.shape(R, H);
        ws.d_read.shape(R, H);
        ws.d_a.shape(R, F);
        ws.d_h.shape(R, P::inputs * F);
        if (G > 0) ws.shared_d_rows.shape(T, H);
        if (P::shared_learns) ws.shared_d_logit.shape(1, T);
        ws.shared_d_a.shape(T, G);
        ws.shared_d_h.shape(T, P::inputs * G);
        ws.partial.shape((T + gate::learned_chunk - 1) / gate::learned_chunk, p.model.stages().learned(p.model.extent().experts));
    }
    ws.filled = false;
    p.room_in(ws);
    ws.max_tokens = T;
    ws.max_rows = R;
}

}  // namespace guild::inline v0::step
