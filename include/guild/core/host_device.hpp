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
