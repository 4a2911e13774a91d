#pragma once
#include <guild/core/error.hpp>

#include <atomic>
#include <system_error>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace guild::inline v0 {

namespace detail {
/// How many calls of fork() lie between this process and the one that first asked for threads. A child has none of its parent's threads but the
/// one that called fork, and handles of the others must not be used there: their memory is gone, or belongs to new threads.
inline std::atomic<long> forks{0};
/// forks, counted from the first call on. Throws error if the system refuses. Asking for the number later is a load, where getpid() is a system call.
inline long forks_so_far() {
#if defined(__unix__) || defined(__APPLE__)
    static const int code = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
    if (code != 0) raise<error>("guild::thread_pool: the system cannot tell of a fork (", std::generic_category().message(code), ")");
#endif
    return forks.load(std::memory_order_relaxed);
}
}  // namespace detail

}  // namespace guild::inline v0
