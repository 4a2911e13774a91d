// Four sums of four products as the compiler vectorises them.

struct integer {
    typedef std::int32_t reg __attribute__((vector_size(16)));
    static constexpr int words = 1;
    static constexpr bool offset = false;

    static void left(ints q, char* to) {
        const bytes b = __builtin_convertvector(q, bytes);
        __builtin_memcpy(to, &b, sizeof b);
    }
    struct right {
        reg number[4];
        explicit right(const std::uint32_t* p) {
            const reg w = load(p);
            for (int j = 0; j < 4; ++j) number[j] = w << (24 - 8 * j) >> 24;
        }
    };
    static void keep(reg&) {}
    static reg zero() { return reg{}; }
    static reg load(const std::uint32_t* p) {
        reg r;
        __builtin_memcpy(&r, p, sizeof r);
        return r;
    }
    static void store(std::uint32_t* p, reg r) { __builtin_memcpy(p, &r, sizeof r); }
    static reg sum(reg a, reg b) { return a + b; }
    static reg dot(reg s, const std::uint32_t* a, const right& b) {
        for (int j = 0; j < 4; ++j)
            s += static_cast<std::int32_t>(static_cast<std::int8_t>(static_cast<std::uint32_t>(word(a)) >> (8 * j) & 0xffu)) * b.number[j];
        return s;
    }
};
