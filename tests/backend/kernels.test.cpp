#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/order.hpp>
#include <guild/core/random.hpp>
#include <guild/parallel/serial.hpp>

#include <doctest/doctest.h>

#include <bit>
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
    const cpu::decode_kernels* decode;
};
std::vector<machine> machines() {
    std::vector<machine> all;
    for (int i = 0; i <= static_cast<int>(isa::amx); ++i) {
        const isa level = static_cast<isa>(i);
        if (level <= cpu::detected())
            all.push_back({std::string(cpu::name(level)), cpu::kernels_of(level), &cpu::bf16_kernels_of(level), &cpu::int8_kernels_of(level),
                           &cpu::decode_kernels_of(level)});
        else MESSAGE("this machine lacks " << cpu::name(level) << ": its text runs over emulated instructions alone");
    }
#if defined(__x86_64__)
    if (cpu::detected() >= isa::avx2) {  // whose functions the emulation calls
        static const cpu::kernels avx512 = emulated::avx512::values();
        static const cpu::bf16_kernels f = emulated::avx512::bf16_values(), chain = emulated::avx512_bf16::bf16_values(), tiles = [] {
            cpu::bf16_kernels k = chain;
            k.pairs = emulated::amx::tiles<false>(emulated::avx512_bf16::pair_row);
            k.pairs.enter = emulated::flush, k.pairs.leave = emulated::unflush;  // there are no tiles to configure
            return k;
        }();
        static const cpu::tile_kernels int8 = emulated::avx512::int8_table<>(), vnni = emulated::avx512_vnni::int8_table(), tiles8 = [] {
            cpu::tile_kernels k = emulated::amx::tiles<true>(emulated::amx::signed_row);
            k.enter = nullptr, k.leave = nullptr;
            return k;
        }();
        const cpu::decode_kernels* const decode = &emulated::avx512::decode_table<>();
        all.push_back({"emulated avx512", &avx512, &f, &int8, decode});
        all.push_back({"emulated avx512_vnni, avx512_bf16", &avx512, &chain, &vnni, decode});
        all.push_back({"emulated amx", &avx512, &tiles, &tiles8, decode});
    }
#endif
    return all;
}

/// A matrix [N, K] of any codes and scales of a format.
template <class Format> struct matrix {
    typename guild::format<Format>::storage stored;
    typename guild::format<Format>::stack view;
    matrix(int kind, unsigned long long seed, long N, long K) {
        guild::format<Format>::resize(stored, 1, N, K);
        const auto any = [&](std::size_t i) { return guild::uniform(seed, 3, 0, static_cast<long>(i)); };
        if constexpr (guild::has_scales<Format>) {
            using code = typename Format::code;
            for (std::size_t i = 0; i < stored.data.size(); ++i) stored.data[i] = std::bit_cast<code>(static_cast<std::uint8_t>(any(i) * 256));
            for (std::size_t i = 0; i < stored.scale.size(); ++i) {
                if constexpr (requires { stored.scale[i].bits; })
                    stored.scale[i] = {static_cast<std::uint8_t>(kind == 3 ? any(i) * 256 : 100 + any(i) * 50)};
                else stored.scale[i] = hard(kind, seed + 7, static_cast<long>(i));
            }
        } else {
            for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = Format(hard(kind, seed + 1, static_cast<long>(i)));
        }
        view = guild::format<Format>::lend(stored, N, K);
    }
    auto* row(long n) { return const_cast<typename cpu::parts_of<Format>::code*>(view.row(0, n)); }
    auto* scales(long n) {
        if constexpr (guild::has_scales<Format>) return const_cast<typename Format::scale*>(view.scales(0, n));
        else return static_cast<std::byte*>(nullptr);
    }
    bool same_bytes(const matrix& other) const {
        const auto same = [](const auto& a, const auto& b) {
            return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
        };
        if constexpr (guild::has_scales<Format>) return same(stored.data, other.stored.data) && same(stored.scale, other.stored.scale);
        else return same(stored, other.stored);
    }
};

