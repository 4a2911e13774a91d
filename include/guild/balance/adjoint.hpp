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
template <class S, class Loss> void check_size(const Loss& loss, long size) {
    if constexpr (!requires(const routing<S>& r, const routing_gradient<S>& g) { loss.backward(r, g); }) {
        if (size > 4096)
            guild::detail::raise<argument_error>(
                "guild: a loss without `backward` is differentiated number by number, which is for at most 4096 logits, found ", size,
                "; give it a backward(routing, gradient)");
    }
}

/// g += gradient of the loss. Without a `backward` of its own: one dual-number pass of `value` for every logit, score and weight,
/// O(T P) passes, for tests and small sizes; throws argument_error above T P = 4096.
template <class Loss, class S> void backward(const Loss& loss, const routing<S>& r, const routing_gradient<S>& g) {
    if constexpr (requires { loss.backward(r, g); }) loss.backward(r, g);
    else {
        check_size<S>(loss, r.logit.rows * r.logit.cols);
        detail::lifted<S> logit(r.logit), score(r.score), weight(r.weight);
        const routing<dual<S>> seen{r.experts, r.slots, r.top_k, logit.seen(), score.seen(), weight.seen(), r.expert, r.wanted, r.side};
        const auto each = [&](detail::lifted<S>& in, view<S> by) {
            for (std::size_t i = 0; i < in.numbers.size(); ++i) {
                in.numbers[i].d = S(1);
                by(static_cast<long>(i) / by.cols, static_cast<long>(i) % by.cols) += loss.value(seen).d;
                in.numbers[i].d = S(0);
            }
        };
        each(logit, g.logit);
        each(score, g.score);
        each(weight, g.weight);
    }
}

}  // namespace guild::inline v0::balance
