#pragma once
#include <guild/concepts.hpp>
#include <guild/expert/feed_forward.hpp>
#include <guild/format/scaled.hpp>
#include <guild/gate/run.hpp>
#include <guild/model.hpp>
#include <guild/parallel/serial.hpp>
#include <guild/weights/tensors.hpp>

#include <algorithm>
#include <string_view>
#include <vector>

namespace guild::inline v0 {

/// Weights somebody else owns. Format: how a number of an expert's matrix is stored; router and biases are in its scalar.
template <class Format, class S = scalar_of<std::remove_const_t<Format>>> struct weights_view {
    using network = feed_forward<typename format<Format>::stack, stack<const S>>;  ///< matrices and biases of experts, borrowed
    stack<const S> router{};                                                       ///< [1, P, H], P = E + the gate's extra logits
    gate_data<S> gate{};                                                           ///< learned numbers, state and table of the stages
    network experts{};                                                             ///< gate, up [E, F, H], down [E, H, F]
    network shared{};                ///< the shared experts side by side, width G: gate, up [1, G, H], down [1, H, G]
    const S* shared_gate = nullptr;  ///< [H]
    const S* constant = nullptr;     ///< [passive.vectors(), H]
    const S* input = nullptr;        ///< what the gate's input learns
};

/// Matrices, stored in W, and biases of a feed-forward network that own their memory, [E, F, H] as in feed_forward.
template <class W, class S> struct network_weights {
    /// [E, F, H], [E, F, H], [E, H, F]; gate is empty where the activation has one input.
    typename format<W>::storage gate, up, down;
    /// [E, F], [E, F], [E, H], or none.
    std::vector<S> gate_bias, up_bias, down_bias;

    /// Zero. Gigabytes take their time, so an executor may write the matrices side by side.
    template <class X = serial> void resize(long E, long F, long H, int inputs, bool bias, const X& executor = {}) {
        const auto size = [](long n) { return static_cast<std::size_t>(n); };
        executor.run(3, [&](long begin, long end) {
            for (long i = begin; i < end; ++i) {
                if (i == 0) format<W>::resize(gate, inputs == 2 ? E : 0, F, H);
                if (i == 1) format<W>::resize(up, E, F, H);
                if (i == 2) format<W>::resize(down, E, H, F);
            }
        });
        gate_bias.resize(inputs == 2 && bias ? size(E * F) : 0);
        up_bias.resize(bias ? size(E * F) : 0);
        down_bias.resize(bias ? size(E * H) : 0);
    }
    /// To write, where each number is stored by itself.
    feed_forward<stack<W>, stack<S>> lend(long F, long H) requires(!has_scales<W>) {
        const auto biases = [](std::vector<S>& b, long n) { return b.empty() ? stack<S>{} : stack<S>{b.data(), n, 1}; };
        return {{gate.data(), F * H, H}, {up.data(), F * H, H}, {down.data(), F * H, F},
                biases(gate_bias, F),    biases(up_bias, F),    biases(down_bias, H)};
    }
    /// To read.
    feed_forward<typename format<W>::stack, stack<const S>> lend(long F, long H) const {
        const auto biases = [](const std::vector<S>& b, long n) { return b.empty() ? stack<const S>{} : stack<const S>{b.data(), n, 1}; };
        return {format<W>::lend(gate, F, H), format<W>::lend(up, F, H), format<W>::lend(down, H, F),
                biases(gate_bias, F),        biases(up_bias, F),        biases(down_bias, H)};
    }
};

/// Everything a layer learns or keeps but the matrices of its experts.
template <class S> struct gate_weights {
    std::vector<S> router;         ///< [P, H]
    std::vector<S> learned;        ///< of the gate's stages
    std::vector<S> shared_gate;    ///< [H] where the shared policy learns
    std::vector<S> constant;       ///< [passive.vectors(), H] of constant experts, then of blends
    std::vector<S> input;          ///< what the gate's input learns
    std::vector<real_t<S>> state;  ///< of the gate's stages: selection bias. No gradient
    std::vector<int> table;        ///< [vocabulary, K] of a gate that hashes; filled by the caller

    /// The sizes that the model gives, zero; not the table, which the caller fills.
    void resize(const auto& model) {
        const auto n = model.extent();
        const auto size = [](long k) { return static_cast<std::size_t>(k); };
        router.resize(size(long(n.experts + n.extra) * model.config.hidden));
        learned.resize(size(model.stages().learned(n.experts)));
        shared_gate.resize(model.shared.learned ? size(model.config.hidden) : 0);
        constant.resize(size(long(model.passive.vectors()) * model.config.hidden));
        input.resize(size(input_numbers(model)));
        state.resize(size(model.stages().state(n.experts)));
    }
    /// The numbers of a view of weights of the same model, H wide; not the table.
    void copy(const auto& w, long H) {
        const auto copy_row = [](const auto* from, auto* to, long n) {
            std::transform(from, from + n, to, [](auto v) { return static_cast<std::remove_cvref_t<decltype(*to)>>(v); });
        };
        const auto copy_all = [&](const auto* from, auto& to) { copy_row(from, to.data(), static_cast<long>(to.size())); };
        for (long p = 0; p * H < static_cast<long>(router.size()); ++p) copy_row(w.router.row(0, p), router.data() + p * H, H);
        copy_all(w.gate.learned, learned);
        copy_all(w.gate.state, state);
        copy_all(w.shared_gate, shared_gate);
        copy_all(w.constant, constant);
        copy_all(w.input, input);
    }
};

/// Weights that own their memory, zero at first; gradients are the same type. Throws argument_error if the model's numbers break
/// a rule. A view of them throws shape_error if a tensor no longer has the size that the model gives it: resized, or moved from.
template <class Model, class Format = float> struct weights : gate_weights<scalar_of<Format>> {
    using scalar = scalar_of<Format>;  ///< of the router and biases

    Model model;  ///< what the weights are of
    /// Of the routed experts, and of the shared ones side by side, one network of their common width.
    network_weights<Format, scalar> experts, shared;

    weights() : weights(Model{}) {}
    /// All zero.
    explicit weights(const Model& m) : weights(m, serial{}) {}
    /// The same, written side by side by the executor.
    template <executor X> weights(const Model& m, const X& by) : model(m) {
        m.check();
        const guild::config& c = m.config;
        this->resize(m);
        experts.resize(c.routed_experts, c.expert_hidden, c.hidden, m.activation.inputs, c.expert_bias, by);
        shared.resize(c.shared_width() > 0, c.shared_width(), c.hidden, m.activation.inputs, c.shared_bias, by);
    }

    /// Borrows; throws shape_error if a tensor has not the size that the model gives it.
    operator weights_view<Format>() const {
        check::owned<Format>("weights", model, *this);
        return lend();
    }
    /// The same, unchecked.
    weights_view<Format> lend() const {
        const guild::config& c = model.config;
        return {
            .router = {this->router.data(), 0, c.hidden},
            .gate = {this->learned.data(), this->state.data(), this->table.data(), c.top_k > 0 ? static_cast<long>(this->table.size()) / c.top_k : 0},
            .experts = experts.lend(c.expert_hidden, c.hidden),
            .shared = shared.lend(c.shared_width(), c.hidden),
            .shared_gate = this->shared_gate.data(),
            .constant = this->constant.data(),
            .input = this->input.data()};
    }
};

/// f(name, tensor of w, ...) for everything that has a gradient, in a fixed order, in step over several sets of the same model:
/// for optimisers, files and tests. A tensor is a std::vector, empty where the model has none; a matrix in a format with scales is its
/// `scaled_matrices`.
template <class F, class... W> void each_tensor(F f, W&... w) {
    f("router", w.router...);
    f("learned", w.learned...);
    f("shared_gate", w.shared_gate...);
    f("constant", w.constant...);
    f("input", w.input...);
    f("experts.gate", w.experts.gate...);
    f("experts.up", w.experts.up...);
    f("experts.down", w.experts.down...);
    f("experts.gate_bias", w.experts.gate_bias...);
    f("experts.up_bias", w.experts.up_bias...);
    f("experts.down_bias", w.experts.down_bias...);
    f("shared.gate", w.shared.gate...);
    f("shared.up", w.shared.up...);
    f("shared.down", w.shared.down...);
    f("shared.gate_bias", w.shared.gate_bias...);
    f("shared.up_bias", w.shared.up_bias...);
    f("shared.down_bias", w.shared.down_bias...);
}

/// All tensors = 0: gradients before a step.
template <class Model, class Format>
requires(!has_scales<Format>) void zero(weights<Model, Format>& w) {
    each_tensor([](const char*, auto& t) { std::fill(t.begin(), t.end(), typename std::remove_cvref_t<decltype(t)>::value_type{}); }, w);
}

}  // namespace guild::inline v0
