#pragma once
#include <atomic>
#include <cstdlib>
#include <new>

/// Counts every allocation of the executable, once: to be included by one file of it. Eigen calls malloc itself, so where the C library
/// lends its malloc by another name that is what is counted, else, and under sanitizers, operator new.
namespace test {
inline std::atomic<long> allocations{0};
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) noexcept {
    ++test::allocations;
    return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
    ++test::allocations;
    return __libc_calloc(count, bytes);
}
void* realloc(void* p, std::size_t bytes) noexcept {
    ++test::allocations;
    return __libc_realloc(p, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
    ++test::allocations;
    return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** p, std::size_t alignment, std::size_t bytes) noexcept {
    ++test::allocations;
    *p = __libc_memalign(alignment, bytes);
    return *p || bytes == 0 ? 0 : 12;  // ENOMEM
}
}
#else
void* operator new(std::size_t bytes) {
    ++test::allocations;
    if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
    throw std::bad_alloc{};
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif
