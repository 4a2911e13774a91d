#define GUILD_TEST_PRODUCTS_HERE
#include <support/products.hpp>

namespace guild::inline v0::backend::tile {
GUILD_TEST_PRODUCTS(, double)
}  // namespace guild::inline v0::backend::tile
namespace guild::inline v0::cpu {
GUILD_TEST_KERNELS(, generic)
#if defined(__x86_64__)
GUILD_TEST_KERNELS(, avx2)
GUILD_TEST_KERNELS(, avx512)
GUILD_TEST_MORE_KERNELS()
#endif
}  // namespace guild::inline v0::cpu
