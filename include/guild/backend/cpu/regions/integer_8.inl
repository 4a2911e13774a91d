// Eight sums of four products by pmaddubsw, exact: the weight's magnitude times the activation with the weight's sign, of which two fit in 16 bits,
// 2 x 128 x 127.

struct integer {
    using reg = __m256i;
    static constexpr int words = 1;
    static constexpr bool offset = false;

    static void left(ints q, char* to) {
        const bytes b = __builtin_convertvector(q, bytes);
        __builtin_memcpy(to, &b, sizeof b);
    }
    struct right {
        reg weight, magnitude;
        explicit right(const std::uint32_t* p) : weight(load(p)), magnitude(_mm256_abs_epi8(weight)) {}
    };
    /// Added now: g++ would add integers in another order, and spill them.
    static void keep(reg& r) { GUILD_CPU_KEEP("+x", r); }
    static reg zero() { return _mm256_setzero_si256(); }
    static reg load(const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p)); }
    static void store(std::uint32_t* p, reg r) { _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), r); }
    static reg sum(reg a, reg b) { return _mm256_add_epi32(a, b); }
    static reg dot(reg s, const std::uint32_t* a, const right& b) {
        const reg pairs = _mm256_maddubs_epi16(b.magnitude, _mm256_sign_epi8(_mm256_set1_epi32(word(a)), b.weight));
        return sum(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};
