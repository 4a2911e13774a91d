#include <guild/balance/bias.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace guild;

namespace {
/// The signs by which the bias of each expert moves.
std::vector<int> signs(const std::vector<long>& load) {
    std::vector<double> state(load.size(), 0.);
    long total = 0;
    for (const long l : load) total += l;
    bias_balance{.rate = 1}.update(load.data(), total, state.data(), static_cast<int>(load.size()));
    return {state.begin(), state.end()};
}
}  // namespace

TEST_CASE("bias_balance: towards the mean by the sign alone, exact at ties") {
    CHECK(signs({3, 3, 3}) == std::vector{0, 0, 0});
    CHECK(signs({0, 0, 0}) == std::vector{0, 0, 0});
    CHECK(signs({4, 2, 3}) == std::vector{-1, 1, 0});
    CHECK(signs({1, 0, 0}) == std::vector{-1, 1, 1});
    CHECK(signs({1, 1, 0}) == std::vector{-1, -1, 1});  // the mean is no integer
    CHECK(signs({100}) == std::vector{0});
    // means that neither float nor double can tell from the load
    const long big = 3'000'000'000'000'000'000;
    CHECK(signs({big, big, big + 1}) == std::vector{1, 1, -1});
    CHECK(signs({big, big, big}) == std::vector{0, 0, 0});
    CHECK(signs({big + 1, big - 1, big}) == std::vector{-1, 1, 0});
}
TEST_CASE_TEMPLATE("bias_balance: the rate, and what was there", R, float, double) {
    const long load[] = {5, 0, 1};
    R state[] = {1, -1, R(0.25)};
    bias_balance{.rate = 0x1p-6}.update(load, 6, state, 3);
    CHECK(state[0] == 1 - R(0x1p-6));
    CHECK(state[1] == -1 + R(0x1p-6));
    CHECK(state[2] == R(0.25) + R(0x1p-6));
    bias_balance{.rate = 0}.update(load, 6, state, 3);
    CHECK(state[0] == 1 - R(0x1p-6));
    no_balance{}.update(load, 6, state, 3);
    CHECK(state[0] == 1 - R(0x1p-6));
    CHECK(bias_balance{}.rate == 1e-3);
    CHECK(bias_balance{}.valid());
    CHECK(!bias_balance{.rate = 1e308 * 10}.valid());
}
TEST_CASE_TEMPLATE("proportional_bias_balance: by the violation in mean loads", R, float, double) {
    const long load[] = {5, 0, 1};
    R state[] = {1, -1, R(0.25)};
    proportional_bias_balance{.rate = 0x1p-6}.update(load, 6, state, 3);  // mean 2: -1.5, 1, 0.5
    CHECK(state[0] == 1 - R(0x1.8p-6));
    CHECK(state[1] == -1 + R(0x1p-6));
    CHECK(state[2] == R(0.25) + R(0x1p-7));
    const long none[] = {0, 0, 0}, even[] = {7, 7, 7};
    const R before[] = {state[0], state[1], state[2]};
    proportional_bias_balance{.rate = 1}.update(none, 0, state, 3);
    proportional_bias_balance{.rate = 1}.update(even, 21, state, 3);
    for (int e = 0; e < 3; ++e) CHECK(state[e] == before[e]);
    // one row more or less than a mean that double cannot tell from the load
    const long big = 2'000'000'000'000'000'000, near[] = {big + 1, big - 1, big};
    R moved[] = {0, 0, 0};
    proportional_bias_balance{.rate = 1e18}.update(near, 3 * big, moved, 3);
    CHECK(moved[0] == static_cast<R>(-1e18 * (3. / 6e18)));
    CHECK(moved[1] == static_cast<R>(1e18 * (3. / 6e18)));
    CHECK(moved[2] == 0);
    CHECK(proportional_bias_balance{}.rate == 1e-3);
    CHECK(!proportional_bias_balance{.rate = 1e308 * 10}.valid());
}
