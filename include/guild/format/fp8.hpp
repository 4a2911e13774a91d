#pragma once
#include <guild/core/finite.hpp>
#include <guild/format/minifloat.hpp>
#include <guild/format/scaled.hpp>

#include <algorithm>

namespace guild::inline v0 {

/// E4M3 of the OCP 8-bit floating point specification 1.0, "e4m3fn" elsewhere: 4 bits of exponent, 3 of mantissa, up to 448; no
/// infinity, and NaN where all bits but the sign are 1.
struct fp8_e4m3 {
    std::uint8_t bits = 0;

    constexpr fp8_e4m3() = default;
    /// Rounds to nearest, ties to even, and saturates: beyond 448, infinities too, it is 448. NaN stays NaN.
    constexpr explicit fp8_e4m3(float x) {
        const std::uint32_t nearest = (std::min)(detail::minifloat<4, 3>::encode(detail::magnitude_of(x)), 0x7eu);
        bits = static_cast<std::uint8_t>((is_nan(x) ? 0x7fu : nearest) | detail::sign_of(x) << 7);
    }
    static constexpr fp8_e4m3 from_bits(std::uint8_t b) {
        fp8_e4m3 x;
        x.bits = b;
        return x;
    }
    friend constexpr bool operator==(fp8_e4m3, fp8_e4m3) = default;
};
/// Exact.
constexpr float decode(fp8_e4m3 w) {
    const std::uint32_t code = w.bits & 0x7fu;
    const auto finite = std::bit_cast<std::uint32_t>(detail::minifloat<4, 3>::decode(code));
    return detail::with_sign(std::bit_cast<float>(finite | (code == 0x7fu ? 0x7fc00000u : 0u)), w.bits >> 7);
}

/// E4M3 with a float for each 128 x 128 block, by which it is multiplied: the checkpoints of DeepSeek-V3 (arXiv:2412.19437, 3.3.2),
/// which call it `weight_scale_inv` [ceil(out / 128), ceil(in / 128)].
struct fp8 {
    using code = fp8_e4m3;
    using scale = float;
    /// Numbers in a code, and the block that shares a scale: 128 by 128.
    static constexpr long per_code = 1, rows = 128, columns = 128;

    static constexpr float decode(const code* row, long c) { return guild::decode(row[c]); }
    static constexpr void encode(float x, code* row, long c) { row[c] = code(x); }
    static constexpr scale scale_of(float largest) { return detail::divisor(largest / 448); }
};
template <> struct format<fp8> : scaled_format<fp8> {};

}  // namespace guild::inline v0
