#pragma once
#include <guild/backend/cpu/share.hpp>
#include <guild/backend/cpu/sweep.hpp>
#include <guild/core/stack.hpp>

#include <concepts>

/// The three products over groups of rows with weights as the caller stores them: blocks of them are laid out for the kernels on the
/// stack, at most 256 KiB, and used for up to 96 rows. No allocation.
namespace guild::inline v0::cpu {

/// Outputs whose weights are laid out together where rows of memory are outputs: four lines of a cache.
inline constexpr long group_columns = 64;
/// Rows of a sum over tokens that are added at a time, and the rows and outputs of dw between which they are shared.
inline constexpr long token_block = 128, outer_rows = 112;

constexpr long panels_of(const kernels& k, long outputs) { return (outputs + k.columns - 1) / k.columns; }

namespace detail {

/// Where a tile of `columns` outputs is summed: in `out` itself, or beside it where fewer are wanted.
class target {
public:
    target(view<float> out, long row, long rows, long column, long columns)
        : out_(out), row_(row), rows_(rows), column_(column), wanted_(std::min(columns, out.cols - column)), whole_(wanted_ == columns) {}
    float* begin(bool add) {
        if (whole_) return out_.row(row_) + column_;
        if (add)
            for (long r = 0; r < rows_; ++r) std::copy_n(out_.row(row_ + r) + column_, wanted_, beside_ + r * most_columns);
        return beside_;
    }
    long stride() const { return whole_ ? out_.stride : most_columns; }
    void end() {
        if (!whole_)
            for (long r = 0; r < rows_; ++r) std::copy_n(beside_ + r * most_columns, wanted_, out_.row(row_ + r) + column_);
    }

private:
    view<float> out_;
    long row_, rows_, column_, wanted_;
    bool whole_;
    alignas(64) float beside_[outer_rows * most_columns];
};

/// The rows [n0, n0 + n) of w_e, columns [k0, k0 + k), as a block [k, columns].
template <class W> void lay_out(const kernels& with, const W& w, int e, long n0, long n, long k0, long k, float* panel) {
    const char* rows[most_columns];
    if constexpr (std::same_as<W, stack<const float>> || std::same_as<W, stack<float>>) {
        for (long r = 0; r < n; ++r) rows[r] = reinterpret_cast<const char*>(w.row(e, n0 + r) + k0);
        with.transpose(rows, n, k, panel, 0);
    } else {
        alignas(64) float plain[most_columns * depth_block];
        for (long r = 0; r < n; ++r) {
            for (long c = 0; c < k; ++c) plain[r * depth_block + c] = w(e, n0 + r, k0 + c);
            rows[r] = reinterpret_cast<const char*>(plain + r * depth_block);
        }
        with.transpose(rows, n, k, panel, 0);
    }
}

}  // namespace detail

/// c [rows, panels] = a w_e^T, at most 96 rows
template <class W> void product(const kernels& with, const groups<float>& g, const piece& at, view<const float> a, const W& w, view<float> c) {
    alignas(64) float rows[most_rows * row_stride], panel[depth_block * most_columns];
    for (long k0 = 0; k0 < a.cols; k0 += depth_block) {
        const long k = std::min(depth_block, a.cols - k0);
        gather(with.fp32, g, a, at.row, at.rows, k0, k, nullptr, rows);
        for (long p = at.first; p < at.last; ++p) {
            const long n0 = p * with.columns;
            detail::lay_out(with, w, at.expert, n0, std::min<long>(with.columns, c.cols - n0), k0, k, panel);
            detail::target out(c, at.row, at.rows, n0, with.columns);
            sweep(with.fp32, rows, at.rows, panel, k, out.begin(k0 > 0), out.stride(), k0 > 0);
            out.end();
        }
    }
    if (!g.factor) return;
    const long first = at.first * with.columns, last = std::min(at.last * with.columns, c.cols);
    for (long r = at.row; r < at.row + at.rows; ++r)
        for (long n = first; n < last; ++n) c(r, n) *= g.factor[r];
}

/// da [rows, panels] (+)= dc w_e, at most 96 rows, in blocks of depth as `product`
template <class W>
void input_gradient(const kernels& with, const groups<float>& g, const piece& at, view<const float> dc, const W& w, view<float> da, into mode) {
    alignas(64) float rows[most_rows * row_stride], panels[depth_block * group_columns];
    const long width = group_columns / with.columns;  // panels of a group
    for (long k0 = 0; k0 < dc.cols; k0 += depth_block) {
        const long k = std::min(depth_block, dc.cols - k0);
        const bool add = k0 > 0 || mode == into::add;
        gather(with.fp32, g.direct(), dc, at.row, at.rows, k0, k, nullptr, rows);
        for (long first = at.first; first < at.last; first += width) {
            const long count = std::min(width, at.last - first), m0 = first * with.columns, m = std::min(count * with.columns, da.cols - m0);
            for (long i = 0; i < k; ++i) {
                float* const to = panels + i * with.columns;
                const long stride = depth_block * with.columns;
                if constexpr (std::same_as<W, stack<const float>> || std::same_as<W, stack<float>>) {
                    with.spread(w.row(at.expert, k0 + i) + m0, m, 1.f, count, to, stride);
                } else {
                    float plain[group_columns];
                    for (long j = 0; j < m; ++j) plain[j] = w(at.expert, k0 + i, m0 + j);
                    with.spread(plain, m, 1.f, count, to, stride);
                }
            }
            for (long p = 0; p < count; ++p) {
                detail::target out(da, at.row, at.rows, m0 + p * with.columns, with.columns);
                sweep(with.fp32, rows, at.rows, panels + p * depth_block * with.columns, k, out.begin(add), out.stride(), add);
                out.end();
            }
        }
    }
}

/// dw_e [N, M] += dc^T a on the blocks [first, last) of `outer_rows` rows of dw, over all rows of the expert, 128 at a time.
inline void weight_gradient(const kernels& with, const groups<float>& g, const piece& at, view<const float> dc, view<const float> a,
                            stack<float> dw) {
    alignas(64) float left[token_block * outer_rows], right[token_block * group_columns];
    const view<float> out(dw.row(at.expert, 0), dc.cols, a.cols, dw.row_stride);
    for (long r0 = g.begin(at.expert); r0 < g.offset[at.expert + 1]; r0 += token_block) {
        const long k = std::min<long>(token_block, g.offset[at.expert + 1] - r0);
        for (long block = at.first; block < at.last; ++block) {
            const long n0 = block * outer_rows, n = std::min(outer_rows, dc.cols - n0), tiles = (n + with.fp32.rows - 1) / with.fp32.rows;
            for (long i = 0; i < k; ++i) std::copy_n(dc.row(r0 + i) + n0, n, left + i * outer_rows);
            for (long m0 = 0; m0 < a.cols; m0 += group_columns) {
                const long m = std::min(group_columns, a.cols - m0), panels = (m + with.columns - 1) / with.columns;
                for (long i = 0; i < k; ++i)
                    with.spread(a.row(g.from(r0 + i)) + m0, m, g.factor ? g.factor[r0 + i] : 1.f, panels, right + i * with.columns,
                                token_block * with.columns);
                for (long t = 0, top = 0; t < tiles; ++t) {
                    const long height = n / tiles + (t < n % tiles);
                    for (long i = top + height; i < std::min(top + 2 * height, n); ++i)  // the sums that the next tile adds to
                        for (long line = 0; line < m; line += 16) __builtin_prefetch(out.row(n0 + i) + m0 + line, 1);
                    for (long p = 0; p < panels; ++p) {
                        detail::target c(out, n0 + top, height, m0 + p * with.columns, with.columns);
                        with.outer[height - 1](left + top, outer_rows, right + p * token_block * with.columns, k, c.begin(true), c.stride(), true);
                        c.end();
                    }
                    top += height;
                }
            }
        }
    }
}

}  // namespace guild::inline v0::cpu
