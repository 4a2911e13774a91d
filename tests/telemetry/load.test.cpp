#include <guild/telemetry/load.hpp>

#include <doctest/doctest.h>

#include <cmath>

using guild::load;

TEST_CASE("load: entropy in bits") {
    CHECK(load{{5, 5, 5, 5}, 20}.entropy() == doctest::Approx(2));
    CHECK(load{{20, 0, 0, 0}, 20}.entropy() == 0);
    CHECK(load{{0, 0}, 0}.entropy() == 0);
    CHECK(load{{1, 3}, 4}.entropy() == doctest::Approx(0.25 * 2 + 0.75 * std::log2(4 / 3.)));
    CHECK(load{{7}, 7}.entropy() == 0);
}
TEST_CASE("load: largest violation") {
    CHECK(load{{5, 5, 5, 5}, 20}.max_violation() == 0);
    CHECK(load{{20, 0, 0, 0}, 20}.max_violation() == 3);
    CHECK(load{{6, 4, 5, 5}, 20}.max_violation() == doctest::Approx(0.2));
    CHECK(load{{0, 0}, 0}.max_violation() == 0);
    CHECK(load{{7}, 7}.max_violation() == 0);
}
TEST_CASE("load: batches add up") {
    load sum;
    sum += load{{1, 2}, 3};
    sum += load{{4, 0}, 4};
    CHECK(sum.count == std::vector<long>{5, 2});
    CHECK(sum.total == 7);
}
