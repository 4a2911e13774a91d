// Four floats as the compiler itself vectorises them, for any machine: a tile is 6 rows x 8 outputs. Products and sums are fused only where the
// program is compiled for a machine that fuses them: by default g++ and clang do on aarch64, and on x86-64 with -mfma.

inline constexpr isa level = isa::generic;
inline constexpr tuning tuned{.one_row = 0, .one_tile = 4096};
inline constexpr long ridge = 8;
inline constexpr bool four_streams = true;

struct vec {
    typedef float reg __attribute__((vector_size(16)));
    typedef std::uint32_t bits __attribute__((vector_size(16)));
    static constexpr int lanes = 4, most_rows = 6, widened_rows = 4, pair_rows = 2, int8_rows = 2;

    static void keep(reg&) {}
    static reg zero() { return reg{}; }
    static reg load(const float* p) {
        reg r;
        __builtin_memcpy(&r, p, sizeof r);
        return r;
    }
    static void store(float* p, reg r) { __builtin_memcpy(p, &r, sizeof r); }
    static reg all(const float* p) { return reg{*p, *p, *p, *p}; }
    static reg add(reg a, reg b) { return a + b; }
    static reg fma(reg a, reg b, reg c) {
        GUILD_IN_ORDER
        return a * b + c;
    }
    /// The second where one is not a number.
    static reg least(reg a, reg b) { return a < b ? a : b; }
    static reg most(reg a, reg b) { return a > b ? a : b; }
    /// Pairs of bf16: the first of each pair, and the second.
    static void widen(const std::uint16_t* p, reg& first, reg& second) {
        bits both;
        __builtin_memcpy(&both, p, sizeof both);
        first = reinterpret_cast<reg>(both << 16);
        second = reinterpret_cast<reg>(both & 0xffff0000u);
    }
};

/// 8 words of 32 bits, `at` bytes from the beginning of 8 rows, to 8 rows of a block that lie `line` bytes apart.
inline void rows_to_block(const char* const* rows, long at, char* block, long line) {
    for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j) __builtin_memcpy(block + j * line + 4 * i, rows[i] + at + 4 * j, 4);
}
inline void block_to_rows(const char* block, long line, char* const* rows, long at) {
    for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j) __builtin_memcpy(rows[i] + at + 4 * j, block + j * line + 4 * i, 4);
}
