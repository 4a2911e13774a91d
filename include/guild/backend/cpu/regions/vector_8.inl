// Eight floats in a register of AVX2 with FMA: 16 registers, so a tile is 6 rows x 16 outputs.

inline constexpr isa level = isa::avx2;
/// Zen 3, cold weights, GB/s of one core: 1 row 18.2 without prefetch, 17.6 at 1 KiB, 16.3 at 4, 15.8 at 16; 4 rows 15.3, -, 16.6, 16.5. 48 rows,
/// of 97 GFLOP/s: 77 without, 77 at 4 KiB, 95 at 16, the block that follows.
inline constexpr tuning tuned{.one_row = 0, .one_tile = 4096};
inline constexpr long ridge = 12;
inline constexpr bool four_streams = true;

struct vec {
    using reg = __m256;
    static constexpr int lanes = 8, most_rows = 6, widened_rows = 4, pair_rows = 2, int8_rows = 4;

    /// Stays in its register: g++ would read it from memory again for each row.
    static void keep(reg& r) { GUILD_CPU_KEEP("+x", r); }
    static reg zero() { return _mm256_setzero_ps(); }
    static reg load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, reg r) { _mm256_storeu_ps(p, r); }
    static reg all(const float* p) { return _mm256_broadcast_ss(p); }
    static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
    static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
    /// The second where one is not a number.
    static reg least(reg a, reg b) { return _mm256_min_ps(a, b); }
    static reg most(reg a, reg b) { return _mm256_max_ps(a, b); }
    /// Pairs of bf16: the first of each pair, and the second.
    static void widen(const std::uint16_t* p, reg& first, reg& second) {
        const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p));
        first = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
        second = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
    }
};
