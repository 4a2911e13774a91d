#pragma once
#include <guild/backend/cpu/order.hpp>
#include <guild/backend/cpu/packed_network.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/core/room.hpp>
#include <guild/dispatch/plan.hpp>
#include <guild/expert/activation.hpp>

#include <bit>
#include <optional>

/// What is computed over packed weights: rows of an expert are gathered, a block of the depth at a time or whole, and meet each block of weights
/// once, in the order in which memory holds them; what follows a product (bias, activation, weighted sum) happens on sums that are still in the
/// cache.
namespace guild::inline v0::cpu {

namespace detail {

/// Sums of rows, [row][output], of as many panels as stand side by side; rows are apart by a line more, so that they do not meet in the same sets
/// of a cache.
class sums_of_rows {
public:
    static constexpr long apart = 16, size = most_rows * (2 * layout::together + 2 * apart);
    /// In `size` numbers.
    sums_of_rows(long outputs, float* data) : stride_(outputs + apart), data_(data) {}
    /// How many outputs there is room for, of so many rows.
    static long most_outputs(long rows) { return size / ((rows + 15) / 16 * 16) - apart; }
    float* row(long r) { return data_ + r * stride_; }
    long stride() const { return stride_; }

private:
    long stride_;
    float* data_;
};
/// Sums, and what is laid out for them: rows and a block of weights.
struct block_room {
    alignas(64) float sums[sums_of_rows::size], rows[most_rows * row_stride], plain[depth_block * most_columns];
};
/// Or rows that are gathered for the whole depth: a megabyte, which the second-level cache of a core with AMX keeps.
struct whole_room {
    static constexpr long words = most_height * packed_matrix<bf16>::most_whole / 2;
    alignas(64) float sums[sums_of_rows::size], rows[std::size_t{words}];
};

/// Most rows that are gathered for the whole depth.
inline constexpr long most_whole_rows = 256;

/// Scales of rows that are quantised to int8: the largest magnitude of a row is 127. A row with a number that is not finite has the scale NaN.
struct row_scales {
    float scale[most_whole_rows], inverse[most_whole_rows];
    row_scales(const kernels& with, const groups<float>& g, view<const float> a, long row, long rows) {
        for (long r = 0; r < rows; ++r) {
            const float largest = with.largest(a.row(g.from(row + r)), a.cols);
            scale[r] = order::scale(largest);
            inverse[r] = order::inverse_scale(largest);
        }
    }
};

/// Sums of int8 to float, in place: (sum times the row's scale) times the output's.
template <class Format>
void scaled(const tile_kernels& tiles, const piece& at, const packed_matrix<Format>& w, const row_scales& scales, sums_of_rows& c, int columns) {
    for (long p = at.first; p < at.last; ++p) {
        const float* const by = w.scales(at.expert, p);
        const std::int32_t* const sums = w.sums(at.expert, p);
        for (long r = 0; r < at.rows; ++r) {
            float* const row = c.row(r) + (p - at.first) * columns;
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
    return rows <= 4 ? l.wide() : (std::min)(sums_of_rows::most_outputs((std::min)(rows, most_rows)) / layout::together, 4L) * l.wide();
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
void multiply(const kernels& with, const groups<float>& g, const piece& at, view<const float> a, const packed_matrix<Format>& w, block_room& memory,
              sums_of_rows& c) {
    float *const rows = memory.rows, *const plain = memory.plain;
    const layout& l = w.shape();
    const strategy& how = w.computed();
    const bool few = how.few && at.rows <= how.few->rows, decode = how.decode && !few;
    const tile_kernels& tiles = few ? *how.few : *how.tiles;
    const bool several = at.rows > tiles.rows;
    const long ahead = at.rows == 1 ? with.tuned.one_row : with.tuned.one_tile;
    const bool four = at.rows == 1 && tiles.four && !decode;
    const auto block = [&](long b, const float* by) {
        const long k = l.k(b), next_k = b + 1 < l.blocks() && at.rows > 4 ? l.k(b + 1) : 0, panels = at.last - at.first;
        gather(tiles, g, a, at.row, at.rows, b * l.block(), k, by, rows);
        for (long p = at.first; p < at.last; ++p) {
            const std::byte* const stored = w.block(at.expert, p, b);
            if (four && p + 4 <= at.last) {
                tiles.four(rows, stored, k, c.row(0) + (p - at.first) * with.columns, with.columns, b > 0, {});
                p += 3;
                continue;
            }
            if (decode) how.decode(stored, w.scales(at.expert, p), parts_of<Format>::group, b * l.block(), k, plain);
            if (next_k > 0)
                fetch_rows(g, a, at.row + at.rows * (p - at.first) / panels, at.row + at.rows * (p - at.first + 1) / panels, (b + 1) * l.block(),
                           next_k);
            const std::byte* const following = p + 1 < at.last      ? w.block(at.expert, p + 1, b)
                                               : b + 1 < l.blocks() ? w.block(at.expert, at.first, b + 1)
                                                                    : stored + l.bytes_of(b);
            const stretch next{several ? following : stored + ahead, several || ahead > 0 ? l.bytes_of(b) : 0};
            sweep(tiles, rows, at.rows, decode ? static_cast<const void*>(plain) : stored, k, c.row(0) + (p - at.first) * with.columns, c.stride(),
                  b > 0, next);
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

/// out [n] = act(gate, up) or act(up), which stand in parts of `half` numbers, a part in every panel.
template <class Act> void activate(const kernels& with, const Act& act, const float* gate, const float* up, long half, long n, float* out) {
    const long whole = n / half, left = n % half;
    if constexpr (std::is_same_v<Act, swiglu>) {
        with.swiglu(gate, up, whole, with.columns, half, out, half);
        if (left > 0) with.swiglu(gate + whole * with.columns, up + whole * with.columns, 1, 0, left, out + whole * half, 0);
    } else {
        for (long j = 0; j < n; ++j) {
            const long from = j / half * with.columns + j % half;
            if constexpr (Act::inputs == 2) out[j] = act(gate[from], up[from]);
            else out[j] = act(up[from]);
        }
    }
}

/// As many rows as `whole_room` holds for the whole depth meet every panel from end to end: sums stay in the tiles, and weights come from memory once
/// for all of these rows. What is fetched last is a panel of the next expert.
template <class Format, class End>
void sum_whole(const kernels& with, const groups<float>& g, const piece& all, view<const float> a, const packed_matrix<Format>& w, whole_room& memory,
               End end) {
    float* const rows = memory.rows;
    const layout& l = w.shape();
    const tile_kernels& tiles = *w.computed().tiles;
    int next_expert = all.expert + 1;
    while (next_expert < g.count && g.rows(next_expert) == 0) ++next_expert;
    const long fits = (std::min)(whole_room::words / tiles.row_at(tiles.granule, l.depth()) * tiles.granule, most_whole_rows),
               parts = (all.rows + fits - 1) / fits;
    for (long i = 0; i < parts; ++i) {
        const long top = all.rows * i / parts, n = all.rows * (i + 1) / parts - top;
        const piece part{all.expert, all.row + top, n, all.first, all.last};
        std::optional<row_scales> scales;
        if (w.computed().by == arithmetic::int8) scales.emplace(with, g, a, part.row, n);
        for (long r = 0; r < n; ++r) {
            if (r + 1 < n) fetch_rows(g, a, part.row + r + 1, part.row + r + 2, 0, l.depth());
            tiles.row(a.row(g.from(part.row + r)), l.depth(), scales ? scales->inverse[r] : 1.f, rows + tiles.row_at(r, l.depth()));
        }
        each_part(part, n, (std::max)(sums_of_rows::most_outputs(n) / with.columns, 1L), [&](const piece& at) {
            sums_of_rows c((at.last - at.first) * with.columns, memory.sums);
            {
                const entered inside(tiles);
                for (long p = at.first; p < at.last; ++p) {
                    const std::byte* const stored = w.block(at.expert, p, 0);
                    stretch next{stored + with.tuned.one_tile, l.panel_bytes()};
                    if (n > tiles.rows) {
                        if (p + 1 < all.last) next.at = stored + l.panel_bytes();
                        else if (i + 1 < parts) next.at = w.block(at.expert, all.first, 0);
                        else if (next_expert < g.count) next.at = w.block(next_expert, all.first, 0);
                        else next = {};
                    }
                    sweep(tiles, rows, n, stored, l.depth(), c.row(0) + (p - at.first) * with.columns, c.stride(), false, next);
                }
            }
            if constexpr (std::is_same_v<Format, int8>)
                if (scales) scaled(tiles, at, w, *scales, c, with.columns);
            end(at, c);
        });
    }
}

/// end(piece, sums) for parts of a piece of rows by panels: the sums of a w_e^T.
template <class Format, class End>
void each_sum(const kernels& with, const groups<float>& g, const piece& all, view<const float> a, const packed_matrix<Format>& w, End end) {
    if constexpr (std::is_same_v<Format, bf16> || std::is_same_v<Format, int8>)
        if (w.whole()) return room::with<whole_room>([&](whole_room& memory) { sum_whole(with, g, all, a, w, memory, end); });
    room::with<block_room>([&](block_room& memory) {
        each_part(all, most_rows, panels_together(w.shape(), all.rows), [&](const piece& at) {
            sums_of_rows sums((at.last - at.first) * with.columns, memory.sums);
            multiply(with, g, at, a, w, memory, sums);
            end(at, sums);
        });
    });
}

}  // namespace detail

/// Most bytes that a product over packed or plain weights lays out; `Whole`: by tiles over the whole depth, of AMX.
template <bool Whole>
inline constexpr std::size_t most_bytes = (std::max)({Whole ? sizeof(detail::whole_room) : sizeof(detail::block_room), sizeof(detail::product_room),
                                                      sizeof(detail::input_gradient_room), sizeof(detail::weight_gradient_room)});

/// x [.., H] -> a [R, F] =, and h [R, inputs F] = if it is given, what the activation read, [gate | up].
template <class X, class Act, class Format>
void expert_up(const kernels& with, const X& executor, const Act& act, const groups<float>& g, view<const float> x, const packed_network<Format>& w,
               view<float> h, view<float> a) {
    const layout& l = w.up.shape();
    const long half = with.columns / Act::inputs;
    share(executor, g, {l.panels(), w.up.computed().tiles->ridge, with.columns * l.depth(), l.wide()}, [&](const piece& whole) {
        const bool changed = g.factor || w.up_bias.data || w.gate_bias.data || h.data;  // before they are read, or kept
        detail::each_sum(with, g, whole, x, w.up, [&](const piece& at, detail::sums_of_rows& sums) {
            for (long r = 0; r < at.rows; ++r) {
                const long row = at.row + r;
                float* const gates = sums.row(r);
                float* const ups = gates + with.columns - half;
                for (long p = at.first; p < at.last && changed; ++p) {
                    const long f0 = p * half, n = (std::min)(half, a.cols - f0);
                    float* const gate = gates + (p - at.first) * with.columns;
                    float* const up = ups + (p - at.first) * with.columns;
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
                }
                const long first = at.first * half;
                detail::activate(with, act, gates, ups, half, (std::min)(at.last * half, a.cols) - first, a.row(row) + first);
            }
        });
    });
}

/// c [R, outputs] = a w_e^T factor, as `product` over plain weights, bit for bit.
template <class X, class Format>
void product(const kernels& with, const X& executor, const groups<float>& g, view<const float> a, const packed_matrix<Format>& w, view<float> c) {
    const layout& l = w.shape();
    share(executor, g, {l.panels(), w.computed().tiles->ridge, with.columns * l.depth(), l.wide()}, [&](const piece& whole) {
        detail::each_sum(with, g, whole, a, w, [&](const piece& at, detail::sums_of_rows& sums) {
            const long first = at.first * with.columns, n = (std::min)(at.last * with.columns, c.cols) - first;
            for (long r = 0; r < at.rows; ++r) {
                const float* const from = sums.row(r);
                float* const to = c.row(at.row + r) + first;
                const float factor = g.factor ? g.factor[at.row + r] : 1.f;
                for (long j = 0; j < n; ++j) to[j] = g.factor ? from[j] * factor : from[j];
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
        (std::min)(detail::shares_of(g.offset[g.count] * l.panels(), with.columns * l.depth(), detail::most_shares(executor, 16)), l.panels());
    const groups<float> direct = g.direct();
    const auto add = [&](const piece& at, detail::sums_of_rows& sums) {
        const long first = at.first * with.columns, n = (std::min)(at.last * with.columns, y.cols) - first;
        for (long r = 0; r < at.rows; ++r) {
            const float by = weight[plan.slot[at.row + r]], *const from = sums.row(r);
            float* const to = y.row(plan.token[at.row + r]) + first;
            if (w.down_bias.data)
                for (long j = 0; j < n; ++j) to[j] += by * (from[j] + w.down_bias(at.expert, first + j, 0));
            else
                for (long j = 0; j < n; ++j) to[j] += by * from[j];
        }
    };
    executor.run(fits, [&](long begin, long end) {
        const long first = l.panels() * begin / fits, last = l.panels() * end / fits;
        for (int e = 0; e < g.count; ++e)
            if (g.rows(e) > 0) detail::each_sum(with, direct, {e, g.begin(e), g.rows(e), first, last}, a, w.down, add);
    });
}

}  // namespace guild::inline v0::cpu
