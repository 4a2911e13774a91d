#pragma once
#include <guild/core/host_device.hpp>

#include <bit>
#include <cmath>
#include <cstdint>

namespace guild::inline v0 {

namespace detail {
/// x, where sums and products are not rearranged past it. clang has been told so by GUILD_IN_ORDER; under g++'s -ffast-math the bits pass
/// through an operation that changes nothing, `zero` being 0 for reasons that it does not see: vector code, as with an empty asm it would not be.
inline float in_place(float x, [[maybe_unused]] std::int32_t zero) {
#if defined(__ASSOCIATIVE_MATH__) && !defined(__clang__)
    return std::bit_cast<float>(std::bit_cast<std::int32_t>(x) | zero);
#else
    return x;
#endif
}
}  // namespace detail

/// e^x in float, written so that a loop over it becomes vector code: no branch, no table, no call. At most 1.01 units in the last
/// place from the true value, exact at 0, +infinity above 88.73, 0 below -103.98, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its polynomial; 2^n in two factors, so that denormal results round once.
GUILD_HOST_DEVICE inline float exp(float x) {
#ifdef __CUDA_ARCH__
    return ::expf(x);
#else
    GUILD_IN_ORDER
    constexpr float to_integer = 12582912.f;  // 1.5 2^23: adding it leaves the rounded integer in the low bits
    float c = x < -104.f ? -104.f : x;
    c = c > 89.f ? 89.f : c;
    const float shifted = c * 1.44269504088896341f + to_integer;
    const std::int32_t k = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - 0x4b400000u), half = k >> 1;
    const std::int32_t zero = (k + 256) >> 10;  // |k| <= 151
    const float n = detail::in_place(shifted, zero) - to_integer;
    const float r = detail::in_place(c - n * 0.693359375f, zero) + n * 2.12194440054690583e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r * r + r) + 1.f;
    const float low = std::bit_cast<float>(static_cast<std::uint32_t>(half + 127) << 23);
    const float high = std::bit_cast<float>(static_cast<std::uint32_t>(k - half + 127) << 23);
    return detail::in_place(p * low, zero) * high;
#endif
}
inline GUILD_HOST_DEVICE double exp(double x) { return std::exp(x); }

}  // namespace guild::inline v0
