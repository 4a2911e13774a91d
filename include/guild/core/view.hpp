#pragma once
#include <concepts>
#include <type_traits>

namespace guild::inline v0 {

static_assert(sizeof(long) == 8, "guild: sizes are counted in long, which must have 64 bits");

/// A row-major matrix somebody else owns, [rows, cols]; row r begins at data + r * stride. Trivially copyable.
template <class T> struct view {
    T* data = nullptr;
    long rows = 0, cols = 0, stride = 0;

    constexpr view() = default;
    constexpr view(T* d, long r, long c) : view(d, r, c, c) {}
    constexpr view(T* d, long r, long c, long s) : data(d), rows(r), cols(c), stride(s) {}
    /// From any dense row-major matrix, map or block of Eigen.
    template <class M>
    requires requires(M& m) {
        { m.data() } -> std::convertible_to<T*>;
        m.rows();
        m.outerStride();
    }
    constexpr view(M&& m) : view(m.data(), m.rows(), m.cols(), m.outerStride()) {
        using matrix = std::remove_cvref_t<M>;
        static_assert(matrix::IsRowMajor || matrix::ColsAtCompileTime == 1, "guild::view: activations are row-major, [tokens, width]");
        static_assert(matrix::InnerStrideAtCompileTime == 1, "guild::view: the numbers of a row must lie side by side");
    }
    template <class C>
    requires(std::same_as<C, const T> && !std::is_const_v<T>) constexpr operator view<C>() const { return {data, rows, cols, stride}; }
    constexpr T* row(long r) const { return data + r * stride; }
    constexpr T& operator()(long r, long c) const { return data[r * stride + c]; }
    /// Columns [first, first + n); a view without rows may have no data.
    constexpr view columns(long first, long n) const { return {data ? data + first : data, rows, n, stride}; }
};

}  // namespace guild::inline v0
