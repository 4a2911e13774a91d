#pragma once
#include <guild/core/error.hpp>
#include <guild/format/stack.hpp>

#include <array>
#include <type_traits>

/// The one list of a mixture's tensors with the sizes that the model gives them, by which weights, gradients, packed weights and views are checked.
namespace guild::inline v0 {

/// How many numbers the gate's input learns.
constexpr long input_numbers(const auto& model) {
    if constexpr (requires { model.gate.input().learned(1); }) return model.gate.input().learned(model.config.hidden);
    else return 0;
}

namespace detail {
/// f(of, name, tensor, E, out, in, matrix) for what belongs to the gate or to all experts, as the members of weights or of a view: [E, out, in] numbers,
/// none: the model has no such tensor. `matrix`: whether it is stored in the format.
template <class Model, class F> constexpr void each_gate_tensor(const Model& m, const auto& w, F f) {
    constexpr std::false_type plain{};
    const long H = m.config.hidden;
    const auto n = m.extent();
    const auto stages = [&](const char* of, const auto& gate) {
        f(of, "learned", gate.learned, 1, 1, m.stages().learned(n.experts), plain);
        f(of, "state", gate.state, 1, 1, m.stages().state(n.experts), plain);
    };
    f("", "router", w.router, 1, long(n.experts) + n.extra, H, plain);
    if constexpr (requires { w.gate.learned; }) stages("gate.", w.gate);
    else stages("", w);
    f("", "shared_gate", w.shared_gate, 1, m.shared.learned, H, plain);
    f("", "constant", w.constant, 1, m.passive.vectors(), H, plain);
    f("", "input", w.input, 1, 1, input_numbers(m), plain);
}
/// The same for a network of E experts of width F.
template <class Model, class F>
constexpr void each_network_tensor(const Model& m, const char* of, const auto& n, long E, long width, bool bias, F f) {
    constexpr std::true_type matrix{};
    constexpr std::false_type plain{};
    const long H = m.config.hidden, gated = m.activation.inputs == 2 ? E : 0, biased = bias ? E : 0;
    f(of, "gate", n.gate, gated, width, H, matrix);
    f(of, "up", n.up, E, width, H, matrix);
    f(of, "down", n.down, E, H, width, matrix);
    f(of, "gate_bias", n.gate_bias, bias ? gated : 0, 1, width, plain);
    f(of, "up_bias", n.up_bias, biased, 1, width, plain);
    f(of, "down_bias", n.down_bias, biased, 1, H, plain);
}
template <class Model, class F> constexpr void each_expected(const Model& m, const auto& w, F f) {
    each_gate_tensor(m, w, f);
    each_network_tensor(m, "experts.", w.experts, m.config.routed_experts, m.config.expert_hidden, m.config.expert_bias, f);
    each_network_tensor(m, "shared.", w.shared, m.config.shared_width() > 0, m.config.shared_width(), m.config.shared_bias, f);
}

/// f(suffix, found, expected) for the numbers of a tensor that owns its memory. A format of the user's own need not say what it holds.
template <class Format, bool Matrix, class F>
constexpr void each_size(const auto& tensor, long E, long out, long in, std::bool_constant<Matrix>, F f) {
    if constexpr (!Matrix) f("", static_cast<long>(tensor.size()), E * out * in);
    else if constexpr (requires { format<Format>::each_size(tensor, E, out, in, f); }) format<Format>::each_size(tensor, E, out, in, f);
}
}  // namespace detail

namespace check {

template <class Format, class Walk> [[noreturn, gnu::cold, gnu::noinline]] void refuse_sizes(const char* what, const Walk& walk) {
    walk([&](const char* of, const char* name, const auto& tensor, long E, long out, long in, auto is_matrix) {
        detail::each_size<Format>(tensor, E, out, in, is_matrix, [&](const char* suffix, long found, long expected) {
            if (found != expected)
                detail::raise<shape_error>("guild::layer: ", what, " ", of, name, suffix, " has ", found, " numbers, expected ", expected);
        });
    });
    detail::raise<shape_error>("guild::layer: the ", what, " belong to a model of other numbers");
}
/// Every tensor that `walk` goes through has its size. Of `same` alone it is said that the model is another.
template <class Format, class Walk> void sizes(const char* what, bool same, const Walk& walk) {
    walk([&](const char*, const char*, const auto& tensor, long E, long out, long in, auto is_matrix) {
        detail::each_size<Format>(tensor, E, out, in, is_matrix, [&](const char*, long found, long expected) { same = same & (found == expected); });
    });
    if (!same) [[unlikely]]
        refuse_sizes<Format>(what, walk);
}
/// Two models of one type have the same numbers, as far as tensors have sizes by them and experts kinds.
template <class Model> bool same_numbers(const Model& a, const Model& b) {
    const auto kinds = [](const auto& p) { return std::array{p.zero, p.identity, p.constant, p.blend}; };
    return a.config == b.config && kinds(a.passive) == kinds(b.passive) && a.residual == b.residual;
}
/// Weights or gradients w, which own their memory, have the sizes that m gives them. Throws shape_error.
template <class Format, class Model> void owned(const char* what, const Model& m, const auto& w) {
    sizes<Format>(what, same_numbers(w.model, m), [&](auto f) { detail::each_expected(m, w, f); });
}

}  // namespace check

}  // namespace guild::inline v0
