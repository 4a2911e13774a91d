#pragma once
#include <support/sanitized.hpp>

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <stdexcept>

namespace test {

/// Bytes of the stack that f takes, of a thread that has so many, and where it takes more dies.
template <class F> long stack_of(std::size_t size, F f) {
    if (GUILD_TEST_SANITIZED) return f(), 0;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* const all = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) != 0) throw std::runtime_error("no memory for a stack");
    auto* const low = static_cast<unsigned char*>(all) + page;
    std::memset(low, 0xa5, size);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, low, size);
    pthread_t thread;
    const auto run = [](void* g) -> void* { return (*static_cast<F*>(g))(), nullptr; };
    if (pthread_create(&thread, &attributes, run, &f) != 0) throw std::runtime_error("no thread");
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    const auto* const lowest = std::find_if(low, low + size, [](unsigned char c) { return c != 0xa5; });
    const long used = static_cast<long>(low + size - lowest);
    munmap(all, size + page);
    return used;
}

}  // namespace test
