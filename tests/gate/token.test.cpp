#include <guild/gate/token.hpp>

#include <doctest/doctest.h>

namespace {
using token = guild::token<double>;
}

TEST_CASE("token: draws depend on seed, stream, position and number, not on the row") {
    const token one{.index = 0, .position = 7, .seed = 3}, moved{.index = 5, .position = 7, .seed = 3}, next{.index = 0, .position = 8, .seed = 3};
    for (int i = 0; i < 20; ++i) {
        const double u = one.uniform(2, i);
        CHECK((u >= 0 && u < 1));
        CHECK(moved.uniform(2, i) == u);
        CHECK(moved.normal(2, i) == one.normal(2, i));
        CHECK(next.uniform(2, i) != u);
        CHECK(one.uniform(1, i) != u);
        CHECK(token{.position = 7, .seed = 4}.uniform(2, i) != u);
    }
}

TEST_CASE("token: given draws are taken by row, as far as they go, in their stream alone") {
    const double given[] = {10, 11, 20, 21, 30, 31};
    const guild::given_draws draws[] = {{.stream = 4, .count = 2, .value = given}};
    const token t{.index = 1, .position = 9, .seed = 3, .draws = draws, .draw_streams = 1}, without{.index = 1, .position = 9, .seed = 3};
    CHECK(t.uniform(4, 0) == 20);
    CHECK(t.uniform(4, 1) == 21);
    CHECK(t.normal(4, 1) == 21);
    CHECK(t.uniform(4, 2) == without.uniform(4, 2));
    CHECK(t.uniform(5, 0) == without.uniform(5, 0));
}

TEST_CASE("crowd: who is present, and in which sequence") {
    const bool padding[] = {false, true, false, false, true};
    const int sequence[] = {0, 2, 2, 5};
    const guild::batch side{.padding = padding, .sequence = sequence};
    const guild::batch nothing{};
    guild::crowd<float> c{5, 4, 2, nullptr, nullptr, nullptr, &side, nullptr, nullptr};
    CHECK(c.present() == 3);
    CHECK(c.present(1, 3) == 1);
    CHECK(c.present(3, 3) == 0);
    const long expected[] = {0, 0, 2, 2, 2};  // the second one is empty
    for (long t = 0; t < 5; ++t) CHECK(c.sequence_of(t) == expected[t]);
    c.side = &nothing;
    CHECK(c.present() == 5);
    CHECK(c.sequence_of(4) == 0);
}
