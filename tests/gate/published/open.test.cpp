#include <guild/gate/published/open.hpp>

#include <doctest/doctest.h>
#include <support/gate_weights.hpp>

using namespace guild;
using test::gives, test::ids, test::numbers;

TEST_CASE("open_gates: by hand") {
    gives(mixtral_gate{}, {5, 7}, {0.6, 0.4});
    gives(mixtral_gate{}, {5}, {1});
    gives(qwen3_gate{}, {5, 7, 4}, {0.45, 0.3, 0.25});
    gives(qwen2_gate{}, {5, 7}, {9 / 31., 6 / 31.});
    gives(dbrx_gate{}, {5, 7}, {0.6, 0.4});
    gives(llama4_gate{}, {5}, {0.9});
    gives(glm4_gate{}, {5, 7}, {2.25 / (0.9 + 6 / 7.), 2.5 * 6 / 7 / (0.9 + 6 / 7.)});
}
TEST_CASE("open_gates: probabilities that underflow tie, the logits they came from do not") {
    auto late = test::row_of<float>(numbers{200, 0, 1, -5}, 3), early = late;
    qwen3_gate{}.stages().forward(token<float>{}, late);
    mixtral_gate{}.stages().forward(token<float>{}, early);
    CHECK(ids(late.expert, late.expert + 3) == ids{0, 1, 2});
    CHECK(ids(early.expert, early.expert + 3) == ids{0, 2, 1});
}
