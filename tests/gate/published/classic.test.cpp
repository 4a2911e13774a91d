#include <guild/gate/published/classic.hpp>

#include <doctest/doctest.h>
#include <support/gate_weights.hpp>

using namespace guild;
using test::gives;

TEST_CASE("classic_gates: by hand") {
    gives(gshard_gate{}, {5, 7}, {0.6, 0.4});
    gives(switch_gate{}, {5}, {9 / 31.});
}
