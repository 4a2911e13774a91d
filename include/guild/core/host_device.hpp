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
