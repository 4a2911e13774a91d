#pragma once
#include <guild/backend/cpu/table.hpp>
#include <guild/format/bf16.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

/// The orders of summation that `arithmetic` promises, in plain loops: what every kernel is tested against, bit for bit. `sum` is what is added to.
namespace guild::inline v0::cpu::order {

/// sum of a[k] w(k): blocks of 256, each a chain of fused multiply-adds from zero.
template <class W> float fp32(const float* a, W w, long K, float sum = -0.f) {
    for (long first = 0; first < K; first += depth_block) {
        float chain = 0;
        for (long k = first; k < (std::min)(K, first + depth_block); ++k) chain = std::fma(a[k], w(k), chain);
        sum = sum + chain;
    }
    return sum;
}

/// Denormal operands are zeros of their sign, and so is a result that is denormal after it was rounded to 24 bits.
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.f, x) : x; }
inline float flushed(double exact, float rounded) { return std::fabs(exact) < 0x1p-126 - 0x1p-151 ? std::copysign(0.f, rounded) : rounded; }
inline float flushed_fma(float x, float y, float z) {
    const float a = flushed(x), b = flushed(y), c = flushed(z);
    return flushed(std::fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c)), std::fma(a, b, c));
}
inline float flushed_sum(float x, float y) {
    const float a = flushed(x), b = flushed(y);
    return flushed(static_cast<double>(a) + static_cast<double>(b), a + b);
}
inline float rounded(float x) { return decode(guild::bf16(x)); }

/// The order of tdpbf16ps: of 32, the last ones filled up by zeros, the even and the odd products apart.
template <class W> float bf16(const float* a, W w, long K, float sum = 0.f) {
    for (long first = 0; first < K; first += 32) {
        float even = 0, odd = 0;
        for (long k = first; k < first + 32; ++k) {
            float& chain = k % 2 == 0 ? even : odd;
            chain = flushed_fma(k < K ? rounded(a[k]) : 0.f, k < K ? w(k) : 0.f, chain);
        }
        sum = flushed_sum(sum, flushed_sum(even, odd));
    }
    return sum;
}
/// The order of vdpbf16ps, in blocks of 512: of each pair the odd product first.
template <class W> float bf16_chain(const float* a, W w, long K, float sum = -0.f) {
    for (long first = 0; first < K; first += 512) {
        float chain = 0;
        for (long k = first; k < (std::min)(K, first + 512); k += 2) {
            const bool pair = k + 1 < K;
            chain = flushed_fma(pair ? rounded(a[k + 1]) : 0.f, pair ? w(k + 1) : 0.f, chain);
            chain = flushed_fma(rounded(a[k]), w(k), chain);
        }
        sum = flushed_sum(sum, chain);
    }
    return sum;
}

/// The scale of a row whose largest magnitude is `largest`: NaN, and with it all its sums, if that is not finite.
inline float scale(float largest) { return std::bit_cast<std::uint32_t>(largest) < 0x7f800000u ? largest / 127 : std::bit_cast<float>(0x7fc00000u); }
/// A number by 1 / scale, to nearest, ties to even, within [-127, 127]; not a number: -127.
inline int quantised(float x, float by) {
    const float q = x * by;
    return static_cast<int>(std::nearbyint(q > -127.f ? (q < 127.f ? q : 127.f) : -127.f));
}
/// 1 / scale of a row whose largest magnitude is `largest`; 0 below 2^-119, near where it is infinite: such a row counts as zeros.
inline float inverse_scale(float largest) { return largest >= 0x1p-119f ? 127 / largest : 0; }
/// Exact, w(k) an int8. The result is to be multiplied by the scales of row and output.
template <class W> int int8(const float* a, float by, W w, long K) {
    int sum = 0;
    for (long k = 0; k < K; ++k) sum += quantised(a[k], by) * static_cast<int>(w(k));
    return sum;
}

}  // namespace guild::inline v0::cpu::order
