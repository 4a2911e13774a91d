#pragma once
#include <guild/core/finite.hpp>

#include <bit>
#include <cstdint>

namespace guild::inline v0 {

/// The upper half of a float, for storage: 8 bits of exponent, 7 of mantissa.
struct bf16 {
    std::uint16_t bits = 0;

    constexpr bf16() = default;
    /// Rounds to nearest, ties to even; NaN stays NaN.
    constexpr explicit bf16(float x) {
        const auto u = std::bit_cast<std::uint32_t>(x);
        bits = static_cast<std::uint16_t>(is_nan(x) ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
    static constexpr bf16 from_bits(std::uint16_t b) {
        bf16 x;
        x.bits = b;
        return x;
    }
    friend constexpr bool operator==(bf16, bf16) = default;
};
/// Exact.
constexpr float decode(bf16 w) { return std::bit_cast<float>(static_cast<std::uint32_t>(w.bits) << 16); }

}  // namespace guild::inline v0
