// Tiles of fp32 arithmetic over `vec`. A tile keeps rows x 2 accumulators in registers over one block of the depth, from zero, and adds the
// block's sum to c. Each step multiplies a broadcast number of a with two registers of b.

inline constexpr int lanes = vec::lanes, columns = 2 * lanes;

inline void fetch(prefetch& ahead) {
    const char* const at = static_cast<const char*>(ahead.at);
    for (long i = 0; i < ahead.lines; ++i) __builtin_prefetch(at + 64 * i, 0, 2);
    ahead.at = at + 64 * ahead.lines;
    if (--ahead.left == 0) {
        ahead.at = at + 64 * ahead.lines + ahead.skip;
        ahead.left = ahead.times;
    }
}

template <int Rows> struct sums {
    vec::reg s[std::size_t{Rows}][2];

    sums() {
        GUILD_CPU_UNROLL
        for (int r = 0; r < Rows; ++r) s[r][0] = s[r][1] = vec::zero();
    }
    /// += a(r) b for the rows, a(r) the address of one number.
    template <class A> void step(const A& a, vec::reg b0, vec::reg b1) {
        vec::keep(b0), vec::keep(b1);
        GUILD_CPU_UNROLL
        for (int r = 0; r < Rows; ++r) {
            const vec::reg x = vec::all(a(r));
            s[r][0] = vec::fma(x, b0, s[r][0]);
            s[r][1] = vec::fma(x, b1, s[r][1]);
        }
    }
    void leave(float* c, long c_stride, bool add) {
        if (add) {
            GUILD_CPU_UNROLL
            for (int r = 0; r < Rows; ++r) {
                s[r][0] = vec::add(vec::load(c + r * c_stride), s[r][0]);
                s[r][1] = vec::add(vec::load(c + r * c_stride + lanes), s[r][1]);
            }
        }
        GUILD_CPU_UNROLL
        for (int r = 0; r < Rows; ++r) {
            vec::store(c + r * c_stride, s[r][0]);
            vec::store(c + r * c_stride + lanes, s[r][1]);
        }
    }
};

/// One step of the depth with b in float.
template <int Rows, class A> inline void step(sums<Rows>& s, const A& a, const float* b) { s.step(a, vec::load(b), vec::load(b + lanes)); }

template <int Rows> void tile(const void* rows, const void* weights, long k, void* c, long c_stride, bool add, prefetch ahead) {
    const auto *a = static_cast<const float*>(rows), *b = static_cast<const float*>(weights);
    sums<Rows> s;
    for (; k >= 8; k -= 8, a += 8, b += 8 * columns) {
        fetch(ahead);
        GUILD_CPU_UNROLL
        for (int i = 0; i < 8; ++i)
            step(
                s, [&](int r) { return a + r * row_stride + i; }, b + i * columns);
    }
    for (; k > 0; --k, ++a, b += columns)
        step(
            s, [&](int r) { return a + r * row_stride; }, b);
    s.leave(static_cast<float*>(c), c_stride, add);
}

/// One row times four blocks that follow each other, sums `c_stride` apart: four streams of memory, and enough chains to hide the latency of each.
/// Zen 3, cold weights: 21.5 GB/s of one core, 17.1 by one stream. Xeons with AMX are the other way round: 20.1 GB/s of two cores, 24.2 by one stream
/// each, fetched ahead.
inline void tile_four(const void* row, const void* weights, long k, void* c, long c_stride, bool add, prefetch) {
    const auto *a = static_cast<const float*>(row), *b = static_cast<const float*>(weights);
    const long block = k * columns;
    sums<1> s[4];
    for (long i = 0; i < k; ++i, b += columns) {
        GUILD_CPU_UNROLL
        for (int p = 0; p < 4; ++p)
            step(
                s[p], [&](int) { return a + i; }, b + p * block);
    }
    GUILD_CPU_UNROLL
    for (int p = 0; p < 4; ++p) s[p].leave(static_cast<float*>(c) + p * c_stride, 0, add);
}

/// b in pairs of bf16, [k / 2, columns, 2], widened exactly: the bits of `tile` on the same numbers.
template <int Rows> void tile_bf16(const void* rows, const void* weights, long k, void* c, long c_stride, bool add, prefetch ahead) {
    const auto* a = static_cast<const float*>(rows);
    const auto* b = static_cast<const std::uint16_t*>(weights);
    sums<Rows> s;
    const auto pair = [&](const float* at, const std::uint16_t* both, bool second) {
        vec::reg even0, odd0, even1, odd1;
        vec::widen(both, even0, odd0);
        vec::widen(both + 2 * lanes, even1, odd1);
        s.step([&](int r) { return at + r * row_stride; }, even0, even1);
        if (second) s.step([&](int r) { return at + r * row_stride + 1; }, odd0, odd1);
    };
    for (; k >= 8; k -= 8, a += 8, b += 8 * columns) {
        fetch(ahead);
        GUILD_CPU_UNROLL
        for (int i = 0; i < 4; ++i) pair(a + 2 * i, b + 2 * i * columns, true);
    }
    for (; k > 0; k -= 2, a += 2, b += 2 * columns) pair(a, b, k > 1);
    s.leave(static_cast<float*>(c), c_stride, add);
}

