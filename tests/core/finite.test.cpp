#include <guild/core/finite.hpp>

#include <doctest/doctest.h>

#include <initializer_list>
#include <limits>

TEST_CASE_TEMPLATE("finite: told by bits", S, float, double, long double) {
    using limits = std::numeric_limits<S>;
    for (const S x : {S(0), S(1), limits::min(), limits::max(), limits::denorm_min()})
        for (const S signed_x : {x, -x}) {
            CHECK(guild::is_finite(signed_x));
            CHECK(!guild::is_nan(signed_x));
        }
    for (const S x : {limits::infinity(), -limits::infinity()}) {
        CHECK(!guild::is_finite(x));
        CHECK(!guild::is_nan(x));
    }
    for (const S x : {limits::quiet_NaN(), -limits::quiet_NaN()}) {
        CHECK(!guild::is_finite(x));
        CHECK(guild::is_nan(x));
    }
    static_assert(guild::is_finite(1e300) && !guild::is_finite(std::numeric_limits<double>::infinity()));
    static_assert(guild::is_finite(3) && !guild::is_nan(3));
}
