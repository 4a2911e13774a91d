#pragma once
#include <guild/config.hpp>
#include <guild/core/in_use.hpp>
#include <guild/core/room.hpp>
#include <guild/core/scratch.hpp>
#include <guild/dispatch/plan.hpp>
#include <guild/gate/run.hpp>

namespace guild::inline v0 {

/// The numbers of the layer that filled a workspace.
struct layer_numbers {
    guild::config config{};  ///< of its model
    /// Routed and passive experts, extra logits X, slots W.
    int experts = 0, extra = 0, slots = 0;
    constexpr bool operator==(const layer_numbers&) const = default;
};

/// Logits that go from layer to layer beside the residual stream, for gates with gating_residual: set by the caller before a forward, all
/// [T, E], memory of the caller that must stay alive until backward; a view without data asks for nothing. For two layers in a row:
///
///     first.passed.own = g;  second.passed.previous = g;                 then both forward
///     second.passed.d_previous = dg;  first.passed.d_own = dg;           then the second backward, then the first
template <class S> struct passed_logits {
    view<const S> previous{};  ///< G of the layer before; throws shape_error where the gate needs it and it is not there
    view<S> own{};             ///< = G of this layer, after the stages that change logits; 0 for padded tokens
    view<const S> d_own{};     ///< gradient by `own`, read by backward
    view<S> d_previous{};      ///< = gradient by `previous`, written by backward
};

/// What a forward leaves, in a workspace as in a tape. It grows on use; after `reserve` it never allocates, and a forward that would need more throws
/// shape_error before y is written.
template <class S> struct forward_memory {
    gate_result<S> gate;           ///< choice [T, W]
    guild::plan plan;              ///< of the rows, where `planned`
    bool planned = false;          ///< whether the last forward made a plan: an inference of few tokens through a small layer makes none
    buffer<S> logits;              ///< [T, P]
    buffer<S> read;                ///< [T, H] what the router reads, where that is not x
    buffer<S> shared_weighted;     ///< [T, G] shared_a by the weights that the gate gives the shared experts
    buffer<S> h, a, rows;          ///< [R, inputs F], [R, F], [R, H]
    buffer<S> factor;              ///< [R] weight of the row, where the gate weighs the input
    buffer<S> shared_h, shared_a;  ///< [T, inputs G], [T, G], G the width of the shared network
    buffer<S> shared_rows;         ///< [T, H] where the shared policy learns, or a batch of a tape has padding
    room::memory products;         ///< what the products of the caller's thread lay out
    passed_logits<S> passed;       ///< of the caller
    long tokens = 0;               ///< T of the last forward
    /// What was reserved, tokens and rows; < 0: nothing.
    long max_tokens = -1, max_rows = -1;
    detail::moving_flag filled;   ///< a forward has run to its end
    layer_numbers by;             ///< of the layer that ran it
    const void* owner = nullptr;  ///< of its weights
    detail::in_use use;           ///< by a call that runs
};

/// The memory of one inference, one per concurrent caller of a const layer: two calls at a time in one are an argument_error.
template <class S> struct workspace : forward_memory<S> {
    /// Room for T tokens and R routed rows; < 0: T W, as many as there can be.
    template <class Layer> void reserve(const Layer& layer, long T, long R = -1) { layer.reserve(*this, T, R); }
};

/// The memory of one training forward, whose contents backward reads: x (borrowed), logits, choice, plan, h, a, rows. Rows of shared networks are in
/// the order of gate.present: those of padded tokens last. What the last forward left stays until the next one: backward may run on it again, with
/// another dy. That x or a list of the batch has moved, been written or destroyed since, or that weights have changed, cannot be told.
template <class S> struct tape : forward_memory<S> {
    view<const S> x;                                  ///< [T, H] of the last forward, borrowed
    batch side;                                       ///< of the last forward, its lists borrowed
    buffer<S> scored_logits, scores;                  ///< [T, E] where the model has losses
    buffer<S> d_logits, d_weight;                     ///< [T, P], after a backward without the rows of padded tokens; [T, W]
    buffer<S> d_scored_logits, d_scores;              ///< [T, E]
    buffer<S> d_shared;                               ///< [T, S] by the weights of the shared experts
    buffer<S> d_router_read;                          ///< [T, H] by what the router read
    buffer<S> d_rows, d_read;                         ///< [R, H] by what each expert returned, by what it read
    buffer<S> d_a, d_h;                               ///< [R, F], [R, inputs F]
    buffer<S> shared_d_rows, shared_d_a, shared_d_h;  ///< [T, H], [T, G], [T, inputs G]
    buffer<S> shared_d_logit;                         ///< [T]
    buffer<S> partial;                                ///< of the gradients of learned numbers
    guild::scratch scratch;                           ///< of the losses
    std::vector<guild::scratch> notes;                ///< of the adjoints of stages that are derived, one for 64 tokens

    /// As workspace::reserve.
    template <class Layer> void reserve(const Layer& layer, long T, long R = -1) { layer.reserve(*this, T, R); }
};

}  // namespace guild::inline v0
