#include <guild/gate/published/research.hpp>

#include <doctest/doctest.h>
#include <support/gate_weights.hpp>

using namespace guild;
using test::gives;

TEST_CASE("research_gates: by hand") {
    gives(moe_plus_plus_first_gate{}, {5, 7, 4}, {9 / 31., 6 / 31., 5 / 31.});
    // nobody has had rows; then expert 5 has had them all, and is held back
    gives(specialised_gate{}, {5, 7, 4}, {0.45, 0.3, 0.25});
    gives(specialised_gate{}, {7, 4, 2}, {6 / 15., 5 / 15., 4 / 15.}, {0, 0, 0, 0, 0, 1, 0, 0});
    gives(specialised_gate{.strength = 0}, {5, 7, 4}, {0.45, 0.3, 0.25}, {0, 0, 0, 0, 0, 1, 0, 0});
}
