#pragma once
#include <guild/core/huge_pages.hpp>
#include <guild/core/scalar.hpp>
#include <guild/format/bf16.hpp>

#include <concepts>
#include <type_traits>
#include <vector>

namespace guild::inline v0 {

/// A stored number as the scalar that is computed in: a plain one is one already.
constexpr float decode(float w) { return w; }
/// The same.
constexpr double decode(double w) { return w; }
/// The same of a scalar that carries derivatives.
template <differentiated S> constexpr S decode(S w) { return w; }

/// Matrices of one shape, one per expert, [E, out, in], that somebody else owns. Two strides reach every published layout:
/// separate gate and up tensors, both fused as [E, 2F, H], or interleaved row by row.
/// As a bias it is [E, out, 1]: numbers `row_stride` apart.
template <class W> struct stack {
    W* data = nullptr;  ///< of expert 0, row 0
    /// Numbers from one expert, and from one row, to the next.
    long expert_stride = 0, row_stride = 0;

    /// Row r of expert e, [in].
    constexpr W* row(long e, long r) const { return data + e * expert_stride + r * row_stride; }
    /// Number (r, c) of expert e, decoded.
    constexpr auto operator()(long e, long r, long c) const { return decode(row(e, r)[c]); }
    /// The same, to read.
    template <class C>
    requires(std::same_as<C, const W> && !std::is_const_v<W>) constexpr operator stack<C>() const { return {data, expert_stride, row_stride}; }
};

/// A format that stores each number by itself.
template <class W, class S> struct plain_format {
    using scalar = S;                     ///< of activations
    using stack = guild::stack<const W>;  ///< how matrices are read
    using storage = std::vector<W>;       ///< how they are owned

    /// Zero, [E, out, in].
    static void resize(storage& w, long E, long out, long in) { detail::resize_huge(w, static_cast<std::size_t>(E * out * in)); }
    /// To read, each matrix [out, in].
    static stack lend(const storage& w, long out, long in) { return {w.data(), out * in, in}; }
    /// f(which, found, expected) for everything that a storage of [E, out, in] holds.
    static constexpr void each_size(const storage& w, long E, long out, long in, auto f) { f("", static_cast<long>(w.size()), E * out * in); }
};

/// What goes with a weight format: the scalar of its activations, how a matrix of it is read (`stack`), and how it is owned
/// (`storage`); with `each_size` the sizes of weights are checked at every call. A format with scales brings its own: see scaled_format.
template <class Format> struct format : plain_format<Format, Format> {};
template <> struct format<bf16> : plain_format<bf16, float> {};
/// The scalar of the activations, router and gradients that go with a format.
template <class Format> using scalar_of = typename format<Format>::scalar;

}  // namespace guild::inline v0
