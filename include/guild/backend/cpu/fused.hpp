#pragma once
#include <guild/backend/cpu/order.hpp>
#include <guild/backend/cpu/packed_network.hpp>
#include <guild/dispatch/plan.hpp>
#include <guild/expert/activation.hpp>

#include <bit>

/// What is computed over packed weights: rows of an expert are gathered a block of the depth at a time and meet each block of weights once, in the
/// order in which memory holds them; what follows a product (bias, activation, weighted sum) happens on sums that are still in the cache.
namespace guild::inline v0::cpu {

namespace detail {

/// Sums of rows by outputs: of panel p in [panel p - first][row][column].
struct sums_of_panels {
    static constexpr long size = 2 * most_rows * layout::together;
    alignas(64) float data[size];
    float* panel(long p, long rows, int columns) { return data + p * ((rows + 15) / 16 * 16) * columns; }
};

/// Scales of rows that are quantised to int8, [most_rows]: the largest magnitude of a row is 127.
struct row_scales {
    float scale[most_rows], inverse[most_rows];
    row_scales(const kernels& with, const groups<float>& g, view<const float> a, long row, long rows) {
        for (long r = 0; r < rows; ++r) {
            const float largest = with.largest(a.row(g.from(row + r)), a.cols);
            scale[r] = largest / 127;
            inverse[r] = order::inverse_scale(largest);
        }
    }
};

/// Sums of int8 to float, in place: (sum times the row's scale) times the output's.
template <class Format>
void scaled(const tile_kernels& tiles, const piece& at, const packed_matrix<Format>& w, const row_scales& scales, sums_of_panels& c, int columns) {
    for (long p = at.first; p < at.last; ++p) {
        const float* const by = w.scales(at.expert, p);
        const std::int32_t* const sums = w.sums(at.expert, p);
        for (long r = 0; r < at.rows; ++r) {
            float* const row = c.panel(p - at.first, at.rows, columns) + r * columns;
            for (int j = 0; j < columns; ++j) {
                const std::int32_t sum = std::bit_cast<std::int32_t>(row[j]) - (tiles.offset ? 128 * sums[j] : 0);
                row[j] = static_cast<float>(sum) * scales.scale[r] * by[j];
            }
        }
    }
}

/// How many panels meet gathered rows before the next block of the depth is gathered: whole runs of `wide`, as many as sums have room for, one where
/// rows are so few that gathering costs nothing and memory is best read in one stream.
inline long panels_together(const layout& l, long rows) {
    const long padded = (std::min(rows, most_rows) + 15) / 16 * 16;
    return rows <= 4 ? l.wide() : std::min(sums_of_panels::size / padded / layout::together, 4L) * l.wide();
}

/// Fetches columns [k0, k0 + k) of rows [first, last) of a as the groups read them into the second-level cache.
inline void fetch_rows(const groups<float>& g, view<const float> a, long first, long last, long k0, long k) {
    for (long r = first; r < last; ++r) {
        const float* const from = a.row(g.from(r)) + k0;
        for (long i = 0; i < k; i += 16) __builtin_prefetch(from + i, 0, 2);
    }
}

/// c = a w_e^T for the rows and panels of a piece, as many as `panels_together` says.
template <class Format>
void multiply(const kernels& with, const groups<float>& g, const piece& at, view<const float> a, const packed_matrix<Format>& w, sums_of_panels& c) {
    alignas(64) float rows[most_rows * row_stride], plain[depth_block * most_columns];
    const layout& l = w.shape();
    const strategy& how = w.computed();
    const bool few = how.few && at.rows <= how.few->rows, decode = how.decode && !few;
    const tile_kernels& tiles = few ? *how.few : *how.tiles;
    const long ahead = with.tuned.ahead(at.rows, tiles.rows);
    const bool four = at.rows == 1 && tiles.four && !decode;
    const auto block = [&](long b, const float* by) {
        const long k = l.k(b), next_k = b + 1 < l.blocks() && at.rows > 4 ? l.k(b + 1) : 0, panels = at.last - at.first;
        gather(tiles, g, a, at.row, at.rows, b * l.block(), k, by, rows);
        for (long p = at.first; p < at.last; ++p) {
            const std::byte* const stored = w.block(at.expert, p, b);
            if (four && p + 4 <= at.last) {
                float* const to = c.panel(p - at.first, 1, with.columns);
                tiles.four(rows, stored, k, to, c.panel(1, 1, with.columns) - c.panel(0, 1, with.columns), b > 0, {});
                p += 3;
                continue;
            }
            if (decode) how.decode(stored, w.scales(at.expert, p), parts_of<Format>::group, b * l.block(), k, plain);
            if (next_k > 0)
                fetch_rows(g, a, at.row + at.rows * (p - at.first) / panels, at.row + at.rows * (p - at.first + 1) / panels, (b + 1) * l.block(),
                           next_k);
            const stretch next = ahead > 0 ? stretch{reinterpret_cast<const char*>(stored) + ahead, l.bytes_of(b)} : stretch{};
            sweep(tiles, rows, at.rows, decode ? static_cast<const void*>(plain) : stored, k, c.panel(p - at.first, at.rows, with.columns),
                  with.columns, b > 0, next);
        }
    };
    const auto all = [&](const float* by) {
        const entered inside(tiles);
        for (long b = 0; b < l.blocks(); ++b) block(b, by);
    };
    if constexpr (std::is_same_v<Format, int8>)
        if (how.by == arithmetic::int8) {
            const row_scales scales(with, g, a, at.row, at.rows);
            all(scales.inverse);
            return scaled(tiles, at, w, scales, c, with.columns);
        }
    all(nullptr);
}

/// Row r of panel p of the sums.
inline float* sums_of(sums_of_panels& c, long p, long rows, long r, int columns) { return c.panel(p, rows, columns) + r * columns; }

/// out [n] = act(gate, up) or act(up).
template <class Act> void activate(const kernels& with, const Act& act, const float* gate, const float* up, long n, float* out) {
    if constexpr (std::is_same_v<Act, swiglu>) with.swiglu(gate, up, n, out);
    else
        for (long j = 0; j < n; ++j) {
            if constexpr (Act::inputs == 2) out[j] = act(gate[j], up[j]);
            else out[j] = act(up[j]);
        }
}

}  // namespace detail

/// x [.., H] -> a [R, F] =, and h [R, inputs F] = if it is given, what the activation read, [gate | up].
template <class X, class Act, class Format>
void expert_up(const kernels& with, const X& executor, const Act& act, const groups<float>& g, view<const float> x, const packed_network<Format>& w,
               view<float> h, view<float> a) {
    const layout& l = w.up.shape();
    const long half = with.columns / Act::inputs;
    share(executor, g, {l.panels(), with.tuned.ridge, with.columns * l.depth(), l.wide()}, [&](const piece& whole) {
        each_part(whole, most_rows, detail::panels_together(l, whole.rows), [&](const piece& at) {
            detail::sums_of_panels sums;
            detail::multiply(with, g, at, x, w.up, sums);
            for (long p = at.first; p < at.last; ++p) {
                const long f0 = p * half, n = std::min(half, a.cols - f0);
                for (long r = 0; r < at.rows; ++r) {
                    float* const gate = detail::sums_of(sums, p - at.first, at.rows, r, with.columns);
                    float* const up = gate + with.columns - half;
                    const long row = at.row + r;
                    if (g.factor)
                        for (int j = 0; j < with.columns; ++j) gate[j] *= g.factor[row];
                    if (w.up_bias.data)
                        for (long j = 0; j < n; ++j) up[j] += w.up_bias(at.expert, f0 + j, 0);
                    if constexpr (Act::inputs == 2)
                        if (w.gate_bias.data)
                            for (long j = 0; j < n; ++j) gate[j] += w.gate_bias(at.expert, f0 + j, 0);
                    if (h.data) {
                        std::copy_n(up, n, h.row(row) + h.cols - a.cols + f0);
                        if constexpr (Act::inputs == 2) std::copy_n(gate, n, h.row(row) + f0);
                    }
                    detail::activate(with, act, gate, up, n, a.row(row) + f0);
                }
            }
        });
    });
}

/// c [R, outputs] = a w_e^T factor, as `product` over plain weights, bit for bit.
template <class X, class Format>
void product(const kernels& with, const X& executor, const groups<float>& g, view<const float> a, const packed_matrix<Format>& w, view<float> c) {
    const layout& l = w.shape();
    share(executor, g, {l.panels(), with.tuned.ridge, with.columns * l.depth(), l.wide()}, [&](const piece& whole) {
        each_part(whole, most_rows, detail::panels_together(l, whole.rows), [&](const piece& at) {
            detail::sums_of_panels sums;
            detail::multiply(with, g, at, a, w, sums);
            for (long p = at.first; p < at.last; ++p)
                for (long r = 0; r < at.rows; ++r) {
                    const float* const from = detail::sums_of(sums, p - at.first, at.rows, r, with.columns);
                    float* const to = c.row(at.row + r) + p * with.columns;
                    const float factor = g.factor ? g.factor[at.row + r] : 1.f;
                    for (long j = 0; j < std::min<long>(with.columns, c.cols - p * with.columns); ++j) to[j] = g.factor ? from[j] * factor : from[j];
                }
        });
    });
}

/// y [T, H] += weight (a w_down^T + bias), a row's token by the plan. Threads share outputs, so that a token's rows are added in ascending expert
/// id by one of them.
template <class X, class Format>
void expert_down(const kernels& with, const X& executor, const groups<float>& g, view<const float> a, const packed_network<Format>& w,
                 const plan& plan, const float* weight, view<float> y) {
    const layout& l = w.down.shape();
    const long fits =
        std::min(detail::shares_of(g.offset[g.count] * l.panels(), with.columns * l.depth(), detail::most_shares(executor, 16)), l.panels());
    const groups<float> direct = g.direct();
    const auto add = [&](const piece& at) {
        detail::sums_of_panels sums;
        detail::multiply(with, direct, at, a, w.down, sums);
        for (long r = 0; r < at.rows; ++r) {
            const float by = weight[plan.slot[at.row + r]];
            for (long p = at.first; p < at.last; ++p) {
                const float* const from = detail::sums_of(sums, p - at.first, at.rows, r, with.columns);
                const long h0 = p * with.columns, n = std::min<long>(with.columns, y.cols - h0);
                float* const to = y.row(plan.token[at.row + r]) + h0;
                if (w.down_bias.data)
                    for (long j = 0; j < n; ++j) to[j] += by * (from[j] + w.down_bias(at.expert, h0 + j, 0));
                else
                    for (long j = 0; j < n; ++j) to[j] += by * from[j];
            }
        }
    };
    executor.run(fits, [&](long begin, long end) {
        const long first = l.panels() * begin / fits, last = l.panels() * end / fits;
        for (int e = 0; e < g.count; ++e)
            if (g.rows(e) > 0) each_part({e, g.begin(e), g.rows(e), first, last}, most_rows, detail::panels_together(l, g.rows(e)), add);
    });
}

}  // namespace guild::inline v0::cpu
