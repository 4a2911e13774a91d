#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/order.hpp>
#include <guild/core/random.hpp>
#include <guild/parallel/serial.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "emulated_avx512.hpp"

// Every kernel of every instruction set that this machine has, and the text of those that it has not over emulated instructions, against the
// plain loops of order.hpp, bit for bit: whole packed matrices, so that layout, blocks and edges are met too.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::isa, guild::bf16;

/// A number that is easy to get wrong, or a random one.
float hard(int kind, unsigned long long seed, long i) {
    const double u = guild::uniform(seed, 1, 0, i), v = guild::uniform(seed, 2, 0, i);
    if (kind == 0) return static_cast<float>(2 * u - 1);
    if (kind == 1) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 60) - 30);   // wide exponents
    if (kind == 2) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 20) - 135);  // near underflow, denormal
    const float special[] = {0.f, -0.f, 1.f, -1.f, 0x1p-126f, -0x1p-149f, 0x1.8p-70f, 0x1.01p0f, 0x1.03p0f, 0x1.008p0f, 3e37f, -1e30f};
    return v < 0.5 ? special[static_cast<int>(u * 12)] : static_cast<float>(2 * u - 1);
}
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

/// How a product is computed: by kernels of the machine, or emulated ones.
struct machine {
    std::string name;
    const cpu::kernels* kernels;
    const cpu::bf16_kernels* bf16;
    const cpu::tile_kernels* int8;
};
std::vector<machine> machines() {
    std::vector<machine> all;
    for (int i = 0; i <= static_cast<int>(isa::amx); ++i) {
        const isa level = static_cast<isa>(i);
        if (level <= cpu::detected())
            all.push_back({std::string(cpu::name(level)), cpu::kernels_of(level), &cpu::bf16_kernels_of(level), &cpu::int8_kernels_of(level)});
        else MESSAGE("this machine lacks " << cpu::name(level) << ": its text runs over emulated instructions alone");
    }
#if defined(__x86_64__)
    if (cpu::detected() >= isa::avx2) {  // whose functions the emulation calls
        static const cpu::kernels avx512 = emulated::avx512::values();
        static const cpu::bf16_kernels f = emulated::avx512::bf16_values(), chain = emulated::avx512_bf16::bf16_values(), tiles = [] {
            cpu::bf16_kernels k = chain;
            k.pairs = emulated::amx::tiles<false>(emulated::avx512_bf16::pair_row);
            k.pairs.enter = nullptr, k.pairs.leave = nullptr;
            return k;
        }();
        static const cpu::tile_kernels int8 = emulated::avx512::int8_table<>(), vnni = emulated::avx512_vnni::int8_table(), tiles8 = [] {
            cpu::tile_kernels k = emulated::amx::tiles<true>(emulated::amx::signed_row);
            k.enter = nullptr, k.leave = nullptr;
            return k;
        }();
        all.push_back({"emulated avx512", &avx512, &f, &int8});
        all.push_back({"emulated avx512_vnni, avx512_bf16", &avx512, &chain, &vnni});
        all.push_back({"emulated amx", &avx512, &tiles, &tiles8});
    }
#endif
    return all;
}

