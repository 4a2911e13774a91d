#pragma once
#include <bit>
#include <cstdint>

namespace guild::inline v0::detail {

constexpr float power_of_two(int n) { return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23); }
constexpr std::uint32_t sign_of(float x) { return std::bit_cast<std::uint32_t>(x) >> 31; }
constexpr float magnitude_of(float x) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0x7fffffffu); }
constexpr float with_sign(float magnitude, std::uint32_t sign) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign << 31); }

/// Magnitudes in E bits of exponent over M of mantissa, with IEEE's bias and subnormals. Every code is a finite number here: which
/// of them stand for infinity and NaN is the format's own. Decoding has no branches: a loop over it vectorises.
template <int E, int M> struct minifloat {
    static constexpr int bias = (1 << (E - 1)) - 1, dropped = 23 - M;
    static constexpr float smallest_normal = power_of_two(1 - bias), smallest = power_of_two(1 - bias - M);

    /// Exact.
    static constexpr float decode(std::uint32_t code) {
        const auto subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(code)) * smallest);
        const std::uint32_t normal = (code << dropped) + (static_cast<std::uint32_t>(127 - bias) << 23), choice = 0u - (code < (1u << M));
        return std::bit_cast<float>((subnormal & choice) | (normal & ~choice));
    }
    /// The nearest, ties to even; past the last code where x >= 0 is too large.
    static constexpr std::uint32_t encode(float x) {
        const auto u = std::bit_cast<std::uint32_t>(x);
        const std::uint32_t normal =
            ((u + (1u << (dropped - 1)) - 1 + ((u >> dropped) & 1u)) >> dropped) - (static_cast<std::uint32_t>(127 - bias) << M);
        constexpr float shift = 0x1p23f * smallest;  // the sum is a whole number of the smallest, rounded
        const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(x + shift) - std::bit_cast<std::uint32_t>(shift);
        return x < smallest_normal ? subnormal : normal;
    }
};

}  // namespace guild::inline v0::detail
