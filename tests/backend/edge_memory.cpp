#include <support/sanitized.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// What this program allocates for lines of a cache, packed weights and the memory that products work in, ends where memory does, so that whoever reads
// beyond it dies. A sanitizer sees that by itself, and replaces malloc too.

#if defined(__GLIBC__) && defined(__LP64__) && !GUILD_TEST_SANITIZED
extern "C" {
void __libc_free(void*);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {
constexpr std::size_t line = 64, room = std::size_t{1} << 40;
std::size_t page_size() {
    static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return size;
}
/// Addresses for all of them, of which each has a page for its size, its own, and none.
std::byte* region() {
    static std::byte* const at = [] {
        void* const all = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return all == MAP_FAILED ? nullptr : static_cast<std::byte*>(all);
    }();
    return at;
}
std::atomic<std::size_t> used{0};
bool ours(const void* p) {
    const auto at = reinterpret_cast<std::uintptr_t>(p), first = reinterpret_cast<std::uintptr_t>(region());
    return first != 0 && at - first < room;
}
}  // namespace

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    if (alignment != line || size == 0 || !region()) return __libc_memalign(alignment, size);
    const std::size_t page = page_size(), pages = (size + page - 1) / page * page, at = used.fetch_add(pages + 2 * page);
    if (at + pages + 2 * page > room) return nullptr;
    std::byte* const first = region() + at;
    if (mprotect(first, page + pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
    std::memcpy(first, &pages, sizeof pages);
    return first + page + pages - (size + line - 1) / line * line;
}
extern "C" void free(void* p) noexcept {
    if (!ours(p)) return __libc_free(p);
    const std::size_t page = page_size();
    auto* const at = static_cast<std::byte*>(p);
    std::byte* const first = at - static_cast<std::size_t>(at - region()) % page - page;
    std::size_t pages = 0;
    std::memcpy(&pages, first, sizeof pages);
    madvise(first, page + pages, MADV_DONTNEED);
    mprotect(first, page + pages, PROT_NONE);
}
#endif
