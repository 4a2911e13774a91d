#pragma once
#include <guild/core/finite.hpp>
#include <guild/format/minifloat.hpp>
#include <guild/format/stack.hpp>

#include <algorithm>

namespace guild::inline v0 {

/// IEEE 754 binary16, for storage: 5 bits of exponent, 10 of mantissa.
struct half {
    std::uint16_t bits = 0;

    constexpr half() = default;
    /// Rounds to nearest, ties to even, from 65520 on to infinity; NaN stays NaN.
    constexpr explicit half(float x) {
        const std::uint32_t nearest = (std::min)(detail::minifloat<5, 10>::encode(detail::magnitude_of(x)), 0x7c00u);
        bits = static_cast<std::uint16_t>((is_nan(x) ? 0x7e00u : nearest) | detail::sign_of(x) << 15);
    }
    static constexpr half from_bits(std::uint16_t b) {
        half x;
        x.bits = b;
        return x;
    }
    friend constexpr bool operator==(half, half) = default;
};
/// Exact.
constexpr float decode(half w) {
    const std::uint32_t code = w.bits & 0x7fffu;
    const auto finite = std::bit_cast<std::uint32_t>(detail::minifloat<5, 10>::decode(code));
    // The exponent of infinity and NaN, 31, has become 31 - 15 + 127: 112 below that of a float's.
    return detail::with_sign(std::bit_cast<float>(finite + (code >= 0x7c00u ? 112u << 23 : 0u)), w.bits >> 15);
}

template <> struct format<half> : plain_format<half, float> {};

}  // namespace guild::inline v0
