#pragma once
#include <guild/backend/cpu/kernels.hpp>
#include <guild/core/view.hpp>
#include <guild/dispatch/groups.hpp>

#include <algorithm>
#include <cstddef>

namespace guild::inline v0::cpu {

/// Rows of one expert that are computed together, where they are gathered a block of the depth at a time: 102 KiB, which the second-level
/// cache keeps.
inline constexpr long most_rows = 96;
/// Most outputs of a panel, and rows of a tile.
inline constexpr long most_columns = 32, most_height = 32;

namespace detail {
/// The environment that kernels want, while it lives.
class entered {
public:
    explicit entered(const tile_kernels& with) : with_(with), before_(with.enter ? with.enter() : 0) {}
    ~entered() {
        if (with_.leave) with_.leave(before_);
    }
    entered(const entered&) = delete;

private:
    const tile_kernels& with_;
    unsigned before_;
};

/// Tiles that cover so many rows.
inline long tiles_of(const tile_kernels& with, long rows) {
    return ((rows + with.granule - 1) / with.granule * with.granule + with.rows - 1) / with.rows;
}
/// f(first row, height) for tiles of equal height that cover so many rows; heights are in granules.
template <class F> void each_tile(const tile_kernels& with, long rows, F f) {
    const long units = (rows + with.granule - 1) / with.granule, tiles = tiles_of(with, rows);
    for (long t = 0, top = 0; t < tiles; ++t) {
        const long height = units / tiles + (t < units % tiles);
        f(top, height);
        top += height * with.granule;
    }
}
}  // namespace detail

/// Columns [k0, k0 + k) of rows [row, row + rows) of a as the groups read them, as the kernels want them. `by`: 1 / scale of each row, if there is
/// one.
template <class S>
void gather(const tile_kernels& with, const groups<S>& g, view<const float> a, long row, long rows, long k0, long k, const float* by, float* to) {
    for (long r = 0; r < rows; ++r) with.row(a.row(g.from(row + r)) + k0, k, by ? by[r] : 1.f, to + with.row_at(r, k));
}

/// Memory to be fetched while something else is computed.
struct stretch {
    const std::byte* at = nullptr;
    long bytes = 0;
};

/// c [rows, columns] (+)= gathered rows times one block of a panel, in tiles of equal height, between which `next` is spread evenly.
inline void sweep(const tile_kernels& with, const float* a, long rows, const void* b, long k, float* c, long c_stride, bool add, stretch next = {}) {
    const long fetches = (std::max)(k / with.fetch_depth, 1L), lines = (next.bytes + 64 * fetches - 1) / (64 * fetches);
    if (rows <= with.granule) return with.tile[0](a, b, k, c, c_stride, add, {next.at, lines});
    const long tiles = detail::tiles_of(with, rows), each = (lines + tiles - 1) / tiles;
    long t = 0;
    detail::each_tile(with, rows, [&](long top, long height) {
        const prefetch ahead{next.at + t * each * 64 * fetches, t * each < lines ? each : 0};
        with.tile[height - 1](a + with.row_at(top, k), b, k, c + top * c_stride, c_stride, add, ahead);
        ++t;
    });
}

}  // namespace guild::inline v0::cpu
