#pragma once

/// Marks of code that also runs on a device. Host headers include nothing of CUDA.
#ifdef __CUDACC__
#define GUILD_HOST_DEVICE __host__ __device__
#else
#define GUILD_HOST_DEVICE
#endif
#ifdef __CUDA_ARCH__
#define GUILD_UNROLL _Pragma("unroll")
#else
#define GUILD_UNROLL
#endif
/// Before a loop so short that g++ would unroll it before it looks for vectors.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define GUILD_KEEP_LOOP _Pragma("GCC unroll 1")
#else
#define GUILD_KEEP_LOOP
#endif
/// At the beginning of a function whose sums are in the order in which they are written, under -ffast-math too.
#if defined(__clang__)
#define GUILD_IN_ORDER _Pragma("clang fp reassociate(off)")
#else
#define GUILD_IN_ORDER
#endif
