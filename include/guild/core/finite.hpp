#pragma once
#include <guild/core/host_device.hpp>

#include <cstdint>
#include <type_traits>

/// What is a number, told by its bits where it has the layout of IEEE 754: comparisons with itself mean nothing to a compiler that has been told
/// that every number is finite (-ffast-math).
namespace guild::inline v0 {

namespace detail {
/// The magnitude's bits less those of infinity: below 0 for what is finite, 0 for infinities, above 0 for NaN.
GUILD_HOST_DEVICE constexpr std::int32_t past_finite(float x) { return (__builtin_bit_cast(std::int32_t, x) & 0x7fffffff) - 0x7f800000; }
GUILD_HOST_DEVICE constexpr std::int64_t past_finite(double x) {
    return (__builtin_bit_cast(std::int64_t, x) & 0x7fffffffffffffff) - 0x7ff0000000000000;
}
template <class R> inline constexpr bool has_bits = std::is_same_v<R, float> || std::is_same_v<R, double>;
}  // namespace detail

/// Neither infinite nor NaN.
template <class R> GUILD_HOST_DEVICE constexpr bool is_finite(const R& x) {
    if constexpr (detail::has_bits<R>) return detail::past_finite(x) < 0;
    else return x - x == R(0);
}
template <class R> GUILD_HOST_DEVICE constexpr bool is_nan(const R& x) {
    if constexpr (detail::has_bits<R>) return detail::past_finite(x) > 0;
    else return x != x;
}

}  // namespace guild::inline v0
