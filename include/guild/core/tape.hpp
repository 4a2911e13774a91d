#pragma once
#include <guild/config.hpp>
#include <guild/dispatch/plan.hpp>
#include <guild/gate/run.hpp>

namespace guild::inline v0 {

/// The numbers of the layer that filled a workspace.
struct layer_numbers {
    guild::config config{};
    int experts = 0, extra = 0, slots = 0;
    constexpr bool operator==(const layer_numbers&) const = default;
};

/// The memory of one forward, one per concurrent caller of a const layer. It grows on use; after `reserve` it never allocates, and
/// a forward that would need more throws shape_error before y is written.
template <class S> struct workspace {
    static constexpr bool keeps = false;
    gate_result<S> gate;  ///< choice [T, W]
    guild::plan plan;
    buffer<S> logits;              ///< [T, P]
    buffer<S> h, a, rows;          ///< [R, inputs F], [R, F], [R, H]
    buffer<S> factor;              ///< [R] weight of the row, where the gate weighs the input
    buffer<S> shared_h, shared_a;  ///< [T, inputs G], [T, G], G the width of the shared network
    buffer<S> shared_rows;         ///< [T, H] where the shared policy learns
    long max_tokens = -1, max_rows = -1;
    bool filled = false;  ///< a forward has run to its end
    layer_numbers by;     ///< of the layer that ran it

    /// Room for `tokens` tokens and `most` routed rows; < 0: tokens W, as many as there can be.
    template <class Layer> void reserve(const Layer& layer, long tokens, long most = -1) { layer.reserve(*this, tokens, most); }
};

/// A workspace whose contents backward reads: x (borrowed), logits, choice, plan, h, a, rows.
template <class S> struct tape : workspace<S> {
    static constexpr bool keeps = true;
    view<const S> x;
    batch side;
    buffer<S> scores;                                 ///< [T, E] where the model has losses
    buffer<S> d_logits, d_scores, d_weight;           ///< [T, P], [T, E], [T, W]
    buffer<S> d_rows, d_read;                         ///< [R, H] by what each expert returned, by what it read
    buffer<S> d_a, d_h;                               ///< [R, F], [R, inputs F]
    buffer<S> shared_d_rows, shared_d_a, shared_d_h;  ///< [T, H], [T, G], [T, inputs G]
    buffer<S> shared_d_logit;                         ///< [T]
    buffer<S> partial;                                ///< of the gradients of learned numbers
    mutable buffer<double> counted;                   ///< scratch of the losses, [E]

    template <class Layer> void reserve(const Layer& layer, long tokens, long most = -1) { layer.reserve(*this, tokens, most); }
};

}  // namespace guild::inline v0
