#pragma once
#include <guild/core/error.hpp>
#include <guild/core/huge_pages.hpp>

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace guild::inline v0::cpu {

/// `bytes` bytes that own themselves, 64-byte aligned, contents unspecified; from 4 MiB on in huge pages where the system has them, which it does for
/// weights that are read once a call. Throws std::bad_alloc.
class memory {
public:
    memory() = default;
    explicit memory(std::size_t bytes) : size_(bytes) {
        if (bytes == 0) return;
        constexpr std::size_t line = 64;
        const std::size_t page = bytes >= guild::detail::least_huge ? guild::detail::huge_page : line, whole = (bytes + page - 1) / page * page;
        if (whole < bytes) guild::detail::out_of_memory();
        data_.reset(static_cast<std::byte*>(std::aligned_alloc(page, whole)));
        if (!data_) guild::detail::out_of_memory();
        guild::detail::ask_huge_pages(data_.get(), whole);
    }
    std::byte* data() const { return data_.get(); }
    template <class T> T* as() const { return static_cast<T*>(static_cast<void*>(data_.get())); }
    std::size_t size() const { return size_; }

private:
    struct release {
        void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte, release> data_;
    std::size_t size_ = 0;
};

}  // namespace guild::inline v0::cpu
