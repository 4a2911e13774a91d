// Words of 32 bits in registers of AVX.

inline void transpose_8(__m256 (&r)[8]) {
    __m256 t[8];
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    GUILD_CPU_UNROLL
    for (int i = 0; i < 4; ++i) {
        const __m256 low = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
        r[i] = low;
    }
}
inline __m256 read_8(const char* from) {
    __m256 r;
    __builtin_memcpy(&r, from, sizeof r);
    return r;
}
inline void write_8(__m256 r, char* to) { __builtin_memcpy(to, &r, sizeof r); }
/// 8 words, `at` bytes from the beginning of 8 rows, to 8 rows of a block that lie `line` bytes apart.
inline void rows_to_block(const char* const* rows, long at, char* block, long line) {
    __m256 r[8];
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; ++i) r[i] = read_8(rows[i] + at);
    transpose_8(r);
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; ++i) write_8(r[i], block + i * line);
}
inline void block_to_rows(const char* block, long line, char* const* rows, long at) {
    __m256 r[8];
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; ++i) r[i] = read_8(block + i * line);
    transpose_8(r);
    GUILD_CPU_UNROLL
    for (int i = 0; i < 8; ++i) write_8(r[i], rows[i] + at);
}