/// One group of rows times a packed matrix [N, K]; f(a row, weight(n, k)) is what each output must be.
template <class Format, class Encode, class Expected>
void check(const machine& m, const cpu::strategy& how, int kind, long rows, long N, long K, unsigned long long seed, Encode encode,
           Expected expected) {
    CAPTURE(m.name);
    CAPTURE(kind);
    CAPTURE(rows);
    CAPTURE(N);
    CAPTURE(K);
    std::vector<float> a(static_cast<std::size_t>(rows * K)), c(static_cast<std::size_t>(rows * N));
    std::vector<Format> w(static_cast<std::size_t>(N * K));
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = hard(kind, seed, static_cast<long>(i));
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = encode(hard(kind, seed + 1, static_cast<long>(i)));
    cpu::packed_matrix<Format> packed(how, m.kernels->columns, 1, N, K, 1);
    for (long p = 0; p < packed.shape().panels(); ++p)
        packed.fill(*m.kernels, 0, p, [&](int j) {
            const long n = p * m.kernels->columns + j;
            return n < N ? w.data() + n * K : nullptr;
        });
    bool kept = true;
    for (long n = 0; n < N; ++n)
        for (long k = 0; k < K; ++k) {
            const Format stored = packed(0, n / m.kernels->columns, static_cast<int>(n % m.kernels->columns), k);
            kept = kept && std::memcmp(&stored, &w[static_cast<std::size_t>(n * K + k)], sizeof stored) == 0;
        }
    CHECK(kept);
    const int offset[] = {0, static_cast<int>(rows)};
    cpu::product(*m.kernels, guild::serial{}, guild::groups<float>{1, offset}, {a.data(), rows, K}, packed, {c.data(), rows, N});
    long wrong = 0;
    for (long r = 0; r < rows; ++r)
        for (long n = 0; n < N; ++n) {
            const float right = expected(a.data() + r * K, w.data() + n * K, K), found = c[static_cast<std::size_t>(r * N + n)];
            if (!same(found, right) && wrong++ == 0) {
                CAPTURE(r);
                CAPTURE(n);
                CHECK(found == right);
            }
        }
    CHECK(wrong == 0);
}

/// f(kind, rows, N, K, seed) for pairs of everything: each number of rows, ragged widths, one number.
template <class F> void each_shape(F f) {
    const long widths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 200},
               depths[] = {1, 2, 3, 5, 31, 32, 33, 64, 100, 199, 255, 256, 257, 300, 511, 513, 600, 1025};
    for (long rows = 1; rows <= 40; ++rows)
        f(static_cast<int>(rows % 4), rows, widths[rows * 7 % 18], depths[rows * 5 % 18], static_cast<unsigned long long>(rows));
    for (int i = 0; i < 18; ++i) f(i % 4, 1 + i % 3 * 7, widths[i], depths[(i * 11 + 3) % 18], 100ull + static_cast<unsigned long long>(i));
    f(0, 97, 40, 70, 1000), f(0, 200, 33, 300, 1001), f(3, 0, 5, 5, 1002);
}
const auto as_float = [](const float* w) { return [w](long k) { return w[k]; }; };
const auto as_bf16 = [](const bf16* w) { return [w](long k) { return guild::decode(w[k]); }; };
}  // namespace

TEST_CASE("fp32: every kernel sums in the stated order") {
    for (const machine& m : machines()) {
        if (m.kernels->level == isa::generic) continue;  // the compiler chooses whether it fuses
        each_shape([&](int kind, long rows, long N, long K, unsigned long long seed) {
            check<float>(
                m, {m.kernels->level, arithmetic::fp32, &m.kernels->fp32}, kind, rows, N, K, seed, [](float x) { return x; },
                [](const float* a, const float* w, long n) { return cpu::order::fp32(a, as_float(w), n); });
            check<bf16>(
                m, {m.kernels->level, arithmetic::fp32, &m.kernels->fp32, &m.bf16->widened, m.bf16->decode}, kind, rows, N, K, seed,
                [](float x) { return bf16(x); }, [](const float* a, const bf16* w, long n) { return cpu::order::fp32(a, as_bf16(w), n); });
        });
    }
}

TEST_CASE("bf16: every kernel sums in the order of the tile unit, and vdpbf16ps in its own") {
    for (const machine& m : machines()) {
        if (m.kernels->level == isa::generic) continue;
        each_shape([&](int kind, long rows, long N, long K, unsigned long long seed) {
            check<bf16>(
                m, {m.kernels->level, arithmetic::bf16, &m.bf16->pairs}, kind, rows, N, K, seed, [](float x) { return bf16(x); },
                [](const float* a, const bf16* w, long n) { return cpu::order::bf16(a, as_bf16(w), n); });
            if (m.bf16->chain)
                check<bf16>(
                    m, {m.kernels->level, arithmetic::bf16_chain, &m.bf16->chain}, kind, rows, N, K, seed, [](float x) { return bf16(x); },
                    [](const float* a, const bf16* w, long n) { return cpu::order::bf16_chain(a, as_bf16(w), n); });
        });
    }
}
