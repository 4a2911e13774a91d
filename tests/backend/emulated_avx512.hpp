#pragma once
#include <guild/backend/cpu/order.hpp>
#include <guild/backend/cpu/regions.hpp>

#include <cstring>

// The text of the AVX-512 and AMX kernels on any machine: the intrinsics that it uses, in plain loops by their documented meaning, and the same files
// included over them. The promise of their bits is thus tested where the instructions are missing.

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors as arguments in functions that are compiled for less

namespace emulated {
namespace scalar {
template <class T, class V> void spread(const V& v, T* to) { std::memcpy(to, &v, sizeof v); }
template <class V, class T> V joined(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
/// f(i) for each number of a vector.
template <class V, class T, class F> V each(F f) {
    T t[sizeof(V) / sizeof(T)];
    for (int i = 0; i < static_cast<int>(sizeof(V) / sizeof(T)); ++i) t[i] = f(i);
    return joined<V>(t);
}
template <class T, class V> T at(const V& v, int i) {
    T t[sizeof(V) / sizeof(T)];
    spread(v, t);
    return t[i];
}
inline __m512 fma(__m512 a, __m512 b, __m512 c) {
    return each<__m512, float>([&](int i) { return std::fma(at<float>(a, i), at<float>(b, i), at<float>(c, i)); });
}
inline __m512 add(__m512 a, __m512 b) {
    return each<__m512, float>([&](int i) { return at<float>(a, i) + at<float>(b, i); });
}
inline __m512 min(__m512 a, __m512 b) {
    return each<__m512, float>([&](int i) { return at<float>(a, i) < at<float>(b, i) ? at<float>(a, i) : at<float>(b, i); });
}
inline __m512 max(__m512 a, __m512 b) {
    return each<__m512, float>([&](int i) { return at<float>(a, i) > at<float>(b, i) ? at<float>(a, i) : at<float>(b, i); });
}
inline __m512i slli_epi16(__m512i v, int n) {
    return each<__m512i, std::uint16_t>([&](int i) { return static_cast<std::uint16_t>(at<std::uint16_t>(v, i) << n); });
}
inline __m512i srai_epi16(__m512i v, int n) {
    return each<__m512i, std::int16_t>([&](int i) { return static_cast<std::int16_t>(at<std::int16_t>(v, i) >> n); });
}
inline __m512i madd(__m512i a, __m512i b) {
    return each<__m512i, std::int32_t>([&](int i) {
        return at<std::int16_t>(a, 2 * i) * at<std::int16_t>(b, 2 * i) + at<std::int16_t>(a, 2 * i + 1) * at<std::int16_t>(b, 2 * i + 1);
    });
}
inline __m512i dpbusd(__m512i s, __m512i a, __m512i b) {
    return each<__m512i, std::int32_t>([&](int i) {
        std::int32_t sum = at<std::int32_t>(s, i);
        for (int j = 4 * i; j < 4 * i + 4; ++j) sum += at<std::uint8_t>(a, j) * at<std::int8_t>(b, j);
        return sum;
    });
}
inline float half_of(std::uint16_t bits) { return guild::decode(guild::bf16::from_bits(bits)); }
template <class B> __m512 dpbf16(__m512 s, B a, B b) {
    return each<__m512, float>([&](int i) {
        const auto x = [&](const B& v, int j) { return half_of(at<std::uint16_t>(v, j)); };
        const float odd = guild::cpu::order::flushed_fma(x(a, 2 * i + 1), x(b, 2 * i + 1), at<float>(s, i));
        return guild::cpu::order::flushed_fma(x(a, 2 * i), x(b, 2 * i), odd);
    });
}
struct tiles {
    unsigned char t[8][16][64];
};
inline tiles state;
inline void load(int t, const void* from, long stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(state.t[t][r], static_cast<const char*>(from) + r * stride, 64);
}
inline void store(int t, void* to, long stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(static_cast<char*>(to) + r * stride, state.t[t][r], 64);
}
inline void zero(int t) { std::memset(state.t[t], 0, sizeof state.t[t]); }
template <class T> T number(int t, int r, int i) {
    T x;
    std::memcpy(&x, state.t[t][r] + static_cast<std::size_t>(i) * sizeof(T), sizeof x);
    return x;
}
template <class T, class F> void dot(int c, F f) {
    for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
            const T x = f(m, n, number<T>(c, m, n));
            std::memcpy(state.t[c][m] + static_cast<std::size_t>(n) * sizeof(T), &x, sizeof x);
        }
}
inline void dpbf16ps(int c, int a, int b) {
    namespace order = guild::cpu::order;
    dot<float>(c, [&](int m, int n, float sum) {
        float part[2] = {0, 0};
        for (int k = 0; k < 16; ++k)
            for (int j = 0; j < 2; ++j)
                part[j] =
                    order::flushed_fma(half_of(number<std::uint16_t>(a, m, 2 * k + j)), half_of(number<std::uint16_t>(b, k, 2 * n + j)), part[j]);
        return order::flushed_sum(sum, order::flushed_sum(part[0], part[1]));
    });
}
inline void dpbssd(int c, int a, int b) {
    dot<std::int32_t>(c, [&](int m, int n, std::int32_t sum) {
        for (int k = 0; k < 64; ++k) sum += number<std::int8_t>(a, m, k) * number<std::int8_t>(b, k / 4, 4 * n + k % 4);
        return sum;
    });
}
}  // namespace scalar

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_release
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadd scalar::load
#define _tile_stored scalar::store
#define _tile_zero scalar::zero
#define _tile_release() ((void)0)
#define _tile_dpbf16ps scalar::dpbf16ps
#define _tile_dpbssd scalar::dpbssd

#undef _mm512_slli_epi16
#undef _mm512_srai_epi16
#undef _mm512_maskz_slli_epi32
#define _mm512_setzero_ps() \
    __m512 {}
#define _mm512_setzero_si512() \
    __m512i {}
#define _mm512_loadu_ps(p) scalar::joined<__m512>(p)
#define _mm512_loadu_si512(p) scalar::joined<__m512i>(p)
#define _mm512_storeu_ps(p, v) scalar::spread(v, p)
#define _mm512_storeu_si512(p, v) scalar::spread(v, p)
#define _mm512_set1_ps(x) scalar::each<__m512, float>([&](int) { return x; })
#define _mm512_set1_epi32(x) scalar::each<__m512i, std::int32_t>([&](int) { return x; })
#define _mm512_add_ps scalar::add
#define _mm512_fmadd_ps scalar::fma
#define _mm512_maskz_min_ps(m, a, b) scalar::min(a, b)
#define _mm512_maskz_max_ps(m, a, b) scalar::max(a, b)
#define _mm512_castsi512_ps(v) reinterpret_cast<__m512>(v)
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_maskz_slli_epi32(m, v, n) scalar::each<__m512i, std::uint32_t>([&](int i) { return scalar::at<std::uint32_t>(v, i) << n; })
#define _mm512_slli_epi16 scalar::slli_epi16
#define _mm512_srai_epi16 scalar::srai_epi16
#define _mm512_add_epi32(a, b) \
    scalar::each<__m512i, std::int32_t>([&](int i) { return scalar::at<std::int32_t>(a, i) + scalar::at<std::int32_t>(b, i); })
#define _mm512_madd_epi16 scalar::madd
#define _mm512_dpbusd_epi32 scalar::dpbusd
#define _mm512_dpbf16_ps scalar::dpbf16

#define GUILD_CPU_UNROLL
#define GUILD_CPU_KEEP(where, reg) ((void)(reg))
using namespace guild::cpu;
using guild::cpu::avx2::rows_to_block, guild::cpu::avx2::block_to_rows, guild::cpu::avx2::flush, guild::cpu::avx2::unflush;
namespace avx512 {
using emulated::rows_to_block, emulated::block_to_rows, emulated::flush, emulated::unflush;
#include <guild/backend/cpu/regions/vector_16.inl>
#include <guild/backend/cpu/regions/tile.inl>
#include <guild/backend/cpu/regions/decode.inl>
#include <guild/backend/cpu/regions/activation.inl>
#include <guild/backend/cpu/regions/one_row.inl>
#include <guild/backend/cpu/regions/pairs.inl>
#include <guild/backend/cpu/regions/integer_16.inl>
#include <guild/backend/cpu/regions/integers.inl>
#include <guild/backend/cpu/regions/table.inl>
}  // namespace avx512
namespace avx512_vnni {
using namespace avx512;
#include <guild/backend/cpu/regions/integer_vnni.inl>
#include <guild/backend/cpu/regions/integers.inl>
inline tile_kernels int8_table() { return avx512_vnni::int8_tiles(count_to<avx512::vec::most_rows>::type{}); }
}  // namespace avx512_vnni
namespace avx512_bf16 {
using avx512::columns, avx512::count_to, avx512::counted, avx512::fetch, avx512::flush, avx512::unflush;
using avx512::pair_columns, avx512::pair_row;
#include <guild/backend/cpu/regions/chain.inl>
}  // namespace avx512_bf16
namespace amx {
using avx512::columns, avx512::fetch, avx512::flush, avx512::unflush;
#include <guild/backend/cpu/regions/amx.inl>
}  // namespace amx
}  // namespace emulated
#pragma GCC diagnostic pop
#endif
