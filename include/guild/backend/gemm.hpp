#pragma once
#include <guild/core/room.hpp>

#include <Eigen/Core>

namespace guild::inline v0::backend::tile {

/// Rows of a packed at a time, and how many numbers are packed of b (64 KiB in float). 16 rows of depth 256 stay in the first-level cache
/// between packing and use: with 64, 1.2 to 1.5 times as long from T = 1 to 512.
constexpr long panel = 16, packed = 64 * 256;

enum class order { row_major, column_major };

/// What `gemm` packs.
template <class S> struct gemm_room { alignas(64) S a_block[packed], b_block[packed]; };

/// How a product is cut: columns of c, and depth, that are packed together. columns * depth <= packed.
struct cut {
    long columns, depth;
};

/// c [m, n] column-major += a [m, k] b [k, n], n a multiple of 4.
///
/// Eigen's own product chooses its kernel (dot products, matrix times vector, general) and its blocks by the sizes of all
/// three matrices and by the caches found at run time, so that a row's bits depend on how many other rows there are. Here the
/// general kernel is called with given block sizes, whatever the shapes, in memory of its own: a column of c is then computed
/// in the same order however many columns stand beside it, as long as there are always whole groups of 4.
template <class S, order A, order B> void gemm(cut by, long m, long n, long k, const S* a, long lda, const S* b, long ldb, S* c, long ldc) {
    namespace in = Eigen::internal;
    struct blocks : in::level3_blocking<S, S> {
        blocks(cut size, long k_, gemm_room<S>& memory) {
            this->m_mc = panel, this->m_nc = size.columns, this->m_kc = k_ < size.depth ? k_ : size.depth;
            this->m_blockA = memory.a_block, this->m_blockB = memory.b_block;
        }
    };
    constexpr int by_row = Eigen::RowMajor, by_column = Eigen::ColMajor;
    if (m == 0 || n == 0 || k == 0) return;
    room::with<gemm_room<S>>([&](gemm_room<S>& memory) {
        blocks blocking(by, k, memory);
        in::general_matrix_matrix_product<Eigen::Index, S, A == order::row_major ? by_row : by_column, false, S,
                                          B == order::row_major ? by_row : by_column, false, by_column, 1>::run(m, n, k, a, lda, b, ldb, c, 1, ldc,
                                                                                                                S(1), blocking, nullptr);
    });
}

}  // namespace guild::inline v0::backend::tile