inline void tile_four_bf16(const void* row, const void* weights, long k, void* c, long c_stride, bool add, prefetch) {
    const auto* a = static_cast<const float*>(row);
    const auto* b = static_cast<const std::uint16_t*>(weights);
    const long block = (k + 1) / 2 * 2 * columns;
    sums<1> s[4];
    for (long i = 0; i < k; i += 2, b += 2 * columns) {
        GUILD_CPU_UNROLL
        for (int p = 0; p < 4; ++p) {
            vec::reg even0, odd0, even1, odd1;
            vec::widen(b + p * block, even0, odd0);
            vec::widen(b + p * block + 2 * lanes, even1, odd1);
            s[p].step([&](int) { return a + i; }, even0, even1);
            if (i + 1 < k) s[p].step([&](int) { return a + i + 1; }, odd0, odd1);
        }
    }
    GUILD_CPU_UNROLL
    for (int p = 0; p < 4; ++p) s[p].leave(static_cast<float*>(c) + p * c_stride, 0, add);
}

/// 8 rows to the end before the next 8: rows may lie where more of them would push each other out of the cache.
inline void transpose(const char* const* rows, long n, long k, void* block, long ahead) {
    constexpr long line = 4 * columns;
    char* const to = static_cast<char*>(block);
    const long whole = k / 8 * 8, full = n / 8 * 8;
    for (long c = 0; c < full; c += 8)
        for (long i = 0; i < whole; i += 8) {
            if (ahead > 0 && i % 16 == 0)
                for (int r = 0; r < 8; ++r) __builtin_prefetch(rows[c + r] + 4 * i + ahead);
            rows_to_block(rows + c, 4 * i, to + i * line + 4 * c, line);
        }
    for (long i = full == columns ? whole : 0; i < k; ++i) {
        long c = i < whole ? full : 0;
        for (; c < n; ++c) __builtin_memcpy(to + i * line + 4 * c, rows[c] + 4 * i, 4);
        if (c < columns) __builtin_memset(to + i * line + 4 * c, 0, static_cast<unsigned long>(line - 4 * c));
    }
}
inline void restore(const void* block, long k, char* const* rows) {
    constexpr long line = 4 * columns;
    const char* const from = static_cast<const char*>(block);
    const long whole = k / 8 * 8;
    for (long c = 0; c < columns; c += 8)
        for (long i = 0; i < whole; i += 8) block_to_rows(from + i * line + 4 * c, line, rows + c, 4 * i);
    for (long i = whole; i < k; ++i)
        for (long c = 0; c < columns; ++c) __builtin_memcpy(rows[c] + 4 * i, from + i * line + 4 * c, 4);
}

inline void decode_bf16(const void* stored, const void*, long, long, long k, float* b) {
    const auto* w = static_cast<const std::uint16_t*>(stored);
    for (; k > 0; k -= 2, w += 2 * columns, b += 2 * columns)
        for (int j = 0; j < columns; j += lanes) {
            vec::reg first, second;
            vec::widen(w + 2 * j, first, second);
            vec::store(b + j, first);
            vec::store(b + columns + j, second);
        }
}

inline void copy_row(const float* from, long k, float, void* to) { __builtin_memcpy(to, from, static_cast<unsigned long>(k) * 4); }

/// Lines of n words as rows of `words` words, up to a multiple of 8; lay(i, to) writes line i, or zeros; word i of row c, and the
/// seven that follow it, go to place(c, i), i a multiple of 8.
template <class Lay, class Place> void stand(long words, long n, void* rows, Lay lay, Place place) {
    constexpr long wide = padded_lines;
    alignas(64) std::uint32_t lines[8 * wide];
    for (long i = 0; i < words; i += 8) {
        for (long j = 0; j < 8; ++j) lay(i + j, lines + j * wide);
        for (long c = 0; c < n; c += 8) {
            char* to[8];
            for (long j = 0; j < 8; ++j) to[j] = static_cast<char*>(rows) + 4 * place(c + j, i);
            block_to_rows(reinterpret_cast<const char*>(lines + c), 4 * wide, to, 0);
        }
    }
}
inline long in_its_row(long c, long i) { return c * row_stride + i; }
inline void copy_columns(const float* from, long stride, long k, long n, void* to) {
    const auto lay = [&](long i, std::uint32_t* line) {
        if (i >= k) return;
        long c = 0;
        for (; c + lanes <= n; c += lanes) vec::store(reinterpret_cast<float*>(line + c), vec::load(from + i * stride + c));
        for (; c < n; ++c) __builtin_memcpy(line + c, from + i * stride + c, 4);
    };
    stand(k, n, to, lay, in_its_row);
}

template <int... R> struct counted {};
template <int N, int... R> struct count_to : count_to<N - 1, N, R...> {};
template <int... R> struct count_to<0, R...> { using type = counted<R...>; };
template <int... R> constexpr tile_kernels fp32_tiles(counted<R...>, row_kernel row = copy_row) {
    return {.block = depth_block,
            .rows = sizeof...(R),
            .ridge = ridge,
            .tile = {tile<R>...},
            .four = four_streams ? tile_four : nullptr,
            .row = row,
            .column = copy_columns};
}
template <int... R> constexpr tile_kernels widened_tiles(counted<R...>) {
    return {.block = depth_block,
            .rows = sizeof...(R),
            .ridge = ridge,
            .tile = {tile_bf16<R>...},
            .four = four_streams ? tile_four_bf16 : nullptr,
            .row = copy_row};
}
