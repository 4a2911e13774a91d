#pragma once
#include <guild/step/context.hpp>
#include <guild/weights/check.hpp>

#include <cstdint>

/// The preconditions of a call, checked once per call and before anything is written.
namespace guild::inline v0::check {

/// How far apart the first and the last number of a view may be: no process has more memory, and no address overflows.
template <class T> inline constexpr long most_numbers = (1L << 56) / static_cast<long>(sizeof(T));
template <class T> bool too_far(const view<T>& v) {
    long n = 0;
    return __builtin_mul_overflow(v.rows, v.stride, &n) || n > most_numbers<T>;
}
template <class T> bool aligned(const T* data) { return reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0; }

/// Why v is not [rows, cols], readable.
template <class T> [[noreturn, gnu::cold, gnu::noinline]] void refuse(const char* name, const view<T>& v, long rows, long cols) {
    if (v.rows != rows || v.cols != cols)
        detail::raise<shape_error>("guild::layer: ", name, " is [", v.rows, ", ", v.cols, "], expected [", rows, ", ", cols, "]");
    if (v.stride < cols && rows > 1) detail::raise<shape_error>("guild::layer: ", name, " has a stride of ", v.stride, ", expected at least ", cols);
    if (!v.data) detail::raise<argument_error>("guild::layer: ", name, " is null, expected [", rows, ", ", cols, "]");
    if (!aligned(v.data))
        detail::raise<argument_error>("guild::layer: ", name, " is at an address that is no multiple of ", static_cast<long>(alignof(T)));
    detail::raise<shape_error>("guild::layer: ", name, " has a stride of ", v.stride, ", expected at most ", most_numbers<T> / rows);
}
/// v is [rows, cols], readable.
template <class T> void shape(const char* name, const view<T>& v, long rows, long cols) {
    const bool readable = rows == 0 || (v.data && aligned(v.data)), spaced = rows <= 1 || (v.stride >= cols && !too_far(v));
    if (v.rows != rows || v.cols != cols || !spaced || !readable) refuse(name, v, rows, cols);
}
/// What is written and what is read meanwhile do not share memory. Of other strides, neither lies between the first and the last number of the other.
template <class A, class B> void apart(const char* name, view<A> a, const char* other, view<B> b) {
    if (a.rows == 0 || b.rows == 0) return;
    const auto begin = [](const auto& v) { return reinterpret_cast<std::uintptr_t>(v.data); };
    const auto bytes = [](const auto& v, long numbers) { return static_cast<std::uintptr_t>(numbers) * sizeof(*v.data); };
    const auto end = [&](const auto& v) { return begin(v) + bytes(v, (v.rows - 1) * v.stride + v.cols); };
    const std::uintptr_t step = bytes(a, a.stride);
    if (a.stride > 0 && b.stride > 0 && step == bytes(b, b.stride)) {  // columns of one buffer, side by side
        const std::uintptr_t gap = begin(b) >= begin(a) ? (begin(b) - begin(a)) % step : step - 1 - (begin(a) - begin(b) - 1) % step;
        if (gap >= bytes(a, a.cols) && gap + bytes(b, b.cols) <= step) return;
    }
    if (begin(a) < end(b) && begin(b) < end(a))
        detail::raise<argument_error>("guild::layer: ", name, " and ", other, " overlap, expected separate memory");
}

/// What a forward of the layer left in a workspace or tape is there.
template <class C, class M> void filled(const C& c, const M& m, const char* what) {
    if (!m.filled) detail::raise<argument_error>("guild::layer: the ", what, " is empty, expected one that a forward of this layer has filled");
    if (!(m.by == c.numbers())) detail::raise<argument_error>("guild::layer: the ", what, " was filled by a layer of other numbers");
    if (m.owner != c.owner) detail::raise<argument_error>("guild::layer: the ", what, " was filled by a layer of other weights");
}
/// Gradients have the sizes of the model's tensors and are not the weights themselves.
template <class C, class Model, class S> void gradients(const C& c, const guild::weights<Model, S>& grad) {
    owned<S>("gradients", c.model, grad);
    if (static_cast<const void*>(grad.router.data()) == c.w.router.data)
        detail::raise<argument_error>("guild::layer: the gradients are the weights themselves, expected separate memory");
}

/// Numbers of the batch that can be read.
template <class T> void readable(const char* name, const T* data) {
    if (!aligned(data))
        detail::raise<argument_error>("guild::batch: ", name, " is at an address that is no multiple of ", static_cast<long>(alignof(T)));
}
/// A list of the batch has its length, if it is given.
template <class T> void list(const char* name, std::span<T> v, long expected) {
    if (!v.empty() && static_cast<long>(v.size()) != expected)
        detail::raise<shape_error>("guild::batch: ", name, " has ", static_cast<long>(v.size()), " entries, expected ", expected);
    readable(name, v.data());
}
inline void side(const batch& b, long T, bool needs_token_id, long losses) {
    list("strength", b.strength, losses);
    list("token_id", b.token_id, T);
    list("padding", b.padding, T);
    list("position", b.position, T);
    if (needs_token_id && b.token_id.empty() && T > 0)
        detail::raise<argument_error>("guild::batch: token_id is not given, which this gate needs for ", T, " tokens");
    readable("sequence", b.sequence.data());
    readable("draws", b.draws.data());
    if (!b.sequence.empty()) {
        const auto at = [&](std::size_t i) { return b.sequence[i]; };
        if (b.sequence.size() < 2 || at(0) != 0 || at(b.sequence.size() - 1) != T)
            detail::raise<argument_error>("guild::batch: sequence goes from ", at(0), " to ", at(b.sequence.size() - 1),
                                          ", expected offsets from 0 to ", T);
        for (std::size_t i = 1; i < b.sequence.size(); ++i)
            if (at(i) < at(i - 1))
                detail::raise<argument_error>("guild::batch: sequence falls from ", at(i - 1), " to ", at(i), ", expected offsets that do not fall");
    }
    for (const given_draws& d : b.draws) {
        if (!d.value || d.count < 1)
            detail::raise<argument_error>("guild::batch: draws of stream ", d.stream, " are null or have count ", d.count, ", expected at least 1");
        readable("draws.value", d.value);
    }
}

/// Logits passed from layer to layer are [T, E] where they are given, and given where the gate reads them.
/// What is written, `own` and `d_previous`, is apart from x and y, or dx.
template <class S> void passed(const passed_logits<S>& l, long T, long E, bool needs_previous, view<const S> x, view<S> y) {
    if (needs_previous) {
        shape("passed.previous", l.previous, T, E);
        apart("y", y, "passed.previous", l.previous);
    }
    if (!l.own.data) return;
    shape("passed.own", l.own, T, E);
    if (needs_previous) apart("passed.own", l.own, "passed.previous", l.previous);
    apart("passed.own", l.own, "x", x);
    apart("passed.own", l.own, "y", y);
}
template <class S> void passed_gradient(const passed_logits<S>& l, long T, long E, view<const S> x, view<S> dx) {
    if (l.d_own.data) {
        shape("passed.d_own", l.d_own, T, E);
        apart("dx", dx, "passed.d_own", l.d_own);
    }
    if (!l.d_previous.data) return;
    shape("passed.d_previous", l.d_previous, T, E);
    apart("passed.d_previous", l.d_previous, "passed.d_own", l.d_own);
    apart("passed.d_previous", l.d_previous, "x", x);
    apart("passed.d_previous", l.d_previous, "dx", dx);
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

/// T W rows can be counted in int.
inline void countable(long T, long slots) {
    if (T > 2147483647 / (slots > 0 ? slots : 1))
        detail::raise<shape_error>("guild::layer: ", T, " tokens with ", slots, " slots each, expected at most 2147483647 rows");
}
/// And the workspace has room.
inline void room(const auto& m, long T, long slots) {
    countable(T, slots);
    if (m.max_tokens >= 0 && T > m.max_tokens)
        detail::raise<shape_error>("guild::workspace: reserved for ", m.max_tokens, " tokens, this batch has ", T);
}

/// What a forward is given.
template <class C, class S> void forward(const C& c, view<const S> x, view<S> y, const batch& b, const forward_memory<S>& m) {
    if (x.rows < 0) detail::raise<shape_error>("guild::layer: x is [", x.rows, ", ", x.cols, "], expected [at least 0, ", c.H(), "]");
    room(m, x.rows, c.W());
    shape("x", x, x.rows, c.H());
    shape("y", y, x.rows, c.H());
    apart("y", y, "x", x);
    using stages = decltype(c.model.stages());
    side(b, x.rows, stages::needs_token_id, c.losses());
    if constexpr (stages::needs_table) table(b, c.w.gate, static_cast<int>(c.E()), c.model.config.top_k);
    passed(m.passed, x.rows, c.E(), C::needs_previous, x, y);
}
/// What a backward is given beside dy.
template <class C, class S> void backward(const C& c, view<S> dx, const auto& grad, const tape<S>& tp) {
    shape("dx", dx, tp.x.rows, c.H());
    apart("dx", dx, "x", tp.x);
    gradients(c, grad);
    passed_gradient(tp.passed, tp.x.rows, c.E(), tp.x, dx);
}

}  // namespace guild::inline v0::check
