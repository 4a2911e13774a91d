#pragma once
#include <guild/core/error.hpp>

#include <cstddef>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__) && !defined(__ANDROID__)
#include <pthread.h>
#include <sched.h>
#include <cerrno>
#endif

namespace guild::inline v0 {

/// Where the workers of a `thread_pool` run. A processor is one that the system numbers: a hardware thread.
enum class pinning {
    none,           ///< wherever the system puts them
    own_processor,  ///< each on one processor, no two on the same, for good; Linux only
};

namespace detail {
#if defined(__linux__) && !defined(__ANDROID__)
/// The processors that the calling thread may use, ascending. Where the system does not say: 0, 1, ... as many as it has.
inline std::vector<int> processors() {
    std::vector<cpu_set_t> mask(1);  // the kernel wants room for every processor that it could have
    const auto bytes = [&] { return mask.size() * sizeof(cpu_set_t); };
    int code = sched_getaffinity(0, bytes(), mask.data());
    while (code != 0 && errno == EINVAL && mask.size() < 1024) {
        mask.resize(2 * mask.size());
        code = sched_getaffinity(0, bytes(), mask.data());
    }
    std::vector<int> found;
    if (code == 0) {
        for (std::size_t i = 0; i < 8 * bytes(); ++i)
            if (CPU_ISSET_S(i, bytes(), mask.data())) found.push_back(static_cast<int>(i));
    } else {
        found.resize(std::thread::hardware_concurrency());
        std::iota(found.begin(), found.end(), 0);
    }
    return found;
}
/// The processor that the calling thread is on.
inline int current_processor() { return sched_getcpu(); }
/// A set of processors that threads are asked to keep to. Allocates when it is made.
class processor_set {
public:
    processor_set() = default;
    explicit processor_set(const std::vector<int>& all) : mask_(static_cast<std::size_t>(all.empty() ? 0 : all.back()) / CPU_SETSIZE + 1) {
        for (const int p : all) CPU_SET_S(static_cast<std::size_t>(p), bytes(), mask_.data());
    }
    bool has(int p) const { return p >= 0 && CPU_ISSET_S(static_cast<std::size_t>(p), bytes(), mask_.data()); }
    bool empty() const { return CPU_COUNT_S(bytes(), mask_.data()) == 0; }
    void remove(int p) {
        if (p >= 0) CPU_CLR_S(static_cast<std::size_t>(p), bytes(), mask_.data());
    }
    /// Asks; the system may refuse.
    void keep(std::thread& thread) const { pthread_setaffinity_np(thread.native_handle(), bytes(), mask_.data()); }

private:
    std::size_t bytes() const { return mask_.size() * sizeof(cpu_set_t); }
    std::vector<cpu_set_t> mask_;
};
inline void pin(std::thread& thread, int processor) {
    const auto bit = static_cast<std::size_t>(processor);
    std::vector<cpu_set_t> mask(bit / CPU_SETSIZE + 1);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    CPU_SET_S(bit, bytes, mask.data());
    if (const int code = pthread_setaffinity_np(thread.native_handle(), bytes, mask.data()); code != 0)
        raise<error>("guild::thread_pool: the system refused a thread processor ", processor, " (", std::generic_category().message(code), ")");
}
#else
inline std::vector<int> processors() {
    std::vector<int> found(std::thread::hardware_concurrency());
    std::iota(found.begin(), found.end(), 0);
    return found;
}
inline int current_processor() { return -1; }
struct processor_set {
    processor_set() = default;
    explicit processor_set(const std::vector<int>&) {}
    bool has(int) const { return true; }
    bool empty() const { return true; }
    void remove(int) {}
    void keep(std::thread&) const {}
};
inline void pin(std::thread&, int) {
    raise<argument_error>("guild::thread_pool: pinning is own_processor, expected none: threads are pinned on Linux only");
}
#endif
}  // namespace detail

}  // namespace guild::inline v0
