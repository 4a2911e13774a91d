#pragma once
#include <guild/guild.hpp>

/// Eigen's products are compiled once, in products.cpp, and not again in every test: each would cost seconds.
namespace guild::inline v0::backend::tile {

#define GUILD_TEST_PRODUCTS(prefix, S)                                                                                                       \
    prefix template void gemm<S, order::row_major, order::column_major>(cut, long, long, long, const S*, long, const S*, long, S*, long);    \
    prefix template void gemm<S, order::column_major, order::column_major>(cut, long, long, long, const S*, long, const S*, long, S*, long); \
    prefix template void gemm<S, order::column_major, order::row_major>(cut, long, long, long, const S*, long, const S*, long, S*, long);

#ifndef GUILD_TEST_PRODUCTS_HERE
GUILD_TEST_PRODUCTS(extern, float)
GUILD_TEST_PRODUCTS(extern, double)
#endif

}  // namespace guild::inline v0::backend::tile
