#pragma once
#include <guild/core/check_weights.hpp>

namespace guild::inline v0 {

/// In the place of a format: weights in the layout that a backend packed them into. A layer over them serves inference.
template <class Format> struct packed {};
template <class Format> struct format<packed<Format>> : format<Format> {};

namespace detail {
/// A router [P, H] as the backend packs it, or as it is.
template <class Backend, class S> auto pack_router(const Backend& b, const stack<const S>& router, long P, long H) {
    if constexpr (requires { b.pack_router(router, P, H); }) return b.pack_router(router, P, H);
    else return router;
}
}  // namespace detail

/// What a layer borrows of packed weights; the members of weights_view, the networks and the router as the backend wants them.
template <class Network, class Router, class S> struct packed_view {
    stack<const S> router{};
    const Router& packed_router;
    gate_data<S> gate{};
    const Network& experts;
    const Network& shared;
    const S* shared_gate = nullptr;
    const S* constant = nullptr;
    const S* input = nullptr;
};

namespace check {
/// Networks that the backend computes as they are packed, if it says by `check`.
template <class Backend> void packed(const Backend& b, const auto& w) {
    if constexpr (requires { b.check(w.experts); }) b.check(w.experts), b.check(w.shared);
}
}  // namespace check

/// Owns a backend's packed layout, and copies of everything that is not packed, so the source may go. Never changes.
template <class Model, class Format, class Backend> class packed_weights {
    using S = scalar_of<Format>;
    using source = weights_view<Format>;

public:
    using router = decltype(detail::pack_router(std::declval<const Backend&>(), stack<const S>{}, 1L, 1L));
    using network = decltype(std::declval<const Backend&>().pack(std::declval<const typename source::network&>(), 1L, 1L, 1L));

    /// Packs; throws argument_error if the model's numbers break a rule. A hash table stays where it is.
    explicit packed_weights(const source& w, const Model& m = {}, const Backend& b = {})
        : model_(checked(m, w)),
          table_(w.gate.table),
          vocabulary_(w.gate.vocabulary),
          experts_(b.pack(used(m, w.experts), m.config.routed_experts, m.config.expert_hidden, m.config.hidden)),
          shared_(b.pack(used(m, w.shared), m.config.shared_width() > 0, m.config.shared_width(), m.config.hidden)) {
        rest_.resize(m);
        rest_.copy(w, m.config.hidden);
        router_ = detail::pack_router(b, plain_router(), m.extent().experts + m.extent().extra, m.config.hidden);
    }
    packed_weights(packed_weights&&) = default;  // a copy would lend the router of the original
    packed_weights& operator=(packed_weights&&) = default;
    const Model& model() const { return model_; }
    /// The same numbers in plain weights, exactly: to train on, or to pack in another way.
    template <class X = serial>
    weights<Model, Format> unpack(const X& executor = {}) const requires requires(const network& n, network_weights<Format, S>& to) {
        n.unpack(executor, to);
    }
    {
        weights<Model, Format> w(model_, executor);
        static_cast<gate_weights<S>&>(w) = rest_;
        experts_.unpack(executor, w.experts);
        shared_.unpack(executor, w.shared);
        return w;
    }
    operator packed_view<network, router, S>() const {
        return {plain_router(),
                router_,
                {rest_.learned.data(), rest_.state.data(), table_, vocabulary_},
                experts_,
                shared_,
                rest_.shared_gate.data(),
                rest_.constant.data(),
                rest_.input.data()};
    }

private:
    stack<const S> plain_router() const { return {rest_.router.data(), 0, model_.config.hidden}; }
    /// Without the gate that an activation of one input does not read.
    template <class View> static View used(const Model& m, View network) {
        if (m.activation.inputs == 1) network.gate = {}, network.gate_bias = {};
        return network;
    }
    static const Model& checked(const Model& m, const source& w) {
        check::weights(m, w);
        return m;
    }
    Model model_;
    gate_weights<S> rest_;
    const int* table_;
    long vocabulary_;
    network experts_, shared_;
    router router_;
};

}  // namespace guild::inline v0
