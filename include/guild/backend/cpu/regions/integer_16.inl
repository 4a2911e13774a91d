// Sixteen sums of four products by pmaddwd: numbers 0, 2 and 1, 3 of a word as pairs of 16 bits, which cannot overflow.

struct integer {
    using reg = __m512i;
    static constexpr int words = 2;  ///< a word of activations takes two of its own, (0, 2) and (1, 3)
    static constexpr bool offset = false;

    /// Numbers q0 q1 q2 q3 of a word to the words (q0, q2) and (q1, q3) of 16 bits.
    static void left(ints q, char* to) {
        typedef std::int16_t shorts __attribute__((vector_size(2 * lanes)));
        typedef std::uint64_t longs __attribute__((vector_size(2 * lanes)));
        const longs x = as<longs>(__builtin_convertvector(q, shorts)), middle = longs{} + 0xffff0000u;
        const longs y = (x & 0xffff00000000ffffu) | (x & middle) << 16 | (x >> 16 & middle);
        __builtin_memcpy(to, &y, sizeof y);
    }
    struct right {
        reg even, odd;
        explicit right(const std::uint32_t* p) {
            const reg w = load(p);
            even = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8);
            odd = _mm512_srai_epi16(w, 8);
        }
    };
    /// Added now: g++ would add integers in another order, and spill them.
    static void keep(reg& r) { GUILD_CPU_KEEP("+v", r); }
    static reg zero() { return _mm512_setzero_si512(); }
    static reg load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
    static void store(std::uint32_t* p, reg r) { _mm512_storeu_si512(p, r); }
    static reg sum(reg a, reg b) { return _mm512_add_epi32(a, b); }
    static reg dot(reg s, const std::uint32_t* a, const right& b) {
        const reg a0 = _mm512_set1_epi32(word(a)), a1 = _mm512_set1_epi32(word(a + 1));
        return sum(s, sum(_mm512_madd_epi16(a0, b.even), _mm512_madd_epi16(a1, b.odd)));
    }
};
