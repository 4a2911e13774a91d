#pragma once
#include <support/draws.hpp>

#include <doctest/doctest.h>

namespace property {

using test::draws, test::first_seed;

/// body(draws) for 1000 seeds in a row, 200 where tests take few. A failure shows the seed of its case: given as GUILD_TEST_SEED, that case is the
/// first.
template <class F> void for_cases(F body) {
    for (int i = 0; i < (test::few ? 200 : 1000); ++i) {
        const unsigned long long seed = first_seed() + static_cast<unsigned long long>(i);
        CAPTURE(seed);
        draws d(seed);
        body(d);
    }
}

}  // namespace property
