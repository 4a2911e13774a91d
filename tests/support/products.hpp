#pragma once
#include <guild/guild.hpp>

/// Matrix products are compiled once, in products.cpp, and not again in every test, where they would cost seconds: Eigen's in double, and the
/// kernels of backend/cpu in float.
#define GUILD_TEST_PRODUCTS(prefix, S)                                                                                                       \
    prefix template void gemm<S, order::row_major, order::column_major>(cut, long, long, long, const S*, long, const S*, long, S*, long);    \
    prefix template void gemm<S, order::column_major, order::column_major>(cut, long, long, long, const S*, long, const S*, long, S*, long); \
    prefix template void gemm<S, order::column_major, order::row_major>(cut, long, long, long, const S*, long, const S*, long, S*, long);
#define GUILD_TEST_KERNELS(prefix, region)                          \
    prefix template const kernels& region::table<void>();           \
    prefix template const bf16_kernels& region::bf16_table<void>(); \
    prefix template const tile_kernels& region::int8_table<void>(); \
    prefix template const decode_kernels& region::decode_table<void>();
#define GUILD_TEST_MORE_KERNELS(prefix)                                  \
    prefix template const tile_kernels& avx512_vnni::int8_table<void>(); \
    prefix template const bf16_kernels& avx512_bf16::bf16_table<void>(); \
    prefix template const kernels& amx::table<void>();                   \
    prefix template const bf16_kernels& amx::bf16_table<void>();         \
    prefix template const tile_kernels& amx::int8_table<void>();

#ifndef GUILD_TEST_PRODUCTS_HERE
namespace guild::inline v0::backend::tile {
GUILD_TEST_PRODUCTS(extern, double)
}  // namespace guild::inline v0::backend::tile
namespace guild::inline v0::cpu {
GUILD_TEST_KERNELS(extern, generic)
#if defined(__x86_64__)
GUILD_TEST_KERNELS(extern, avx2)
GUILD_TEST_KERNELS(extern, avx512)
GUILD_TEST_MORE_KERNELS(extern)
#endif
}  // namespace guild::inline v0::cpu
#endif
