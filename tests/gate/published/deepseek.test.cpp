#include <guild/gate/published/deepseek.hpp>

#include <doctest/doctest.h>
#include <support/gate_weights.hpp>

#include <cmath>

using namespace guild;
using test::gives, test::numbers;

TEST_CASE("deepseek_gates: by hand") {
    gives(deepseek_moe_gate{}, {5, 7, 4}, {9 / 31., 6 / 31., 5 / 31.});
    gives(deepseek_moe_gate{}, {5, 7, 4, 2, 0, 1, 6, 3}, {9 / 31., 6 / 31., 5 / 31., 4 / 31., 3 / 31., 2 / 31., 1.5 / 31., 0.5 / 31.});
    gives(deepseek_v2_lite_gate{}, {5, 7}, {9 / 31., 6 / 31.});
    gives(deepseek_v2_lite_gate{.scale = 1.5}, {5, 7}, {13.5 / 31., 9 / 31.});
}
TEST_CASE("deepseek_gates: DeepSeek-V2 keeps the groups with the best expert, and scales without normalising") {
    // best of the groups of two: 3 4 9 6; by their sums, 5 4.5 14 7.5, the first would come before the second
    gives(deepseek_v2_gate{.groups = 4, .keep = 2, .scale = 16}, {5, 7, 4, 6}, {144 / 31., 96 / 31., 80 / 31., 24 / 31.});
    gives(deepseek_v2_gate{.groups = 4, .keep = 3, .scale = 1}, {5, 7, 4, 2}, {9 / 31., 6 / 31., 5 / 31., 4 / 31.});
    gives(deepseek_v2_gate{.groups = 2, .keep = 1, .scale = 1}, {5, 7}, {9 / 31., 6 / 31.});
    gives(deepseek_v2_gate{.groups = 8, .keep = 8, .scale = 1}, {5, 7}, {9 / 31., 6 / 31.});
}
TEST_CASE("deepseek_gates: DeepSeek-V3 ranks by sigmoid plus bias, keeps groups by their two best, normalises, scales") {
    // sigmoids .75 .667 .8 .333 .833 .9 .6 .857; sums of the groups of two 1.417 1.133 1.733 1.457
    const double a = 0.9 + 5 / 6. + 6 / 7.;
    gives(deepseek_v3_gate{.groups = 4, .keep = 2, .scale = 2.5}, {5, 7, 4}, {2.25 / a, 2.5 * 6 / 7 / a, 2.5 * 5 / 6 / a});
    // the bias lifts group 0 above all others, but its experts' weights hold none of it
    const double b = 0.75 + 2 / 3. + 0.9;
    gives(deepseek_v3_gate{.groups = 4, .keep = 2, .scale = 2.5}, {0, 1, 5}, {1.875 / b, 5 / 3. / b, 2.25 / b}, {0.5, 0.45, 0, 0, 0, 0, 0, 0});
    // negative ranking scores: what is left out is below them, not 0
    gives(deepseek_v3_gate{.groups = 4, .keep = 1, .scale = 1}, {5, 4}, {0.9 / (0.9 + 5 / 6.), 5 / 6. / (0.9 + 5 / 6.)}, numbers(8, -2));
    // one group: nothing is limited
    gives(deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}, {5, 7}, {0.9 / (0.9 + 6 / 7.), 6 / 7. / (0.9 + 6 / 7.)});
    gives(deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}, {1}, {1}, {0, 12, 0, 0, 0, 0, 0, 0});
}
TEST_CASE("deepseek_gates: the numbers of the published models are the defaults") {
    CHECK(deepseek_v2_gate{}.stages().fits(160, 6));
    CHECK(deepseek_v3_gate{}.stages().fits(256, 8));
    CHECK(deepseek_v3_gate{}.stages().state(256) == 256);
    CHECK(deepseek_v3_gate{}.groups == 8);
    CHECK(deepseek_v3_gate{}.keep == 4);
    CHECK(deepseek_v3_gate{}.scale == 2.5);
    CHECK(deepseek_v2_gate{}.keep == 3);
    CHECK(deepseek_v2_gate{}.scale == 16);
    CHECK(deepseek_moe_gate{}.stages().state(64) == 0);
}
TEST_CASE("deepseek_gates: tiny scores are not lost beside a large bias") {
    // all sigmoids near 1e-8, ranked by a bias of 12: the weights are those of the sigmoids
    auto r = test::row_of<float>(numbers{-18.4, -18.5, -18.3, -18.6}, 2);
    const float bias[] = {12, 12.5f, 12, 12};
    deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}.stages().forward(token<float>{.state = bias}, r);
    const double w[] = {std::exp(-18.5), std::exp(-18.4)};
    CHECK(r.expert[0] == 1);
    CHECK(r.expert[1] == 0);
    CHECK(r.weight[0] == doctest::Approx(w[0] / (w[0] + w[1])).epsilon(1e-5));
    CHECK(r.weight[1] == doctest::Approx(w[1] / (w[0] + w[1])).epsilon(1e-5));
}
