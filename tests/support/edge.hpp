#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

namespace test {

/// n numbers whose last one, or first one, stands at the edge of the memory that there is: whoever reads or writes beyond it dies.
template <class T> class edge {
public:
    explicit edge(long n, bool last = true) : size_(static_cast<std::size_t>(n)) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), bytes = size_ * sizeof(T), pages = (bytes + page - 1) / page * page;
        length_ = pages + 2 * page;
        void* const all = mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED) throw std::bad_alloc{};
        base_ = static_cast<std::byte*>(all);
        mprotect(base_, page, PROT_NONE);
        mprotect(base_ + page + pages, page, PROT_NONE);
        data_ = reinterpret_cast<T*>(base_ + page + (last ? pages - bytes : 0));
    }
    explicit edge(const std::vector<T>& from, bool last = true) : edge(static_cast<long>(from.size()), last) {
        if (!from.empty()) std::memcpy(data_, from.data(), from.size() * sizeof(T));
    }
    edge(const edge&) = delete;
    ~edge() { munmap(base_, length_); }
    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    std::size_t size_, length_ = 0;
    std::byte* base_ = nullptr;
    T* data_ = nullptr;
};

}  // namespace test
