// Sixteen floats in a register of AVX-512: 32 registers, so a tile is 14 rows x 32 outputs.

inline constexpr isa level = isa::avx512;
/// Zen 5: 8 to 14 rows reach 0.83 to 0.94 of the bandwidth at 16 KiB, 0.55 to 0.65 at 1.
inline constexpr tuning tuned{.one_row = 16384, .one_tile = 16384};
inline constexpr long ridge = 20;
inline constexpr bool four_streams = false;  // slower on Xeons with AMX; not measured on others

struct vec {
    using reg = __m512;
    static constexpr int lanes = 16, most_rows = 14, widened_rows = 6, pair_rows = 6, int8_rows = 6;

    /// Stays in its register: g++ would read it from memory again for each row.
    static void keep(reg& r) { GUILD_CPU_KEEP("+v", r); }
    static reg zero() { return _mm512_setzero_ps(); }
    static reg load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, reg r) { _mm512_storeu_ps(p, r); }
    static reg all(const float* p) { return _mm512_set1_ps(*p); }
    static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
    static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
    /// The second where one is not a number.
    static reg least(reg a, reg b) { return _mm512_maskz_min_ps(0xffff, a, b); }  // the masks: as in `widen`
    static reg most(reg a, reg b) { return _mm512_maskz_max_ps(0xffff, a, b); }
    /// Pairs of bf16: the first of each pair, and the second.
    static void widen(const std::uint16_t* p, reg& first, reg& second) {
        const __m512i both = _mm512_loadu_si512(p);
        first = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, both, 16));  // without a mask g++ 12 warns: its bug 105593
        second = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    }
};
