#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

namespace guild::inline v0 {

/// Memory that is handed out in pieces and taken back all at once. It grows on use and then stays: the same requests made again
/// allocate nothing. A piece stays where it is until `reset`.
class scratch {
public:
    /// n zeros.
    template <class T> std::span<T> zeros(long n) {
        const std::span<T> all = room<T>(n);
        for (T& t : all) t = T{};
        return all;
    }
    /// n numbers, contents unspecified.
    template <class T> std::span<T> room(long n) {
        static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= alignment, "guild::scratch: holds plain numbers only");
        const std::size_t count = static_cast<std::size_t>(n);
        T* const at = static_cast<T*>(take(count * sizeof(T)));
        for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(at + i)) T;
        return {at, count};
    }
    /// Takes every piece back.
    void reset() {
        if (blocks_.size() > 1) {  // what was needed in several blocks fits into one the next time
            std::size_t all = 0;
            for (const block& b : blocks_) all += b.size;
            (blocks_.clear)();
            reserve(all);
        }
        used_ = 0;
    }
    /// Room for `bytes` in one block; nothing may be handed out.
    void reserve(std::size_t bytes) {
        if (!blocks_.empty() && blocks_.back().size >= bytes) return;
        (blocks_.clear)();
        add(bytes);
    }

private:
    static constexpr std::size_t alignment = alignof(std::max_align_t);
    struct block {
        std::unique_ptr<std::byte[]> memory;  // from operator new: aligned for every plain number
        std::size_t size;
    };
    void add(std::size_t bytes) {
        blocks_.push_back({std::make_unique<std::byte[]>(bytes), bytes});
        used_ = 0;
    }
    void* take(std::size_t bytes) {
        bytes = (bytes + alignment - 1) / alignment * alignment;
        if (blocks_.empty() || blocks_.back().size - used_ < bytes) add(bytes < 4096 ? 4096 : bytes);
        std::byte* const at = blocks_.back().memory.get() + used_;
        used_ += bytes;
        return at;
    }
    std::vector<block> blocks_;
    std::size_t used_ = 0;  ///< of the last block
};

}  // namespace guild::inline v0
