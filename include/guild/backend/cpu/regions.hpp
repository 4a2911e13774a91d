#pragma once
#include <guild/backend/cpu/table.hpp>
#include <guild/core/host_device.hpp>

#if defined(__x86_64__)
#include <immintrin.h>  // before any region: the intrinsics carry their own targets
#endif

/// The kernel text, compiled once for each instruction set, in a region of that target and a namespace of its own. What stands in a region
/// uses that namespace, intrinsics and builtins alone: an inline function of another library, instantiated there, would be compiled for that
/// target under the name it has everywhere, and the linker keeps one copy.
///
/// The templates table, bf16_table, int8_table and decode_table may be declared `extern template` and instantiated in one file of a program, which
/// then compiles the kernels once.
#if defined(__clang__)
#define GUILD_CPU_UNROLL _Pragma("unroll")
#else
#define GUILD_CPU_UNROLL _Pragma("GCC unroll 16")
#endif

#define GUILD_CPU_KEEP(where, reg) __asm__("" : where(reg))

namespace guild::inline v0::cpu::generic {
#include <guild/backend/cpu/regions/vector_4.inl>
#include <guild/backend/cpu/regions/tile.inl>
#include <guild/backend/cpu/regions/decode.inl>
#include <guild/backend/cpu/regions/activation.inl>
#include <guild/backend/cpu/regions/one_row.inl>
inline constexpr auto flush = nullptr, unflush = nullptr;  // the bits of `generic` are its own anyway: it fuses what the compiler fuses
#include <guild/backend/cpu/regions/pairs.inl>
#include <guild/backend/cpu/regions/integer_4.inl>
#include <guild/backend/cpu/regions/integers.inl>
#include <guild/backend/cpu/regions/table.inl>
}  // namespace guild::inline v0::cpu::generic

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace guild::inline v0::cpu::avx2 {
#include <guild/backend/cpu/regions/vector_8.inl>
#include <guild/backend/cpu/regions/transpose.inl>
#include <guild/backend/cpu/regions/flush.inl>
#include <guild/backend/cpu/regions/tile.inl>
#include <guild/backend/cpu/regions/decode.inl>
#include <guild/backend/cpu/regions/activation.inl>
#include <guild/backend/cpu/regions/one_row.inl>
#include <guild/backend/cpu/regions/pairs.inl>
#include <guild/backend/cpu/regions/integer_8.inl>
#include <guild/backend/cpu/regions/integers.inl>
#include <guild/backend/cpu/regions/table.inl>
}  // namespace guild::inline v0::cpu::avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif
namespace guild::inline v0::cpu::avx512 {
#include <guild/backend/cpu/regions/vector_16.inl>
#include <guild/backend/cpu/regions/transpose.inl>
#include <guild/backend/cpu/regions/flush.inl>
#include <guild/backend/cpu/regions/tile.inl>
#include <guild/backend/cpu/regions/decode.inl>
#include <guild/backend/cpu/regions/activation.inl>
#include <guild/backend/cpu/regions/one_row.inl>
#include <guild/backend/cpu/regions/pairs.inl>
#include <guild/backend/cpu/regions/integer_16.inl>
#include <guild/backend/cpu/regions/integers.inl>
#include <guild/backend/cpu/regions/table.inl>
}  // namespace guild::inline v0::cpu::avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
namespace guild::inline v0::cpu::avx512_vnni {
using namespace avx512;
#include <guild/backend/cpu/regions/integer_vnni.inl>
#include <guild/backend/cpu/regions/integers.inl>

template <class = void> const tile_kernels& int8_table() {
    static constexpr tile_kernels k = avx512_vnni::int8_tiles(count_to<avx512::vec::most_rows>::type{});
    return k;
}
}  // namespace guild::inline v0::cpu::avx512_vnni
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
#endif
namespace guild::inline v0::cpu::avx512_bf16 {
using avx512::columns, avx512::count_to, avx512::counted, avx512::fetch, avx512::flush, avx512::unflush;
using avx512::pair_columns, avx512::pair_row;
#include <guild/backend/cpu/regions/chain.inl>
}  // namespace guild::inline v0::cpu::avx512_bf16
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                                                                     \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,amx-tile,amx-bf16,amx-int8"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,amx-tile,amx-bf16,amx-int8")
#endif
namespace guild::inline v0::cpu::amx {
using avx512::columns, avx512::fetch, avx512::flush, avx512::unflush;
#include <guild/backend/cpu/regions/amx.inl>
}  // namespace guild::inline v0::cpu::amx
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

#undef GUILD_CPU_UNROLL
#undef GUILD_CPU_KEEP
