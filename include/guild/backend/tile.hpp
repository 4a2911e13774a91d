#pragma once
#include <guild/backend/gemm.hpp>
#include <guild/core/room.hpp>
#include <guild/core/view.hpp>
#include <guild/dispatch/groups.hpp>
#include <guild/format/stack.hpp>

#include <algorithm>
#include <concepts>

/// Grouped products cut into tiles of at most 64 rows of one expert by 256 outputs. Rows that must be gathered, scaled or padded
/// go into a zero-padded tile whose height is a multiple of 4, one block of the depth at a time; a row's order of summation is
/// then that of `gemm`, blocks of fixed depth in ascending order, whatever rows stand beside it.
namespace guild::inline v0::backend::tile {

template <class S> concept native = std::same_as<S, float> || std::same_as<S, double>;

constexpr long height = 64, width = 256, depth = packed / height;

constexpr long blocks(long n) { return (n + width - 1) / width; }
constexpr long tiles(long rows) { return (rows + height - 1) / height; }

/// Tiles of all groups, `outputs` wide.
template <class S> long count(const groups<S>& g, long outputs) {
    long n = 0;
    for (int e = 0; e < g.count; ++e) n += tiles(g.rows(e)) * blocks(outputs);
    return n;
}

/// A tile: rows [row, row + rows) of one expert by outputs [column, column + columns).
struct place {
    int expert;
    long row, rows, column, columns;
};

/// f(place) for the tiles [first, last) of `count`. The tiles of an expert have whole groups of 4 rows but for its last one, and
/// row tiles vary fastest, so that neighbours read the same weights.
template <class S, class F> void each_tile(const groups<S>& g, long outputs, long first, long last, F f) {
    long begin = 0;  // of the expert's tiles
    for (int e = 0; e < g.count && begin < last; ++e) {
        const long n = g.rows(e), high = tiles(n), end = begin + high * blocks(outputs), quads = (n + 3) / 4;
        for (long i = (std::max)(begin, first); i < (std::min)(end, last); ++i) {
            const long t = (i - begin) % high, column = (i - begin) / high * width;
            const long top = quads * t / high * 4, bottom = (std::min)(n, quads * (t + 1) / high * 4);
            f(place{e, g.begin(e) + top, bottom - top, column, (std::min)(width, outputs - column)});
        }
        begin = end;
    }
}

/// Rows [row, row + rows) of a as the groups read them, columns [k0, k0 + k), in `to` [.., k]; rows up to a multiple of 4 are 0.
template <class S> void gather(const groups<S>& g, view<const S> a, long row, long rows, long k0, long k, S* to) {
    for (long r = 0; r < rows; ++r) {
        const S* from = a.row(g.from(row + r)) + k0;
        if (g.factor)
            for (long i = 0; i < k; ++i) to[r * k + i] = from[i] * g.factor[row + r];
        else std::copy_n(from, k, to + r * k);
    }
    std::fill_n(to + rows * k, (-rows & 3) * k, S(0));
}

/// What `accumulate` lays out.
template <class S> struct rows_room { alignas(64) S rows[packed], padded[height * width]; };
/// A panel of weights, or of gathered rows.
template <class S> struct panel_room { alignas(64) S numbers[packed]; };

/// Adds the product of a tile's rows with its weights to c: f(k0, k, rows, stride, c, c_stride) for each block of the depth.
/// c is the tile of `out` itself, or a copy of it where rows must be padded.
template <class S, class F> void accumulate(const groups<S>& g, const place& at, view<const S> a, view<S> out, into mode, F f) {
    const bool whole = at.rows % 4 == 0;
    room::with<rows_room<S>>([&](rows_room<S>& memory) {
        S *const rows = memory.rows, *const padded = memory.padded;
        S* const c = whole ? out.row(at.row) + at.column : padded;
        const long stride = whole ? out.stride : width, high = (at.rows + 3) / 4 * 4;
        for (long r = 0; r < high; ++r) {
            if (mode == into::overwrite || r >= at.rows) std::fill_n(c + r * stride, at.columns, S(0));
            else if (!whole) std::copy_n(out.row(at.row + r) + at.column, at.columns, c + r * stride);
        }
        for (long k0 = 0; k0 < a.cols; k0 += depth) {
            const long k = (std::min)(depth, a.cols - k0);
            if (whole && !g.source && !g.factor) f(k0, k, high, a.row(at.row) + k0, a.stride, c, stride);
            else {
                gather(g, a, at.row, at.rows, k0, k, rows);
                f(k0, k, high, rows, k, c, stride);
            }
        }
        if (!whole)
            for (long r = 0; r < at.rows; ++r) std::copy_n(c + r * stride, at.columns, out.row(at.row + r) + at.column);
    });
}

/// The block [n0, n0 + n) x [m0, m0 + m) of w_e as numbers that a product can read in place: f(first row, n, data, stride), once
/// where w is stored as S, else decoded, 64 rows at a time.
template <class S, class W, class F> void each_panel(const W& w, int e, long n0, long n, long m0, long m, F f) {
    if constexpr (std::same_as<W, stack<const S>> || std::same_as<W, stack<S>>) f(0, n, w.row(e, n0) + m0, w.row_stride);
    else {
        room::with<panel_room<S>>([&](panel_room<S>& memory) {
            S* const plain = memory.numbers;
            for (long first = 0; first < n; first += height) {
                const long rows = (std::min)(height, n - first);
                for (long r = 0; r < rows; ++r) {
                    if constexpr (requires { w.read(e, n0, m0, m, plain); }) w.read(e, n0 + first + r, m0, m, plain + r * m);
                    else
                        for (long c = 0; c < m; ++c) plain[r * m + c] = w(e, n0 + first + r, m0 + c);
                }
                f(first, rows, static_cast<const S*>(plain), m);
            }
        });
    }
}

/// c [rows, columns] = a w_e^T
template <class S, class W> void product(const groups<S>& g, const place& at, view<const S> a, const W& w, view<S> c) {
    accumulate(g, at, a, c, into::overwrite, [&](long k0, long k, long high, const S* rows, long stride, S* out, long out_stride) {
        each_panel<S>(w, at.expert, at.column, at.columns, k0, k, [&](long first, long n, const S* plain, long plain_stride) {
            gemm<S, order::row_major, order::column_major>({height, depth}, n, high, k, plain, plain_stride, rows, stride, out + first, out_stride);
        });
    });
}

/// da [rows, columns] (+)= dc w_e
template <class S, class W> void input_gradient(const groups<S>& g, const place& at, view<const S> dc, const W& w, view<S> da, into mode) {
    accumulate(g.direct(), at, dc, da, mode, [&](long k0, long k, long high, const S* rows, long stride, S* out, long out_stride) {
        each_panel<S>(w, at.expert, k0, k, at.column, at.columns, [&](long first, long n, const S* plain, long plain_stride) {
            gemm<S, order::column_major, order::column_major>({height, depth}, at.columns, high, n, plain, plain_stride, rows + first, stride, out,
                                                              out_stride);
        });
    });
}

/// dw_e [N, M] += dc^T a on one block of 256 x 256, over the rows of the expert in blocks of 64.
template <class S> void weight_gradient(const groups<S>& g, int e, long n0, long m0, view<const S> dc, view<const S> a, stack<S> dw) {
    constexpr long rows = packed / width;
    const long n = (std::min)(width, dc.cols - n0), m = (std::min)(width, a.cols - m0), end = g.offset[e + 1];
    room::with<panel_room<S>>([&](panel_room<S>& memory) {
        S* const gathered = memory.numbers;
        for (long r = g.begin(e); r < end; r += rows) {
            const long k = (std::min)(rows, end - r);
            const bool in_place = !g.source && !g.factor;
            if (!in_place) gather(g, a, r, k, m0, m, gathered);
            gemm<S, order::column_major, order::row_major>({width, rows}, m, n, k, in_place ? a.row(r) + m0 : gathered, in_place ? a.stride : m,
                                                           dc.row(r) + n0, dc.stride, dw.row(e, n0) + m0, dw.row_stride);
        }
    });
}

}  // namespace guild::inline v0::backend::tile
