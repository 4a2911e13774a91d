#pragma once
#include <guild/weights/check.hpp>

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

/// What a layer borrows of packed weights: the members of weights_view, the networks and the router as the backend wants them. What is not packed
/// lies in `rest`, whose memory stays where it is when this is moved.
template <class Network, class Router, class S> struct packed_view {
    gate_weights<S> rest{};   ///< owns what is not packed
    stack<const S> router{};  ///< [1, P, H], plain
    Router packed_router{};   ///< the same as the backend packs it
    gate_data<S> gate{};      ///< learned numbers, state and table of the stages
    /// As the backend packs them: the routed experts, and the shared ones side by side.
    Network experts, shared;
    const S* shared_gate = nullptr;  ///< [H]
    const S* constant = nullptr;     ///< [passive.vectors(), H]
    const S* input = nullptr;        ///< what the gate's input learns
};

namespace check {
/// Networks that the backend computes as they are packed, if it says by `check_packed`.
template <class Backend> void packed(const Backend& b, const auto& w) {
    if constexpr (requires { b.check_packed(w.experts); }) b.check_packed(w.experts), b.check_packed(w.shared);
}
}  // namespace check

/// Owns a backend's packed layout, and copies of everything that is not packed, so the source may go. Its numbers never change; another one may be
/// moved into it, which the layers over it then compute with.
template <class Model, class Format, class Backend> class packed_weights {
    using S = scalar_of<Format>;
    using source = weights_view<Format>;

public:
    /// a router as the backend packs it
    using router = decltype(detail::pack_router(std::declval<const Backend&>(), stack<const S>{}, 1L, 1L));
    /// a network as the backend packs it
    using network = decltype(std::declval<const Backend&>().pack(std::declval<const typename source::network&>(), 1L, 1L, 1L));
    using view = packed_view<network, router, S>;  ///< what a layer borrows

    /// Packs; throws argument_error if the model's numbers break a rule. A hash table stays where it is.
    explicit packed_weights(const source& w, const Model& m = {}, const Backend& b = {})
        : model_(checked(m, w)),
          held_{.experts = b.pack(used(m, w.experts), m.config.routed_experts, m.config.expert_hidden, m.config.hidden),
                .shared = b.pack(used(m, w.shared), m.config.shared_width() > 0, m.config.shared_width(), m.config.hidden)} {
        held_.rest.resize(m);
        held_.rest.copy(w, m.config.hidden);
        held_.router = {held_.rest.router.data(), 0, m.config.hidden};
        held_.packed_router = detail::pack_router(b, held_.router, m.extent().experts + m.extent().extra, m.config.hidden);
        held_.gate = {held_.rest.learned.data(), held_.rest.state.data(), w.gate.table, w.gate.vocabulary};
        held_.shared_gate = held_.rest.shared_gate.data();
        held_.constant = held_.rest.constant.data();
        held_.input = held_.rest.input.data();
    }
    /// Moves alone: a copy would lend the numbers of the original.
    packed_weights(packed_weights&&) = default;
    /// Moves; the layers over it compute with the new numbers.
    packed_weights& operator=(packed_weights&&) = default;
    /// What the weights are of.
    const Model& model() const { return model_; }
    /// The same numbers in plain weights, exactly: to train on, or to pack in another way.
    template <class X = serial>
    weights<Model, Format> unpack(const X& executor = {}) const requires requires(const network& n, network_weights<Format, S>& to) {
        n.unpack(executor, to);
    }
    {
        check(model_);
        weights<Model, Format> w(model_, executor);
        static_cast<gate_weights<S>&>(w) = held_.rest;
        held_.experts.unpack(executor, w.experts);
        held_.shared.unpack(executor, w.shared);
        return w;
    }
    /// What a layer borrows, unchecked.
    const view& lend() const { return held_; }
    /// Throws shape_error if this is not for m, or has been moved from.
    void check(const Model& m) const {
        guild::check::sizes<S>("packed weights", guild::check::same_numbers(model_, m), [&](auto f) {
            if constexpr (std::is_empty_v<Model>)
                f("", "router", held_.rest.router, 1, long(m.extent().experts) + m.extent().extra, m.config.hidden, std::false_type{});
            else detail::each_gate_tensor(m, held_.rest, f);
        });
    }

private:
    /// Without the gate that an activation of one input does not read.
    template <class View> static View used(const Model& m, View network) {
        if (m.activation.inputs == 1) network.gate = {}, network.gate_bias = {};
        return network;
    }
    static const Model& checked(const Model& m, const source& w) {
        guild::check::weights(m, w);
        return m;
    }
    Model model_;
    view held_;
};

}  // namespace guild::inline v0
