#pragma once
#include <guild/core/parts.hpp>

namespace guild::inline v0::step {

/// Gives every buffer that the steps of a forward, and for a tape their adjoints, ask for the size that T tokens with R rows need.
/// The shapes are those of steps.hpp and adjoints.hpp.
template <class P> void reserve(const P& p, auto& ws, long T, long R) {
    using WS = std::remove_cvref_t<decltype(ws)>;
    using stages = decltype(p.model.stages());
    const long E = p.E(), W = p.W(), H = p.H(), F = p.F(), G = p.G();
    const bool keep_h = WS::keeps || !P::fused_up;

    ws.gate.choice.resize(T, static_cast<int>(W));
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
    if (P::shared_learns) ws.shared_rows.shape(T, H);

    if constexpr (WS::keeps) {
        if (P::model_has_losses) ws.scored_logits.shape(T, E), ws.scores.shape(T, E), ws.d_scored_logits.shape(T, E), ws.d_scores.shape(T, E);
        if (P::weighs_shared) ws.d_shared.shape(T, p.model.extent().extra);
        if (P::changes_input) ws.d_router_read.shape(T, H);
        ws.scratch.reserve(static_cast<std::size_t>(128 * (E + W) + 4096));  // what the losses of the library take
        ws.d_logits.shape(T, p.P());
        ws.d_weight.shape(T, W);
        ws.d_rows.shape(R, H);
        ws.d_read.shape(R, H);
        ws.d_a.shape(R, F);
        ws.d_h.shape(R, P::inputs * F);
        if (P::shared_learns) ws.shared_d_rows.shape(T, H), ws.shared_d_logit.shape(1, T);
        ws.shared_d_a.shape(T, G);
        ws.shared_d_h.shape(T, P::inputs * G);
        ws.partial.shape((T + gate::learned_chunk - 1) / gate::learned_chunk, p.model.stages().learned(p.model.extent().experts));
    }
    ws.filled = false;
    ws.max_tokens = T;
    ws.max_rows = R;
}

}  // namespace guild::inline v0::step
