#define GUILD_TEST_PRODUCTS_HERE
#include <support/products.hpp>

namespace guild::inline v0::backend::tile {
GUILD_TEST_PRODUCTS(, float)
GUILD_TEST_PRODUCTS(, double)
}  // namespace guild::inline v0::backend::tile
