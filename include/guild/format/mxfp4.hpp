#pragma once
#include <guild/format/minifloat.hpp>
#include <guild/format/scaled.hpp>

#include <algorithm>
#include <limits>

namespace guild::inline v0 {

/// A power of two, 2^(bits - 127); 255 is NaN. E8M0 of the OCP Microscaling formats specification 1.0.
struct e8m0 {
    std::uint8_t bits = 127;
    friend constexpr bool operator==(e8m0, e8m0) = default;
};
/// Exact.
constexpr float decode(e8m0 w) {
    const std::uint32_t normal = std::uint32_t{w.bits} << 23, subnormal = 1u << 22;  // 2^-127
    const auto finite = std::bit_cast<float>(w.bits == 0 ? subnormal : normal);
    return w.bits == 255 ? std::numeric_limits<float>::quiet_NaN() : finite;
}

/// MXFP4 of that specification, the experts of GPT-OSS: E2M1, 0 0.5 1 1.5 2 3 4 6 and their negatives, two in a byte, the even column
/// low, times a power of two for each 32 columns of a row.
struct mxfp4 {
    using code = std::uint8_t;
    using scale = e8m0;
    /// Numbers in a code, and the block that shares a scale: a row by 32 columns.
    static constexpr long per_code = 2, rows = 1, columns = 32;

    static constexpr float decode(const code* row, long c) {
        const std::uint32_t bits = detail::nibble(row, c);
        return detail::with_sign(detail::minifloat<2, 1>::decode(bits & 7u), bits >> 3);
    }
    static constexpr void encode(float x, code* row, long c) {
        detail::set_nibble((std::min)(detail::minifloat<2, 1>::encode(detail::magnitude_of(x)), 7u) | detail::sign_of(x) << 3, row, c);
    }
    /// 2^(floor(log2(largest)) - 2), section 6.3 there: the largest becomes 4 .. 8, and saturates at 6.
    static constexpr scale scale_of(float largest) {
        return {static_cast<std::uint8_t>((std::max)(static_cast<int>(std::bit_cast<std::uint32_t>(largest) >> 23) - 2, 0))};
    }
};
template <> struct format<mxfp4> : scaled_format<mxfp4> {};

}  // namespace guild::inline v0
