// arithmetic::bf16 by fused multiply-adds in the order of tdpbf16ps. Activations are kept as floats that bf16 can hold, so that a step of the depth
// broadcasts them from memory.

/// The bits of a float rounded to bf16, to nearest, ties to even; NaN stays NaN.
inline uints rounded(floats x) {
    const uints u = as<uints>(x), nearest = u + 0x7fffu + (u >> 16 & 1u);
    const ints nan = as<ints>(u & 0x7fffffffu) > 0x7f800000;
    return where(nan, u | 0x400000u, nearest) & 0xffff0000u;
}
inline void round_row(const float* from, long k, float, void* to) {
    auto* const out = static_cast<float*>(to);
    each_padded(from, k, (k + 31) / 32 * 32, [&](long i, floats x) {
        const uints u = rounded(x);
        __builtin_memcpy(out + i, &u, sizeof u);
    });
}
inline void zero_line(void* line) { __builtin_memset(line, 0, 4 * padded_lines); }
inline void round_columns(const float* from, long stride, long k, long n, void* to) {
    const auto lay = [&](long i, void* line) {
        if (i < k) round_row(from + i * stride, n, 1.f, line);
        else zero_line(line);
    };
    stand((k + 31) / 32 * 32, n, to, lay, in_its_row);
}

/// The same numbers in pairs, two of them in a word.
template <class Place> inline void pair_row_at(const float* from, long k, void* to, Place place) {
    typedef std::uint16_t halves __attribute__((vector_size(2 * lanes)));
    auto* const out = static_cast<std::uint16_t*>(to);
    each_padded(from, k, (k + 31) / 32 * 32, [&](long i, floats x) {
        const halves h = __builtin_convertvector(rounded(x) >> 16, halves);
        __builtin_memcpy(out + place(i), &h, sizeof h);
    });
}
inline void pair_row(const float* from, long k, float, void* to) {
    pair_row_at(from, k, to, [](long i) { return i; });
}
/// A row of n numbers in panels; beyond n zeros.
struct padded_row {
    const float* from;
    long whole;  ///< numbers of panels that are full
    alignas(64) float last[columns]{};
    padded_row(const float* row, long n) : from(row), whole(n / columns * columns) {
        __builtin_memcpy(last, from + whole, static_cast<unsigned long>(n - whole) * 4);
    }
    const float* panel(long p) const { return p * columns < whole ? from + p * columns : last; }
};
inline void spread_pairs(const float* first, const float* second, long n, float by_first, float by_second, long panels, void* to, long panel_stride) {
    const padded_row even(first, n), odd(second ? second : first, n);
    const uints keep = uints{} + (second ? 0xffff0000u : 0u);
    auto* out = static_cast<std::uint32_t*>(to);
    for (long p = 0; p < panels; ++p, out += panel_stride)
        for (int j = 0; j < columns; j += lanes) {
            const uints pair =
                rounded(read<floats>(even.panel(p) + j) * by_first) >> 16 | (rounded(read<floats>(odd.panel(p) + j) * by_second) & keep);
            __builtin_memcpy(out + j, &pair, sizeof pair);
        }
}
template <class Place> inline void pair_columns_at(const float* from, long stride, long k, long n, void* to, Place place) {
    const auto lay = [&](long i, void* line) {
        if (2 * i >= k) return zero_line(line);
        const float* const first = from + 2 * i * stride;
        spread_pairs(first, 2 * i + 1 < k ? first + stride : nullptr, n, 1.f, 1.f, (n + columns - 1) / columns, line, columns);
    };
    stand((k + 31) / 32 * 16, n, to, lay, place);
}
inline void pair_columns(const float* from, long stride, long k, long n, void* to) { pair_columns_at(from, stride, k, n, to, in_its_row); }

template <int Rows> void tile_pairs(const void* rows, const void* weights, long k, void* sums_of, long c_stride, bool add, prefetch ahead) {
    const auto* a = static_cast<const float*>(rows);
    const auto* b = static_cast<const std::uint16_t*>(weights);
    auto* const c = static_cast<float*>(sums_of);
    if (!add) sums<Rows>{}.leave(c, c_stride, false);
    for (long first = 0; first < k; first += 32) {
        sums<Rows> even, odd;
        for (int i = 0; i < 32; i += 2, a += 2, b += 2 * columns) {
            if (i % 16 == 0) fetch(ahead);
            vec::reg even0, odd0, even1, odd1;
            vec::widen(b, even0, odd0);
            vec::widen(b + 2 * lanes, even1, odd1);
            even.step([&](int r) { return a + r * row_stride; }, even0, even1);
            odd.step([&](int r) { return a + r * row_stride + 1; }, odd0, odd1);
        }
        GUILD_CPU_UNROLL
        for (int r = 0; r < Rows; ++r) {
            even.s[r][0] = vec::add(even.s[r][0], odd.s[r][0]);
            even.s[r][1] = vec::add(even.s[r][1], odd.s[r][1]);
        }
        even.leave(c, c_stride, true);
    }
}

template <int... R> constexpr tile_kernels pair_tiles(counted<R...>) {
    return {.block = depth_block,
            .unit = 32,
            .fetch_depth = 16,
            .rows = sizeof...(R),
            .ridge = ridge,
            .tile = {tile_pairs<R>...},
            .row = round_row,
            .column = round_columns,
            .enter = flush,
            .leave = unflush};
}
