#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace guild::inline v0 {

/// Where the products that a thread computes lay out their operands, some hundred KiB: memory that the workspace lends to the thread that calls a
/// layer, else the thread's own stack. So a caller with a small stack needs no more; threads of an executor have stacks of their own.
namespace room {

/// Bytes that are lent to this thread, 64-byte aligned.
struct lent {
    std::byte* at = nullptr;
    std::size_t size = 0;
};
namespace detail {
inline constinit thread_local lent here{};
}

/// Memory of a workspace. It grows and never shrinks; a copy has none.
class memory {
public:
    memory() = default;
    memory(const memory&) {}
    memory(memory&& other) noexcept : data_((std::move)(other.data_)), size_(std::exchange(other.size_, 0)) {}
    memory& operator=(const memory&) { return *this; }
    memory& operator=(memory&& other) noexcept {
        data_ = (std::move)(other.data_), size_ = std::exchange(other.size_, 0);
        return *this;
    }
    lent reserve(std::size_t bytes) {
        if (size_ < bytes) {
            data_.reset(), size_ = 0;
            data_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t(64))));
            size_ = bytes;
        }
        return {data_.get(), size_};
    }

private:
    struct release {
        void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(64)); }
    };
    std::unique_ptr<std::byte, release> data_;
    std::size_t size_ = 0;
};

/// While it lives, this thread works in what is lent to it.
class lend {
public:
    explicit lend(lent l) : before_(detail::here) { detail::here = l; }
    ~lend() { detail::here = before_; }
    lend(const lend&) = delete;

private:
    lent before_;
};

/// f(T&), a T of plain numbers, contents unspecified, while f runs.
template <class T, class F>
#if defined(__GNUC__)
[[gnu::noinline]]
#endif
void with(F f) {
    static_assert(std::is_trivially_default_constructible_v<T> && alignof(T) <= 64 && sizeof(T) % 64 == 0, "whole lines of plain numbers");
    const lent all = detail::here;
#if defined(__GNUC__)
    const bool fits = all.size >= sizeof(T);
    const lend rest(fits ? lent{all.at + sizeof(T), all.size - sizeof(T)} : all);
    f(*::new (fits ? static_cast<void*>(all.at) : __builtin_alloca_with_align(sizeof(T), 512)) T);
#else
    T on_stack;
    f(on_stack);
#endif
}

}  // namespace room

}  // namespace guild::inline v0
