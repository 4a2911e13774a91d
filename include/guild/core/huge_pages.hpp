#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace guild::inline v0::detail {

/// From so many bytes on huge pages are asked for.
inline constexpr std::size_t huge_page = std::size_t(2) << 20, least_huge = 2 * huge_page;

/// A wish, for memory that nobody has written yet: its whole huge pages are given at once instead of in pieces of 4 KiB. Without it everything
/// works, slower.
inline void ask_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    if (bytes < least_huge) return;
    const auto first = reinterpret_cast<std::uintptr_t>(data), skipped = (huge_page - first % huge_page) % huge_page;
    madvise(static_cast<std::byte*>(data) + skipped, (bytes - skipped) / huge_page * huge_page, MADV_HUGEPAGE);
#endif
}
/// v.resize(n), what is new in huge pages.
template <class T> void resize_huge(std::vector<T>& v, std::size_t n) {
    if (n > v.capacity()) {
        v.reserve(n);
        ask_huge_pages(v.data(), n * sizeof(T));
    }
    v.resize(n);
}

}  // namespace guild::inline v0::detail
