#include <guild/gate/token.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <type_traits>

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
    const double given[] = {0.125, 0.25, 0.5, 0.625, 0.75, 0};
    const guild::given_draws draws[] = {{.stream = 4, .count = 2, .value = given}};
    const token t{.index = 1, .position = 9, .seed = 3, .draws = draws, .draw_streams = 1}, without{.index = 1, .position = 9, .seed = 3};
    CHECK(t.uniform(4, 0) == 0.5);
    CHECK(t.uniform(4, 1) == 0.625);
    CHECK(t.normal(4, 1) == 0.625);
    CHECK(t.uniform(4, 2) == without.uniform(4, 2));
    CHECK(t.uniform(5, 0) == without.uniform(5, 0));
}

TEST_CASE_TEMPLATE("token: uniform numbers stay below 1, and are otherwise the nearest", S, float, double) {
    const S below = std::nextafter(S(1), S(0));
    // 0.99999999424543307 is a draw that float rounds to 1; so are the numbers of a caller from 1 - 2^-25 on.
    CHECK(guild::uniform(1, 1, 97036, 0) > 1 - 0x1p-25);
    const S drawn = guild::token<S>{.position = 97036, .seed = 1}.uniform(1, 0);
    CHECK(drawn == (std::is_same_v<S, float> ? below : S(guild::uniform(1, 1, 97036, 0))));
    for (const double x : {0., 0x1p-60, 0.3, 1 - 0x1p-23, 1 - 0x1p-24, 1 - 0x1p-25, 1 - 0x1p-26, 1 - 0x1p-53, 1., 7.}) {
        const guild::given_draws draws[] = {{.stream = 4, .count = 1, .value = &x}};
        const guild::token<S> t{.draws = draws, .draw_streams = 1};
        CHECK(t.uniform(4, 0) == std::fmin(S(x), below));
        CHECK(t.normal(4, 0) == S(x));
    }
    for (long i = 0; i < 10000; ++i)
        if (const double u = guild::uniform(1, 1, i, 0); S(u) < 1) CHECK(guild::token<S>{.position = i, .seed = 1}.uniform(1, 0) == S(u));
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
