#pragma once
#include <guild/core/parts.hpp>

#include <functional>
#include <string>

/// The preconditions of a call, checked once per call and before anything is written.
namespace guild::inline v0::check {

/// v is [rows, cols], readable.
template <class T> void shape(const char* name, view<T> v, long rows, long cols) {
    if (v.rows != rows || v.cols != cols)
        detail::raise<shape_error>("guild::layer: ", name, " is [", v.rows, ", ", v.cols, "], expected [", rows, ", ", cols, "]");
    if (v.stride < cols && rows > 1) detail::raise<shape_error>("guild::layer: ", name, " has a stride of ", v.stride, ", expected at least ", cols);
    if (!v.data && rows > 0) detail::raise<argument_error>("guild::layer: ", name, " is null, expected [", rows, ", ", cols, "]");
}
/// What is written and what is read meanwhile do not share memory.
template <class A, class B> void apart(const char* name, view<A> a, const char* other, view<B> b) {
    const auto *a0 = static_cast<const void*>(a.data), *b0 = static_cast<const void*>(b.data);
    if (a.rows == 0 || b.rows == 0) return;
    const auto *a1 = static_cast<const void*>(a.row(a.rows - 1) + a.cols), *b1 = static_cast<const void*>(b.row(b.rows - 1) + b.cols);
    if (std::less<>{}(a0, b1) && std::less<>{}(b0, a1))
        detail::raise<argument_error>("guild::layer: ", name, " and ", other, " overlap, expected separate memory");
}

/// A weight that the model has is there.
inline void present(const char* name, const void* data, bool needed) {
    if (needed && !data) detail::raise<argument_error>("guild::layer: weights ", name, " are null, which this model needs");
}
template <class Model, class Format> void weights(const Model& m, const weights_view<Format>& w) {
    m.check();
    const auto network = [&](const char* name, const auto& n, bool used, bool bias) {
        const std::string of(name);
        const bool gated = m.activation.inputs == 2;
        present((of + ".gate").c_str(), n.gate.data, used && gated);
        present((of + ".up").c_str(), n.up.data, used);
        present((of + ".down").c_str(), n.down.data, used);
        present((of + ".gate_bias").c_str(), n.gate_bias.data, used && gated && bias);
        present((of + ".up_bias").c_str(), n.up_bias.data, used && bias);
        present((of + ".down_bias").c_str(), n.down_bias.data, used && bias);
    };
    present("router", w.router.data, true);
    present("gate.learned", w.gate.learned, m.stages().learned(m.experts()) > 0);
    present("gate.state", w.gate.state, m.stages().state(m.experts()) > 0);
    present("shared_gate", w.shared_gate, m.shared.learned);
    present("constant", w.constant, m.passive.constant > 0);
    network("experts", w.experts, true, m.config.expert_bias);
    network("shared", w.shared, m.config.shared_width() > 0, m.config.shared_bias);
}

/// A list of the batch has its length, if it is given.
template <class T> void list(const char* name, std::span<T> v, long expected) {
    if (!v.empty() && static_cast<long>(v.size()) != expected)
        detail::raise<shape_error>("guild::batch: ", name, " has ", static_cast<long>(v.size()), " entries, expected ", expected);
}
inline void side(const batch& b, long T, bool needs_token_id) {
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

/// T W rows can be counted in int, and the workspace has room.
template <class S> void room(const workspace<S>& ws, long T, long slots) {
    if (T > 2147483647 / (slots > 0 ? slots : 1))
        detail::raise<shape_error>("guild::layer: ", T, " tokens with ", slots, " slots each, expected at most 2147483647 rows");
    if (ws.max_tokens >= 0 && T > ws.max_tokens)
        detail::raise<shape_error>("guild::workspace: reserved for ", ws.max_tokens, " tokens, this batch has ", T);
}

}  // namespace guild::inline v0::check
