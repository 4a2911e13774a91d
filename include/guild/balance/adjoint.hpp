#pragma once
#include <guild/balance/routing.hpp>
#include <guild/core/variable.hpp>

/// The adjoint of a loss: its own, or one derived from its value.
namespace guild::inline v0::balance {

template <class Loss, class S> concept has_adjoint = requires(const Loss& loss, const routing<S>& r, const routing_gradient<S>& g) {
    loss.backward(r, g);
};

/// The loss of a batch.
template <class Loss, class S> S value(const Loss& loss, const routing<S>& r) {
    r.memory->reset();
    return loss.value(r);
}

namespace detail {
/// Numbers as leaves, and where their gradients go.
template <class S> struct lifted {
    view<variable<S>> leaves;
    lifted(recording<S>& notes, scratch& memory, view<const S> from)
        : leaves{memory.template room<variable<S>>(from.rows * from.cols).data(), from.rows, from.cols} {
        for (long r = 0; r < from.rows; ++r)
            for (long c = 0; c < from.cols; ++c) leaves(r, c) = notes.leaf(from(r, c));
    }
    void add(recording<S>& notes, view<S> to) const {
        for (long r = 0; r < leaves.rows; ++r)
            for (long c = 0; c < leaves.cols; ++c) to(r, c) += notes.gradient(leaves(r, c));
    }
};
}  // namespace detail

/// g += gradient of the loss. Without a `backward` of its own, exact, in reverse mode: `value` once on variables, and one sweep back over its
/// operations, whose notes take 24 bytes each of r.memory; `value` then computes on the calling thread alone.
template <class Loss, class S> void backward(const Loss& loss, const routing<S>& r, const routing_gradient<S>& g) {
    r.memory->reset();
    if constexpr (has_adjoint<Loss, S>) loss.backward(r, g);
    else {
        recording<S> notes(*r.memory);
        const auto lift = [&](view<const S> from) { return detail::lifted<S>(notes, *r.memory, from); };
        const auto raw = lift(r.raw), logit = lift(r.logit), score = lift(r.score), weight = lift(r.weight);
        const auto router = lift({r.router.row(0, 0), r.router.row(0, 0) ? r.raw.cols : 0, r.hidden, r.router.row_stride});
        const variable<S> result = loss.value(routing<variable<S>>{.experts = r.experts,
                                                                   .slots = r.slots,
                                                                   .top_k = r.top_k,
                                                                   .logit = logit.leaves,
                                                                   .score = score.leaves,
                                                                   .weight = weight.leaves,
                                                                   .expert = r.expert,
                                                                   .wanted = r.wanted,
                                                                   .side = r.side,
                                                                   .raw = raw.leaves,
                                                                   .router = {router.leaves.data, 0, r.hidden},
                                                                   .hidden = r.hidden,
                                                                   .memory = r.memory});
        notes.gradients();
        notes.by(result) = 1;
        notes.sweep();
        raw.add(notes, g.raw);
        logit.add(notes, g.logit);
        score.add(notes, g.score);
        weight.add(notes, g.weight);
        router.add(notes, {g.router.row(0, 0), router.leaves.rows, r.hidden});
        r.memory->reset();  // makes one block of several now, so that the next call need not
    }
}

}  // namespace guild::inline v0::balance
