#pragma once
#include <guild/parallel/thread_pool.hpp>

#include <map>

namespace test {

/// The numbers of threads by which no bit may differ.
inline constexpr int thread_counts[] = {1, 2, 3, 4, 7, 8, 16};

/// A pool of so many threads, started once.
inline const guild::thread_pool& pool_of(int threads) {
    static std::map<int, guild::thread_pool> pools;
    return pools.try_emplace(threads, threads).first->second;
}

}  // namespace test
