#pragma once
#include <guild/balance/routing.hpp>
#include <guild/core/error.hpp>
#include <guild/core/scalar.hpp>

/// The adjoint of a loss: its own, or one derived from its value.
namespace guild::inline v0::balance {

namespace detail {
template <class S> struct lifted {
    std::vector<dual<S>> numbers;
    view<const S> from;
    explicit lifted(view<const S> v) : from(v) {
        for (long r = 0; r < v.rows; ++r)
            for (long c = 0; c < v.cols; ++c) numbers.emplace_back(v(r, c));
    }
    view<const dual<S>> seen() const { return {numbers.data(), from.rows, from.cols}; }
};
}  // namespace detail

/// Throws argument_error where `backward` would have to differentiate more numbers one by one than is sensible.
template <class S, class Loss> void check_size(const Loss& loss, const routing<S>& r) {
    if constexpr (!requires(const routing_gradient<S>& g) { loss.backward(r, g); }) {
        const long size = r.logit.rows * r.logit.cols + (r.router.data ? r.raw.cols * r.hidden : 0);
        if (size > 4096)
            guild::detail::raise<argument_error>(
                "guild: a loss without `backward` is differentiated number by number, which is for at most 4096 logits and numbers of the router, "
                "found ",
                size, "; give it a backward(routing, gradient)");
    }
}

/// The loss of a batch.
template <class Loss, class S> S value(const Loss& loss, const routing<S>& r) {
    r.memory->reset();
    return loss.value(r);
}
/// g += gradient of the loss. Without a `backward` of its own: one dual-number pass of `value` for every logit, score, weight and
/// number of the router, O(T P + P H) passes, for tests and small sizes; throws argument_error above 4096.
template <class Loss, class S> void backward(const Loss& loss, const routing<S>& r, const routing_gradient<S>& g) {
    r.memory->reset();
    if constexpr (requires { loss.backward(r, g); }) loss.backward(r, g);
    else {
        check_size(loss, r);
        detail::lifted<S> raw(r.raw), logit(r.logit), score(r.score), weight(r.weight);
        detail::lifted<S> router(view<const S>(r.router.row(0, 0), r.router.row(0, 0) ? r.raw.cols : 0, r.hidden, r.router.row_stride));
        const routing<dual<S>> seen{.experts = r.experts,
                                    .slots = r.slots,
                                    .top_k = r.top_k,
                                    .logit = logit.seen(),
                                    .score = score.seen(),
                                    .weight = weight.seen(),
                                    .expert = r.expert,
                                    .wanted = r.wanted,
                                    .side = r.side,
                                    .raw = raw.seen(),
                                    .router = {router.numbers.data(), 0, r.hidden},
                                    .hidden = r.hidden,
                                    .memory = r.memory};
        const auto each = [&](detail::lifted<S>& in, view<S> by) {
            for (std::size_t i = 0; i < in.numbers.size(); ++i) {
                in.numbers[i].d = S(1);
                by(static_cast<long>(i) / by.cols, static_cast<long>(i) % by.cols) += value(loss, seen).d;
                in.numbers[i].d = S(0);
            }
        };
        each(raw, g.raw);
        each(logit, g.logit);
        each(score, g.score);
        each(weight, g.weight);
        each(router, view<S>(g.router.row(0, 0), router.from.rows, r.hidden));
    }
}

}  // namespace guild::inline v0::balance
