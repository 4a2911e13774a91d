#pragma once
#include <concepts>
#include <type_traits>

namespace guild::inline v0 {

static_assert(sizeof(long) == 8, "guild: sizes are counted in long, which must have 64 bits");

namespace detail {
/// Expressions of Eigen, of which this header needs no definition: a matrix, map, block or the like, whose numbers lie in memory ...
template <class M> concept in_memory = requires(M& m) {
    m.data();
    m.innerStride();
    m.outerStride();
    requires std::remove_cvref_t<M>::InnerStrideAtCompileTime != 0;
};
/// ... one that must be computed, such as a product ...
template <class M> concept computed = !in_memory<M> && requires(M & m) {
    typename std::remove_cvref_t<M>::Scalar;
    m.rows();
    m.cols();
    std::remove_cvref_t<M>::InnerStrideAtCompileTime;
};
/// ... and a matrix that owns its numbers and ends with the full expression. (A temporary map or block ends too, not what it points to.)
template <class M> concept owning_temporary = !std::is_lvalue_reference_v<M> && requires(std::remove_cvref_t<M> & m) { m.conservativeResize(0, 0); };

/// Numbers from one column of a matrix to the next, where compile time knows.
template <class M> constexpr int column_stride() {
    return M::IsRowMajor ? static_cast<int>(M::InnerStrideAtCompileTime) : static_cast<int>(M::OuterStrideAtCompileTime);
}
/// Numbers from one row to the next. In a column by the address of its second number: innerStride() of a diagonal of a matrix with gaps is wrong.
template <class M> constexpr long row_stride(M& m) {
    if constexpr (std::remove_const_t<M>::IsRowMajor) return m.outerStride();
    else if constexpr (requires { &m.coeffRef(1, 0); }) return m.rows() > 1 ? &m.coeffRef(1, 0) - m.data() : 1;
    else return m.innerStride();
}
}  // namespace detail

/// A row-major matrix somebody else owns, [rows, cols]; row r begins at data + r * stride. Trivially copyable.
template <class T> struct view {
    T* data = nullptr;  ///< of row 0; may be null where there are no rows
    /// Rows, columns, and numbers from one row to the next.
    long rows = 0, cols = 0, stride = 0;

    constexpr view() = default;
    /// Rows without gaps.
    constexpr view(T* d, long r, long c) : view(d, r, c, c) {}
    /// Rows s numbers apart.
    constexpr view(T* d, long r, long c, long s) : data(d), rows(r), cols(c), stride(s) {}
    /// From what Eigen has in memory, the numbers of a row side by side: row-major matrices, maps and blocks, and one column of anything,
    /// whatever lies between its numbers. It borrows: what it is made from must outlive it.
    template <detail::in_memory M>
    requires requires(M& m) {
        { m.data() } -> std::convertible_to<T*>;
    }
    constexpr view(M&& m) : view(m.data(), m.rows(), m.cols(), detail::row_stride(m)) {
        using matrix = std::remove_cvref_t<M>;
        constexpr bool one_column = matrix::MaxColsAtCompileTime == 1, beside = one_column || detail::column_stride<matrix>() == 1;
        static_assert(matrix::IsRowMajor || beside, "guild::view: activations are row-major, [tokens, width]");
        static_assert(!matrix::IsRowMajor || beside, "guild::view: the numbers of a row must lie side by side");
        static_assert(!beside || std::is_const_v<T> || !detail::owning_temporary<M>,
                      "guild::view: what is written into a temporary is lost: give the matrix a name");
    }
    /// Refused: what must be computed has no memory.
    template <detail::computed M> constexpr view(M&&) {
        static_assert(!detail::computed<M>, "guild::view: an expression that must be computed has no memory: assign it to a row-major matrix");
    }
    /// The same, to read.
    template <class C>
    requires(std::same_as<C, const T> && !std::is_const_v<T>) constexpr operator view<C>() const { return {data, rows, cols, stride}; }
    /// Row r, [cols].
    constexpr T* row(long r) const { return data + r * stride; }
    /// Number (r, c).
    constexpr T& operator()(long r, long c) const { return data[r * stride + c]; }
    /// Columns [first, first + n); a view without rows may have no data.
    constexpr view columns(long first, long n) const { return {data ? data + first : data, rows, n, stride}; }
};

}  // namespace guild::inline v0
