#pragma once
#include <guild/core/check_weights.hpp>

namespace guild::inline v0 {

/// In the place of a format: weights in the layout that a backend packed them into. A layer over them serves inference.
template <class Format> struct packed {};
template <class Format> struct format<packed<Format>> : format<Format> {};

/// What a layer borrows of packed weights; the members of weights_view, the networks as the backend wants them.
template <class Network, class S> struct packed_view {
    stack<const S> router{};
    gate_data<S> gate{};
    const Network& experts;
    const Network& shared;
    const S* shared_gate = nullptr;
    const S* constant = nullptr;
    const S* input = nullptr;
};

/// Owns a backend's packed layout, and copies of everything that is not packed, so the source may go. Never changes.
template <class Model, class Format, class Backend> class packed_weights {
    using S = scalar_of<Format>;
    using source = weights_view<Format>;

public:
    using network = decltype(std::declval<const Backend&>().pack(std::declval<const typename source::network&>(), 1L, 1L, 1L));

    /// Packs; throws argument_error if the model's numbers break a rule. A hash table stays where it is.
    explicit packed_weights(const source& w, const Model& m = {}, const Backend& b = {})
        : model_(checked(m, w)),
          table_(w.gate.table),
          vocabulary_(w.gate.vocabulary),
          experts_(b.pack(w.experts, m.config.routed_experts, m.config.expert_hidden, m.config.hidden)),
          shared_(b.pack(w.shared, m.config.shared_width() > 0, m.config.shared_width(), m.config.hidden)) {
        rest_.resize(m);
        rest_.copy(w, m.config.hidden);
    }
    const Model& model() const { return model_; }
    operator packed_view<network, S>() const {
        return {{rest_.router.data(), 0, model_.config.hidden},
                {rest_.learned.data(), rest_.state.data(), table_, vocabulary_},
                experts_,
                shared_,
                rest_.shared_gate.data(),
                rest_.constant.data(),
                rest_.input.data()};
    }

private:
    static const Model& checked(const Model& m, const source& w) {
        check::weights(m, w);
        return m;
    }
    [[no_unique_address]] Model model_;
    gate_weights<S> rest_;
    const int* table_;
    long vocabulary_;
    network experts_, shared_;
};

}  // namespace guild::inline v0
