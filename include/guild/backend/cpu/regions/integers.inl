// arithmetic::int8: weights in words of 4 numbers of the depth, sums exact in 32 bits.

/// To nearest, ties to even, within [-127, 127]; not a number: -127, of a row whose scale is NaN. `by` is 127 over the largest.
inline ints quantised(floats x, float by) {
    const floats to_integer = all(12582912.f);  // 1.5 2^23: adding it leaves the rounded integer in the low bits
    floats q = x * by;
    q = least(most(q, all(-127.f)), all(127.f));
    return as<ints>(as<uints>(q + to_integer)) - as<ints>(as<uints>(to_integer));
}
inline void quantise_row(const float* from, long k, float by, void* to) {
    auto* const out = static_cast<char*>(to);
    each_padded(from, k, (k + 63) / 64 * 64, [&](long i, floats x) { integer::left(quantised(x, by), out + i * integer::words); });
}

/// Sums of a row to c [columns], or added to what it holds.
inline void leave(const integer::reg* s, std::uint32_t* c, bool add) {
    for (int v = 0; v < 2; ++v, c += lanes) integer::store(c, add ? integer::sum(s[v], integer::load(c)) : s[v]);
}
template <int Rows> void tile_int8(const void* rows, const void* weights, long k, void* sums_of, long c_stride, bool add, prefetch ahead) {
    const auto* a = static_cast<const std::uint32_t*>(rows);
    const auto* b = static_cast<const std::uint32_t*>(weights);
    auto* const c = static_cast<std::uint32_t*>(sums_of);
    integer::reg s[std::size_t{Rows}][2];
    GUILD_CPU_UNROLL
    for (int r = 0; r < Rows; ++r) s[r][0] = s[r][1] = integer::zero();
    for (long eights = (k + 63) / 64 * 2; eights > 0; --eights) {  // products beyond k are zero
        fetch(ahead);
        GUILD_CPU_UNROLL
        for (int i = 0; i < 8; ++i, a += integer::words, b += columns) {
            const integer::right b0(b), b1(b + lanes);
            GUILD_CPU_UNROLL
            for (int r = 0; r < Rows; ++r) {
                s[r][0] = integer::dot(s[r][0], a + r * row_stride, b0);
                s[r][1] = integer::dot(s[r][1], a + r * row_stride, b1);
                integer::keep(s[r][0]), integer::keep(s[r][1]);
            }
        }
    }
    GUILD_CPU_UNROLL
    for (int r = 0; r < Rows; ++r) leave(s[r], c + r * c_stride, add);
}

/// One row times four blocks that follow each other, as tile_four.
inline void tile_four_int8(const void* row, const void* weights, long k, void* sums_of, long c_stride, bool add, prefetch) {
    const auto* a = static_cast<const std::uint32_t*>(row);
    const auto* b = static_cast<const std::uint32_t*>(weights);
    auto* const c = static_cast<std::uint32_t*>(sums_of);
    const long block = (k + 63) / 64 * 16 * columns;
    integer::reg s[4][2];
    GUILD_CPU_UNROLL
    for (int p = 0; p < 4; ++p) s[p][0] = s[p][1] = integer::zero();
    for (long words = (k + 3) / 4; words > 0; --words, a += integer::words, b += columns) {
        GUILD_CPU_UNROLL
        for (int p = 0; p < 4; ++p) {
            s[p][0] = integer::dot(s[p][0], a, integer::right(b + p * block));
            s[p][1] = integer::dot(s[p][1], a, integer::right(b + p * block + lanes));
        }
    }
    GUILD_CPU_UNROLL
    for (int p = 0; p < 4; ++p) leave(s[p], c + p * c_stride, add);
}

/// The even and the odd bytes of at most 128 words are added in 16 bits, which hold 256 times -128.
inline void total_int8(const void* block, long words, std::int32_t* to) {
    typedef std::int16_t shorts __attribute__((vector_size(4 * lanes)));
    const auto* const from = static_cast<const char*>(block);
    for (int v = 0; v < columns; v += lanes)
        for (long first = 0; first < words; first += 128) {
            shorts sum{};
            for (long i = first; i < words && i < first + 128; ++i) {
                shorts x;
                __builtin_memcpy(&x, from + 4 * (i * columns + v), sizeof x);
                sum += (x << 8 >> 8) + (x >> 8);
            }
            ints all;
            __builtin_memcpy(&all, to + v, sizeof all);
            all += (as<ints>(sum) << 16 >> 16) + (as<ints>(sum) >> 16);
            __builtin_memcpy(to + v, &all, sizeof all);
        }
}

template <int... R> constexpr tile_kernels int8_tiles(counted<R...>) {
    return {.block = 1024 / integer::words,
            .unit = 64,
            .fetch_depth = 32,
            .rows = sizeof...(R),
            .ridge = ridge,
            .tile = {tile_int8<R>...},
            .four = four_streams ? tile_four_int8 : nullptr,
            .row = quantise_row,
            .offset = integer::offset,
            .total = total_int8};
}
