#include <guild/balance/load_average.hpp>
#include <guild/gate/published/research.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace guild;

TEST_CASE("load_penalty: strength times (share over capacity) to the sharpness, for the ranking alone") {
    // six experts; capacity 1.5: a quarter of the rows fills one
    const std::vector<double> score{0.3, 0.1, 0.25, 0.2, 0.05, 0.1}, share{0.25, 0, 0.125, 0.5, -0.1, 0.0625};
    auto r = test::row_of<double>(score, 3);
    const load_penalty penalty{0.5, 2, 1.5};
    penalty.forward(token<double>{.state = share.data()}, r);
    const double expected[] = {-0.5, 0, -0.125, -2, 0, -0.03125};
    for (int e = 0; e < 6; ++e) {
        CHECK(std::abs(r.bias[e] - expected[e]) < 1e-15);
        CHECK(r.score[e] == score[static_cast<std::size_t>(e)]);
    }
    top_k{}.forward(token<double>{}, r);
    CHECK(r.expert[0] == 2);  // 0.125
    CHECK(r.expert[1] == 1);  // 0.1
    CHECK(r.expert[2] == 5);  // 0.069
    CHECK(r.weight[0] == 0.25);
    // nothing of it for no load; and it adds to what the ranking has
    auto fresh = test::row_of<float>(score, 3);
    fresh.bias[1] = 2;
    const std::vector<float> none(6);
    penalty.forward(token<float>{.state = none.data()}, fresh);
    for (int e = 0; e < 6; ++e) CHECK(fresh.bias[e] == (e == 1 ? 2 : 0));
}
TEST_CASE("load_penalty: rises with the share, the steeper the sharper") {
    const auto at = [](double share, double sharpness) {
        auto r = test::row_of<double>(std::vector<double>(4), 1);
        const std::vector<double> state(4, share);
        load_penalty{3, sharpness, 2}.forward(token<double>{.state = state.data()}, r);
        return -r.bias[2];
    };
    for (const double sharpness : {0.5, 1., 4., 12.}) {
        CHECK(at(0.5, sharpness) == 3);  // at capacity
        for (int i = 1; i < 20; ++i) CHECK(at(i * 0.05, sharpness) > at((i - 1) * 0.05, sharpness));
    }
    CHECK(at(0.4, 12) < at(0.4, 4));
    CHECK(at(0.6, 12) > at(0.6, 4));
    CHECK(load_penalty{}.fits(4, 2));
    CHECK(!load_penalty{-1}.fits(4, 2));
    CHECK(!load_penalty{1, 0}.fits(4, 2));
    CHECK(!load_penalty{1, 4, 0}.fits(4, 2));
    CHECK(!load_penalty{std::numeric_limits<double>::infinity()}.fits(4, 2));
}
TEST_CASE_TEMPLATE("load_penalty: numbers as large as there are hold nobody back for nothing, and no rank is NaN", R, float, double) {
    constexpr double most = 1e300;
    const std::vector<R> share{0, R(0.1), R(0.9), 1};
    const auto bias = [&](const load_penalty& p) {
        CHECK(p.fits(4, 1));
        auto r = test::row_of<R>(std::vector<double>(4), 1);
        p.forward(token<R>{.state = share.data()}, r);
        for (int e = 0; e < 4; ++e) CHECK(!std::isnan(r.bias[e]));
        CHECK(r.bias[0] == 0);
        return std::vector<R>(r.bias.part, r.bias.part + 4);
    };
    const std::vector<R> nobody(4);
    CHECK(bias({1, 4, most}) == nobody);     // a capacity without a limit
    CHECK(bias({0, most, 1.25}) == nobody);  // no strength
    CHECK(bias({0, 4, 1 / most}) == nobody);
    const auto wall = bias({most, most, 2});  // nothing below capacity, a wall above
    CHECK(wall[1] == 0);
    CHECK(std::isinf(wall[2]));
    CHECK(std::isinf(wall[3]));
    CHECK(std::isinf(bias({1, 4, 1 / most})[1]));
}
TEST_CASE_TEMPLATE("load_average: a running mean of shares", R, float, double) {
    R state[] = {0, R(0.5), R(0.25)};
    const long load[] = {6, 0, 2}, none[] = {0, 0, 0};
    load_average{.decay = 0.75}.update(load, 8, state, 3);
    CHECK(state[0] == R(0.1875));
    CHECK(state[1] == R(0.375));
    CHECK(state[2] == R(0.25));
    load_average{.decay = 0.75}.update(none, 0, state, 3);
    CHECK(state[0] == R(0.1875));
    load_average{.decay = 1}.update(load, 8, state, 3);
    CHECK(state[1] == R(0.375));
    load_average{.decay = 0}.update(load, 8, state, 3);
    CHECK(state[0] == R(0.75));
    CHECK(state[1] == 0);
    CHECK(load_average{}.valid());
    CHECK(!load_average{.decay = 1.5}.valid());
    CHECK(!load_average{.decay = std::numeric_limits<double>::quiet_NaN()}.valid());
}
