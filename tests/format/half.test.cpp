#include <guild/format/half.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using guild::decode, guild::half;

namespace {
constexpr float inf = std::numeric_limits<float>::infinity();
static_assert(half(1.f).bits == 0x3c00 && decode(half(-2.5f)) == -2.5f && half() == half::from_bits(0) && sizeof(half) == 2);
}  // namespace

TEST_CASE("half: every one of them comes back") {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto w = half::from_bits(static_cast<std::uint16_t>(bits));
        const float x = decode(w);
        if (std::isnan(x)) CHECK(std::isnan(decode(half(x))));
        else CHECK(half(x) == w);
        if ((bits & 0x7c00) == 0x7c00) CHECK(std::isnan(x) == ((bits & 0x3ff) != 0));
        else
            CHECK(std::abs(x) ==
                  std::ldexp(bits & 0x7c00 ? 1024 + (bits & 0x3ff) : bits & 0x3ff, std::max(static_cast<int>(bits >> 10 & 31), 1) - 25));
    }
}
TEST_CASE("half: a float becomes the nearest, ties to even, infinity where that is nearest") {
    CHECK(decode(half(1 + 0x1p-11f)) == 1);  // half way: to even
    CHECK(decode(half(1 + 0x3p-11f)) == 1 + 0x1p-9f);
    CHECK(decode(half(1 + 0x1p-11f + 0x1p-20f)) == 1 + 0x1p-10f);
    CHECK(decode(half(65504)) == 65504);
    CHECK(decode(half(std::nextafter(65520.f, 0.f))) == 65504);
    CHECK(decode(half(65520)) == inf);
    CHECK(decode(half(-std::numeric_limits<float>::max())) == -inf);
    CHECK(decode(half(-inf)) == -inf);
    CHECK(decode(half(0x1p-24f)) == 0x1p-24f);
    CHECK(decode(half(0x1p-25f)) == 0);
    CHECK(decode(half(0x3p-25f)) == 0x1p-23f);
    CHECK(decode(half(std::nextafter(0x1p-14f, 0.f))) == 0x1p-14f);
    CHECK(std::signbit(decode(half(-0.f))));
    CHECK(std::isnan(decode(half(std::bit_cast<float>(0x7f800001u)))));
    CHECK(std::isnan(decode(half(std::bit_cast<float>(0xffffffffu)))));
}
