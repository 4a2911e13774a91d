#pragma once
#include <guild/backend/cpu/share.hpp>
#include <guild/backend/cpu/strategy.hpp>
#include <guild/backend/cpu/sweep.hpp>
#include <guild/core/room.hpp>
#include <guild/format/stack.hpp>

#include <concepts>

/// The three products over groups of rows with weights as the caller stores them: blocks of them are laid out for the kernels, at most 256 KiB, and
/// used for up to 96 rows. No allocation.
///
/// Sums are in the order of `arithmetic`: along the width of a, along that of dc, and for dw along the expert's rows, of which fp32 takes blocks of
/// 128. With into::add, and in dw, a sum begins with what is there. Factors are applied in fp32, that of a row of a before it is rounded.
namespace guild::inline v0::cpu {

/// Outputs whose weights are laid out together where rows of memory are outputs: four lines of a cache.
inline constexpr long group_columns = 64;
/// Rows of a sum over tokens that fp32 adds at a time; the rows of dw between which it is shared, and for them the most words and columns of a that
/// are laid out together.
inline constexpr long token_block = 128, outer_rows = most_lines, outer_words = 1L << 15, outer_columns = 512;

constexpr long panels_of(const kernels& k, long outputs) { return (outputs + k.columns - 1) / k.columns; }

/// The kernels that multiply plain weights.
struct plain_kernels {
    const kernels* with = nullptr;
    const tile_kernels* tiles = nullptr;
    const bf16_kernels* rounding = nullptr;  ///< if operands are rounded to bf16: what lays them out, two numbers in a word

