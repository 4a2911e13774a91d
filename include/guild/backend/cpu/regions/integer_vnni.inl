// Sixteen sums of four products by vpdpbusd, whose left numbers are unsigned: activations + 128, so sums hold 128 times the weights' sum too many.

struct integer {
    using reg = __m512i;
    static constexpr int words = 1;
    static constexpr bool offset = true;

    static void left(ints q, char* to) {
        const bytes b = __builtin_convertvector(q + 128, bytes);
        __builtin_memcpy(to, &b, sizeof b);
    }
    struct right {
        reg w;
        explicit right(const std::uint32_t* p) : w(load(p)) {}
    };
    /// Added now: g++ would add integers in another order, and spill them.
    static void keep(reg& r) { GUILD_CPU_KEEP("+v", r); }
    static reg zero() { return _mm512_setzero_si512(); }
    static reg load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
    static void store(std::uint32_t* p, reg r) { _mm512_storeu_si512(p, r); }
    static reg sum(reg a, reg b) { return _mm512_add_epi32(a, b); }
    static reg dot(reg s, const std::uint32_t* a, const right& b) { return _mm512_dpbusd_epi32(s, _mm512_set1_epi32(word(a)), b.w); }
};
