#include <guild/format/bf16.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

using guild::bf16;
using guild::decode;

namespace {
constexpr float inf = std::numeric_limits<float>::infinity();
static_assert(bf16(1.f).bits == 0x3f80 && decode(bf16(-2.5f)) == -2.5f && bf16() == bf16::from_bits(0) && sizeof(bf16) == 2);
}  // namespace

TEST_CASE("bf16: every one of them comes back") {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto w = bf16::from_bits(static_cast<std::uint16_t>(bits));
        const float x = decode(w);
        if (std::isnan(x)) CHECK(std::isnan(decode(bf16(x))));
        else CHECK(bf16(x) == w);
    }
}
TEST_CASE("bf16: a float becomes the nearest, ties to even, infinity where that is nearest") {
    for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 8191) {  // a prime
        const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        if (std::isnan(x)) continue;
        const auto below = static_cast<std::uint16_t>(bits >> 16), above = static_cast<std::uint16_t>(below + 1);  // in magnitude
        const double down = std::abs(static_cast<double>(x) - static_cast<double>(decode(bf16::from_bits(below))));
        const float next = decode(bf16::from_bits(above));
        const double up =
            std::isinf(next) ? 0x1p128 - std::abs(static_cast<double>(x)) : std::abs(static_cast<double>(next) - static_cast<double>(x));
        const auto expected = std::isinf(x) || down < up || (down == up && below % 2 == 0) ? below : above;
        REQUIRE(bf16(x).bits == expected);
    }
    CHECK(decode(bf16(1 + 0x1p-8f)) == 1);  // half way: to even
    CHECK(decode(bf16(1 + 0x3p-8f)) == 1 + 0x1p-6f);
    CHECK(decode(bf16(1 + 0x1p-8f + 0x1p-20f)) == 1 + 0x1p-7f);
    CHECK(decode(bf16(std::numeric_limits<float>::max())) == inf);
    CHECK(decode(bf16(-inf)) == -inf);
    CHECK(std::signbit(decode(bf16(-0.f))));
    CHECK(std::isnan(decode(bf16(std::bit_cast<float>(0x7f800001u)))));  // not infinity, though its upper bits are
    CHECK(std::isnan(decode(bf16(std::bit_cast<float>(0xffffffffu)))));
}