    long columns() const { return with->columns; }
    /// Rows of a panel's block of depth k.
    long words(long k) const { return rounding ? (k + 31) / 32 * 16 : k; }
    /// Rows of an expert that weight_gradient lays out at a time.
    long tokens() const { return rounding ? tiles->block : token_block; }
};
/// Those that round nothing.
constexpr plain_kernels exact(const kernels* with) { return {with, with ? &with->fp32 : nullptr}; }
/// Those of an arithmetic, of int8 and bf16_rows those of fp32. Throws argument_error if the instruction set has none.
inline plain_kernels plain_kernels_of(arithmetic by, isa level) {
    const kernels* const with = kernels_of(level);
    if (by != arithmetic::bf16 && by != arithmetic::bf16_chain) return exact(with);
#if defined(__GNUC__)
    const bf16_kernels& k = bf16_kernels_of(level);
    const tile_kernels& tiles = by == arithmetic::bf16 ? k.pairs : k.chain;
    if (tiles) return {with, &tiles, &k};
#endif
    detail::refuse(by, "plain", level);
}

namespace detail {

/// Matrices whose numbers stand in memory as they are read.
template <class W> concept in_place = std::same_as<W, stack<const float>> || std::same_as<W, stack<float>>;

/// Columns [c, c + n) of row r of w_e: where they are, or decoded into `to`.
template <class W> const float* numbers(const W& w, int e, long r, long c, long n, float* to) {
    if constexpr (in_place<W>) return w.row(e, r) + c;
    else if constexpr (requires { w.read(e, r, c, n, to); }) w.read(e, r, c, n, to);
    else
        for (long i = 0; i < n; ++i) to[i] = w(e, r, c + i);
    return to;
}

/// The rows [n0, n0 + n) of w_e, columns [k0, k0 + k), as a block [words(k), columns]; `lines` has room for them, row_stride apart.
template <class W> void lay_out(const plain_kernels& how, const W& w, int e, long n0, long n, long k0, long k, float* lines, float* panel) {
    const char* rows[most_columns];
    for (long r = 0; r < n; ++r) {
        float decoded[2 * depth_block], *const line = lines + r * row_stride;
        const float* from = numbers(w, e, n0 + r, k0, k, how.rounding ? decoded : line);
        if (how.rounding) how.rounding->narrow(from, k, 1.f, line), from = line;
        rows[r] = reinterpret_cast<const char*>(from);
    }
    how.with->transpose(rows, n, how.words(k), panel, 0);
}

/// k rows of m numbers as blocks [words(k), columns] of panels, `stride` apart; row(i) is row i, times by(i). Two rows are read at a time.
/// `InPlace`: row(i) stands in memory, and is fetched 8 rows before it is read, unless operands are rounded. Rows a power of two apart share few
/// sets of a cache: of more that are fetched early, the first are gone when they are read (Zen 3, 256 rows of 8 KiB: 17 ms at 8 rows for what
/// takes 20 at 16 and 21 at 32).
template <bool InPlace, class Row, class By>
void spread(const plain_kernels& how, long k, long m, long panels, Row row, By by, float* to, long stride) {
    if (!how.rounding) {
        for (long i = 0; i < k; ++i) {
            if constexpr (InPlace)
                if (i + 8 < k)
                    for (long last = 15; last < m; last += 16) __builtin_prefetch(row(i + 8) + last);
            how.with->spread(row(i), m, by(i), panels, to + i * how.columns(), stride);
        }
        return;
    }
    for (long i = 0; i < k; i += 2) {
        const bool pair = i + 1 < k;
        const float *const first = row(i), *const second = pair ? row(i + 1) : nullptr;
        how.rounding->spread(first, second, m, by(i), pair ? by(i + 1) : 0.f, panels, to + i / 2 * how.columns(), stride);
    }
    const long laid = (k + 1) / 2 * how.columns(), all = how.words(k) * how.columns();
    for (long p = 0; p < panels; ++p) std::fill(to + p * stride + laid, to + p * stride + all, 0.f);
}

/// Rows of n numbers, `stride` apart, that are read next: fetched by the tiles over a depth k that are computed meanwhile, an equal part by each; of
/// more rows than the tiles fetch times, the first.
class rows_ahead {
public:
    rows_ahead() = default;
    rows_ahead(const tile_kernels& with, long k, long tiles, const float* at, long rows, long n, long stride)
        : at_(at), rows_(rows), calls_((std::max)(k / with.fetch_depth, 1L)) {
        const long row_lines = (n + 15) / 16, most = (std::max)(calls_ * tiles / (std::max)(rows, 1L), 1L);
        lines_ = (std::max)((row_lines + most - 1) / most, 1L);
        times_ = (row_lines + lines_ - 1) / lines_;
        stride_ = stride;
    }
    /// Rows [r, r + rows) of w_e, columns [c, c + n).
    template <class W> static rows_ahead of(const tile_kernels& with, long k, long tiles, const W& w, int e, long r, long rows, long c, long n) {
        if constexpr (in_place<W>) return {with, k, tiles, w.row(e, r) + c, rows, n, w.row_stride};
        else return {};
    }
    /// What tile i fetches.
    prefetch part(long i) const {
        const long row = i * calls_ / times_, done = i * calls_ % times_;
        if (row >= rows_) return {};
        return {at_ + row * stride_ + done * lines_ * 16, lines_, times_ - done, times_, 4 * stride_ - 64 * times_ * lines_};
    }

private:
    const float* at_ = nullptr;
    long rows_ = 0, stride_ = 0, calls_ = 0, lines_ = 0, times_ = 1;
};
/// Into the first-level cache the sums [height, wide] of the tile after the one of rows [top, top + height): below it, or after the last of `rows`
/// rows at the top of the next columns, of which `end` is the last.
inline void fetch_sums(view<float> c, long row, long rows, long top, long height, long column, long wide, long end) {
    const bool below = top + height < rows;
    const long first = below ? top + height : 0, last = (std::min)(first + height, rows), from = below ? column : column + wide;
    if (from >= end) return;
    for (long r = first; r < last; ++r)
        for (long i = 15; i < wide; i += 16) __builtin_prefetch(c.row(row + r) + from + i, 1);  // where 16 numbers end: they began in a line before
}

/// The numbers [rows, wide] of a tile that has more of them.
inline void sum_beside(tile_kernel tile, const float* a, const float* b, long k, float* c, long stride, bool add, prefetch ahead, long rows,
                       long wide) {
    alignas(64) float beside[most_height * most_columns];
    if (add)
        for (long r = 0; r < rows; ++r) std::copy_n(c + r * stride, wide, beside + r * most_columns);
    tile(a, b, k, beside, most_columns, add, ahead);
    for (long r = 0; r < rows; ++r) std::copy_n(beside + r * most_columns, wide, c + r * stride);
}
/// A tile of c, from (row, column) on (+)= a b, of which `rows` rows are wanted.
inline void sum(const plain_kernels& how, long height, const float* a, const float* b, long k, view<float> c, long row, long rows, long column,
                bool add, prefetch ahead) {
    const tile_kernel tile = how.tiles->tile[height - 1];
    const long most = height * how.tiles->granule, wide = c.cols - column;
    float* const at = c.row(row) + column;
    if (rows >= most && wide >= how.columns()) tile(a, b, k, at, c.stride, add, ahead);
    else sum_beside(tile, a, b, k, at, c.stride, add, ahead, (std::min)(rows, most), (std::min)(wide, how.columns()));
}

/// What the three products lay out.
struct product_room {
    alignas(64) float rows[most_rows * row_stride], panel[depth_block * most_columns], lines[most_columns * row_stride];
};
struct input_gradient_room {
    alignas(64) float rows[most_rows * row_stride], panels[depth_block * group_columns];
};
struct weight_gradient_room {
    alignas(64) float left[outer_rows * row_stride], right[outer_words];
};

}  // namespace detail

/// c [rows, panels] = a w_e^T, at most 96 rows
template <class W> void product(const plain_kernels& how, const groups<float>& g, const piece& at, view<const float> a, const W& w, view<float> c) {
    room::with<detail::product_room>([&](detail::product_room& memory) {
        float *const rows = memory.rows, *const panel = memory.panel, *const lines = memory.lines;
        const tile_kernels& with = *how.tiles;
        const long begin = at.first * how.columns(), end = (std::min)(at.last * how.columns(), c.cols), tiles = detail::tiles_of(with, at.rows);
        for (long k0 = 0; k0 < a.cols; k0 += with.block) {
            const long k = (std::min)(with.block, a.cols - k0);
            gather(with, g, a, at.row, at.rows, k0, k, nullptr, rows);
            for (long n0 = begin; n0 < end; n0 += how.columns()) {
                const auto outputs = [&](long from) { return (std::min)(how.columns(), end - from); };
                const auto ahead = [&](long n, long depth) {
                    return detail::rows_ahead::of(with, k, tiles, w, at.expert, n, outputs(n), depth, (std::min)(with.block, a.cols - depth));
                };
                detail::lay_out(how, w, at.expert, n0, outputs(n0), k0, k, lines, panel);
                const bool last = n0 + how.columns() >= end;
                const detail::rows_ahead next = !last ? ahead(n0 + how.columns(), k0) : k0 + k < a.cols ? ahead(begin, k0 + k) : detail::rows_ahead{};
                const detail::entered inside(with);
                long tile = 0;
                detail::each_tile(with, at.rows, [&](long top, long height) {
                    detail::fetch_sums(c, at.row, at.rows, top, height * with.granule, n0, how.columns(), end);
                    detail::sum(how, height, rows + with.row_at(top, k), panel, k, c, at.row + top, at.rows - top, n0, k0 > 0, next.part(tile++));
                });
            }
        }
        if (!g.factor) return;
        for (long r = at.row; r < at.row + at.rows; ++r)
            for (long n = begin; n < end; ++n) c(r, n) *= g.factor[r];
    });
}

/// da [rows, panels] (+)= dc w_e, at most 96 rows, in blocks of depth as `product`
template <class W>
void input_gradient(const plain_kernels& how, const groups<float>& g, const piece& at, view<const float> dc, const W& w, view<float> da, into mode) {
    room::with<detail::input_gradient_room>([&](detail::input_gradient_room& memory) {
        float *const rows = memory.rows, *const panels = memory.panels;
        alignas(64) float decoded[2][group_columns];
        const tile_kernels& with = *how.tiles;
        const long stride = depth_block * how.columns(), begin = at.first * how.columns(), end = (std::min)(at.last * how.columns(), da.cols);
        for (long k0 = 0; k0 < dc.cols; k0 += with.block) {
            const long k = (std::min)(with.block, dc.cols - k0);
            const bool add = k0 > 0 || mode == into::add;
            gather(with, g.direct(), dc, at.row, at.rows, k0, k, nullptr, rows);
            for (long m0 = begin; m0 < end; m0 += group_columns) {
                const long m = (std::min)(group_columns, end - m0), count = (m + how.columns() - 1) / how.columns();
                const auto row = [&](long i) { return detail::numbers(w, at.expert, k0 + i, m0, m, decoded[i % 2]); };
                const auto ahead = [&](long depth, long from) {
                    return detail::rows_ahead::of(with, k, detail::tiles_of(with, at.rows) * count, w, at.expert, depth,
                                                  (std::min)(with.block, dc.cols - depth), from, (std::min)(group_columns, end - from));
                };
                const detail::rows_ahead next = m0 + m < end ? ahead(k0, m0 + m) : k0 + k < dc.cols ? ahead(k0 + k, begin) : detail::rows_ahead{};
                detail::spread<detail::in_place<W>>(
                    how, k, m, count, row, [](long) { return 1.f; }, panels, stride);
                const detail::entered inside(with);
                long tile = 0;
                for (long p = 0; p < count; ++p)
                    detail::each_tile(with, at.rows, [&](long top, long height) {
                        const long column = m0 + p * how.columns();
                        detail::fetch_sums(da, at.row, at.rows, top, height * with.granule, column, how.columns(), end);
                        detail::sum(how, height, rows + with.row_at(top, k), panels + p * stride, k, da, at.row + top, at.rows - top, column, add,
                                    next.part(tile++));
                    });
            }
        }
    });
}

/// dw_e [N, M] += dc^T a on the blocks [first, last) of `outer_rows` rows of dw, over all rows of the expert. Tiles go along the rows of dw, as far
/// as columns of a are laid out in the second-level cache: each number of dw is read and written once for `tokens` rows, which is most of what few
/// rows cost, and memory is best read and written in long stretches (Zen 3, 10, 48 and 192 rows: 1.4, 1.2 and 1.08 times as fast as with 64
/// columns in the first-level cache).
inline void weight_gradient(const plain_kernels& how, const groups<float>& g, const piece& at, view<const float> dc, view<const float> a,
                            stack<float> dw) {
    room::with<detail::weight_gradient_room>([&](detail::weight_gradient_room& memory) {
        float *const left = memory.left, *const right = memory.right;
        const tile_kernels& with = *how.tiles;
        const view<float> out(dw.row(at.expert, 0), dc.cols, a.cols, dw.row_stride);
        for (long r0 = g.begin(at.expert); r0 < g.offset[at.expert + 1]; r0 += how.tokens()) {
            const long k = (std::min)(how.tokens(), g.offset[at.expert + 1] - r0), stride = how.words(k) * how.columns();
            const long most = (std::min)(outer_words / stride * how.columns(), outer_columns), line = (std::min)(how.columns(), 16L);
            for (long m0 = 0; m0 < a.cols; m0 += most) {
                const long m = (std::min)(most, a.cols - m0), panels = (m + how.columns() - 1) / how.columns();
                detail::spread<true>(
                    how, k, m, panels, [&](long i) { return a.row(g.from(r0 + i)) + m0; }, [&](long i) { return g.factor ? g.factor[r0 + i] : 1.f; },
                    right, stride);
                for (long block = at.first; block < at.last; ++block) {
                    const long n0 = block * outer_rows, n = (std::min)(outer_rows, dc.cols - n0);
                    with.column(dc.row(r0) + n0, dc.stride, k, n, left);
                    const detail::entered inside(with);
                    detail::each_tile(with, n, [&](long top, long height) {
                        const long end = (std::min)(n, top + height * with.granule);
                        for (long p = 0; p < panels; ++p) {
                            const long column = m0 + p * how.columns();
                            for (long r = n0 + top; r < n0 + end; ++r)
                                for (long i = line - 1; i < how.columns(); i += line) __builtin_prefetch(out.row(r) + column + i, 1);
                            detail::sum(how, height, left + with.row_at(top, k), right + p * stride, k, out, n0 + top, n - top, column, true, {});
                        }
                    });
                }
            }
        }
    });
}

}  // namespace guild::inline v0::cpu
