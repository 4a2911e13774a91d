#pragma once
#include <guild/core/check_weights.hpp>
#include <guild/core/parts.hpp>

#include <cstdint>
#include <functional>

/// The preconditions of a call, checked once per call and before anything is written.
namespace guild::inline v0::check {

/// Why v is not [rows, cols], readable.
template <class T> [[noreturn, gnu::cold, gnu::noinline]] void refuse(const char* name, const view<T>& v, long rows, long cols) {
    if (v.rows != rows || v.cols != cols)
        detail::raise<shape_error>("guild::layer: ", name, " is [", v.rows, ", ", v.cols, "], expected [", rows, ", ", cols, "]");
    if (v.stride < cols && rows > 1) detail::raise<shape_error>("guild::layer: ", name, " has a stride of ", v.stride, ", expected at least ", cols);
    if (!v.data) detail::raise<argument_error>("guild::layer: ", name, " is null, expected [", rows, ", ", cols, "]");
    detail::raise<argument_error>("guild::layer: ", name, " is at an address that is no multiple of ", static_cast<long>(alignof(T)));
}
/// v is [rows, cols], readable.
template <class T> void shape(const char* name, const view<T>& v, long rows, long cols) {
    const bool readable = rows == 0 || (v.data && reinterpret_cast<std::uintptr_t>(v.data) % alignof(T) == 0);
    if (v.rows != rows || v.cols != cols || (v.stride < cols && rows > 1) || !readable) refuse(name, v, rows, cols);
}
/// What is written and what is read meanwhile do not share memory.
template <class A, class B> void apart(const char* name, view<A> a, const char* other, view<B> b) {
    const auto *a0 = static_cast<const void*>(a.data), *b0 = static_cast<const void*>(b.data);
    if (a.rows == 0 || b.rows == 0) return;
    if (a.stride == b.stride && a.stride > 0 && sizeof(A) == sizeof(B)) {  // columns of one buffer, side by side
        const long gap = (reinterpret_cast<std::intptr_t>(b0) - reinterpret_cast<std::intptr_t>(a0)) / static_cast<long>(sizeof(A)) % a.stride;
        const long at = gap < 0 ? gap + a.stride : gap;
        if (at >= a.cols && at + b.cols <= a.stride) return;
    }
    const auto *a1 = static_cast<const void*>(a.row(a.rows - 1) + a.cols), *b1 = static_cast<const void*>(b.row(b.rows - 1) + b.cols);
    if (std::less<>{}(a0, b1) && std::less<>{}(b0, a1))
        detail::raise<argument_error>("guild::layer: ", name, " and ", other, " overlap, expected separate memory");
}

/// Every tensor has the size that the model gives it.
template <class Model, class S> void gradients(const Model& m, const guild::weights<Model, S>& grad) {
    const guild::config& c = m.config;
    const auto n = m.extent();
    bool same = grad.model.config == c;
    const auto has = [&](const auto& tensor, long size) { same = same && static_cast<long>(tensor.size()) == size; };
    const auto network = [&](const auto& w, long E, long F, bool bias) {
        const bool gated = m.activation.inputs == 2;
        has(w.gate, gated ? E * F * c.hidden : 0);
        has(w.up, E * F * c.hidden);
        has(w.down, E * F * c.hidden);
        has(w.gate_bias, gated && bias ? E * F : 0);
        has(w.up_bias, bias ? E * F : 0);
        has(w.down_bias, bias ? E * c.hidden : 0);
    };
    has(grad.router, long(n.experts + n.extra) * c.hidden);
    has(grad.learned, m.stages().learned(n.experts));
    has(grad.shared_gate, m.shared.learned ? c.hidden : 0);
    has(grad.constant, long(m.passive.vectors()) * c.hidden);
    has(grad.input, input_numbers(m));
    network(grad.experts, c.routed_experts, c.expert_hidden, c.expert_bias);
    network(grad.shared, c.shared_width() > 0, c.shared_width(), c.shared_bias);
    if (!same) detail::raise<shape_error>("guild::layer: the gradients belong to a model of other numbers");
}

/// The workspace or tape holds a forward of a layer with these numbers.
template <class P, class S> void filled(const P& p, const workspace<S>& ws, const char* what) {
    if (!ws.filled) detail::raise<argument_error>("guild::layer: the ", what, " is empty, expected one that a forward of this layer has filled");
    if (!(ws.by == p.numbers())) detail::raise<argument_error>("guild::layer: the ", what, " was filled by a layer of other numbers");
}

/// A list of the batch has its length, if it is given.
template <class T> void list(const char* name, std::span<T> v, long expected) {
    if (!v.empty() && static_cast<long>(v.size()) != expected)
        detail::raise<shape_error>("guild::batch: ", name, " has ", static_cast<long>(v.size()), " entries, expected ", expected);
}
inline void side(const batch& b, long T, bool needs_token_id, long losses) {
    list("strength", b.strength, losses);
    list("token_id", b.token_id, T);
    list("padding", b.padding, T);
    list("position", b.position, T);
    if (needs_token_id && b.token_id.empty() && T > 0)
        detail::raise<argument_error>("guild::batch: token_id is not given, which this gate needs for ", T, " tokens");
    if (!b.sequence.empty()) {
        const auto at = [&](std::size_t i) { return b.sequence[i]; };
        if (b.sequence.size() < 2 || at(0) != 0 || at(b.sequence.size() - 1) != T)
            detail::raise<argument_error>("guild::batch: sequence goes from ", at(0), " to ", at(b.sequence.size() - 1),
                                          ", expected offsets from 0 to ", T);
        for (std::size_t i = 1; i < b.sequence.size(); ++i)
            if (at(i) < at(i - 1))
                detail::raise<argument_error>("guild::batch: sequence falls from ", at(i - 1), " to ", at(i), ", expected offsets that do not fall");
    }
    for (const given_draws& d : b.draws)
        if (!d.value || d.count < 1)
            detail::raise<argument_error>("guild::batch: draws of stream ", d.stream, " are null or have count ", d.count, ", expected at least 1");
}

/// Logits passed from layer to layer are [T, E] where they are given, and given where the gate reads them.
template <class S> void passed(const passed_logits<S>& l, long T, long E, bool needs_previous) {
    if (needs_previous) shape("passed.previous", l.previous, T, E);
    if (!l.own.data) return;
    shape("passed.own", l.own, T, E);
    if (needs_previous) apart("passed.own", l.own, "passed.previous", l.previous);
}
template <class S> void passed_gradient(const passed_logits<S>& l, long T, long E) {
    if (l.d_own.data) shape("passed.d_own", l.d_own, T, E);
    if (!l.d_previous.data) return;
    shape("passed.d_previous", l.d_previous, T, E);
    apart("passed.d_previous", l.d_previous, "passed.d_own", l.d_own);
}

/// The ids of the batch are rows of the table of a gate that hashes, and what these rows hold are distinct experts. O(T K^2).
template <class S> void table(const batch& b, const gate_data<S>& d, int experts, int top_k) {
    for (std::size_t t = 0; t < b.token_id.size(); ++t) {
        if (!b.padding.empty() && b.padding[t]) continue;
        const int id = b.token_id[t];
        if (id < 0 || id >= d.vocabulary)
            detail::raise<argument_error>("guild::batch: token_id holds ", id, ", expected ids below the ", d.vocabulary,
                                          " rows of the gate's table");
        const int* const row = d.table + static_cast<long>(id) * top_k;
        for (int k = 0; k < top_k; ++k) {
            bool good = row[k] >= 0 && row[k] < experts;
            for (int i = 0; i < k; ++i) good = good && row[i] != row[k];
            if (!good)
                detail::raise<argument_error>("guild::layer: the gate's table gives token id ", id, " the expert ", row[k],
                                              ", expected distinct experts below ", experts);
        }
    }
}

/// T W rows can be counted in int, and the workspace has room.
template <class S> void room(const workspace<S>& ws, long T, long slots) {
    if (T > 2147483647 / (slots > 0 ? slots : 1))
        detail::raise<shape_error>("guild::layer: ", T, " tokens with ", slots, " slots each, expected at most 2147483647 rows");
    if (ws.max_tokens >= 0 && T > ws.max_tokens)
        detail::raise<shape_error>("guild::workspace: reserved for ", ws.max_tokens, " tokens, this batch has ", T);
}

}  // namespace guild::inline v0::check