/// One group of rows times a packed matrix [N, K]; expected(a row, weight(k), K) is what an output must be.
template <class Format, class Expected>
void check(const machine& m, const cpu::strategy& how, int kind, long rows, long N, long K, unsigned long long seed, Expected expected) {
    CAPTURE(m.name);
    CAPTURE(kind);
    CAPTURE(rows);
    CAPTURE(N);
    CAPTURE(K);
    std::vector<float> a(static_cast<std::size_t>(rows * K)), c(static_cast<std::size_t>(rows * N));
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = hard(kind, seed, static_cast<long>(i));
    const matrix<Format> w(kind, seed, N, K);
    const int columns = m.kernels->columns;
    cpu::packed_matrix<Format> packed(how, columns, 1, N, K, 1);
    for (long p = 0; p < packed.shape().panels(); ++p)
        packed.fill(
            *m.kernels, 0, p, [&](int j) { return p * columns + j < N ? w.view.row(0, p * columns + j) : nullptr; },
            [&](int j) {
                if constexpr (guild::has_scales<Format>) return w.view.scales(0, p * columns + j);
            });
    auto again = matrix<Format>(kind, seed + 1, N, K);
    for (long p = 0; p < packed.shape().panels(); ++p)
        packed.unpack(
            *m.kernels, 0, p, [&](int j) { return p * columns + j < N ? again.row(p * columns + j) : nullptr; },
            [&](int j) { return p * columns + j < N ? again.scales(p * columns + j) : nullptr; });
    CHECK(again.same_bytes(w));
    const int offset[] = {0, static_cast<int>(rows)};
    cpu::product(*m.kernels, guild::serial{}, guild::groups<float>{1, offset}, {a.data(), rows, K}, packed, {c.data(), rows, N});
    long wrong = 0;
    for (long r = 0; r < rows; ++r)
        for (long n = 0; n < N; ++n) {
            const float right = expected(a.data() + r * K, w.view, n), found = c[static_cast<std::size_t>(r * N + n)];
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

/// By a plain loop, the numbers of w.
template <class Order> auto summed(Order order, long K) {
    return [=](const float* a, const auto& w, long n) {
        return order(
            a, [&](long k) { return w(0, n, k); }, K);
    };
}
}  // namespace

#define ORDER(f) [](const float* a, auto w, long depth) { return cpu::order::f(a, w, depth); }

TEST_CASE("fp32: every kernel sums in the stated order") {
    for (const machine& m : machines()) {
        if (m.kernels->level == isa::generic) continue;  // the compiler chooses whether it fuses
        each_shape([&](int kind, long rows, long N, long K, unsigned long long seed) {
            const isa level = m.kernels->level;
            const cpu::tile_kernels* const fp32 = &m.kernels->fp32;
            const auto expected = summed(ORDER(fp32), K);
            check<float>(m, {level, arithmetic::fp32, fp32}, kind, rows, N, K, seed, expected);
            check<bf16>(m, {level, arithmetic::fp32, fp32, &m.bf16->widened, m.bf16->decode}, kind, rows, N, K, seed, expected);
            const auto decoded = [&]<class Format>(Format, cpu::decode_kernel decode) {
                check<Format>(m, {level, arithmetic::fp32, fp32, nullptr, decode}, kind, rows, N, K, seed, expected);
            };
            switch (seed % 5) {
                case 0: return decoded(guild::half{}, m.decode->half);
                case 1: return decoded(guild::fp8{}, m.decode->fp8);
                case 2: return decoded(guild::int8{}, m.decode->int8);
                case 3: return seed % 2 ? decoded(guild::int4<32>{}, m.decode->int4) : decoded(guild::int4<6>{}, m.decode->int4);
                default: return decoded(guild::mxfp4{}, m.decode->mxfp4);
            }
        });
    }
}

TEST_CASE("bf16: every kernel sums in the order of the tile unit, and vdpbf16ps in its own") {
    for (const machine& m : machines()) {
        if (m.kernels->level == isa::generic) continue;
        each_shape([&](int kind, long rows, long N, long K, unsigned long long seed) {
            check<bf16>(m, {m.kernels->level, arithmetic::bf16, &m.bf16->pairs}, kind, rows, N, K, seed, summed(ORDER(bf16), K));
            if (m.bf16->chain)
                check<bf16>(m, {m.kernels->level, arithmetic::bf16_chain, &m.bf16->chain}, kind, rows, N, K, seed, summed(ORDER(bf16_chain), K));
        });
    }
}

TEST_CASE("int8: sums are exact on every instruction set") {
    for (const machine& m : machines())
        each_shape([&](int kind, long rows, long N, long K, unsigned long long seed) {
            check<guild::int8>(m, {m.kernels->level, arithmetic::int8, m.int8}, kind, rows, N, K, seed, [&](const float* a, const auto& w, long n) {
                float largest = 0;
                for (long k = 0; k < K; ++k) largest = std::max(largest, std::fabs(a[k]));
                const int sum = cpu::order::int8(
                    a, cpu::order::inverse_scale(largest), [&](long k) { return w.row(0, n)[k]; }, K);
                return static_cast<float>(sum) * (largest / 127) * w.scales(0, n)[0];
            });
        });
}

TEST_CASE("an instruction set is asked for by name, at most what the machine has") {
    using cpu::detail::chosen;
    CHECK(chosen(nullptr, isa::avx2) == isa::avx2);
    CHECK(chosen("", isa::amx) == isa::amx);
    CHECK(chosen("avx512", isa::amx) == isa::avx512);
    CHECK_THROWS_WITH_AS(chosen("amx", isa::avx2), "guild::cpu: GUILD_ISA is amx, expected at most what this machine has, avx2",
                         guild::argument_error);
    CHECK_THROWS_WITH_AS(chosen("sse", isa::avx2), "guild::cpu: GUILD_ISA is sse, expected generic, avx2, avx512, avx512_vnni, avx512_bf16 or amx",
                         guild::argument_error);
}
