#include <guild/core/rank.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

using namespace guild;

namespace {
constexpr float no_number = std::numeric_limits<float>::quiet_NaN(), inf = infinity<float>, tiny = std::numeric_limits<float>::denorm_min();
const std::vector<float> keys{no_number, -no_number, inf, -inf, 0.f, -0.f, tiny, -tiny, 1.f, 1.f, -3.f, 3.4e38f, -3.4e38f};
}  // namespace

TEST_CASE_TEMPLATE("rank: one strict total order over any keys", R, float, double) {
    std::vector<rank<R>> all;
    for (const float k : keys) all.push_back(rank<R>::of(k, static_cast<int>(all.size())));
    all.push_back(rank<R>::worst());
    for (const auto& a : all) {
        CHECK(!(a < a));
        for (const auto& b : all) {
            if (a.index != b.index) CHECK((a < b) != (b < a));
            for (const auto& c : all)
                if (a < b && b < c) CHECK(a < c);
        }
        if (a.index != rank<R>::worst().index) CHECK(a < rank<R>::worst());
    }
    CHECK(rank<R>::of(2, 7) < rank<R>::of(1, 0));
    CHECK(rank<R>::of(1, 0) < rank<R>::of(1, 7));
    CHECK(rank<R>::of(-0.f, 0) < rank<R>::of(0.f, 1));
    CHECK(rank<R>::of(-inf, 0) < rank<R>::of(no_number, 1));
    CHECK(rank<R>::of(no_number, 0) < rank<R>::of(-inf, 1));
    CHECK(rank<R>::of(no_number, 3).key == -infinity<R>);
}
TEST_CASE("rank: insert keeps the best in order") {
    for (int count = 1; count <= static_cast<int>(keys.size()) + 2; ++count) {
        std::vector<rank<float>> list(static_cast<std::size_t>(count)), sorted;
        int have = 0;
        for (const float k : keys) {
            const auto r = rank<float>::of(k, static_cast<int>(sorted.size() * 5 % 13));  // the indices do not ascend
            insert(list.data(), have, count, r);
            sorted.push_back(r);
            std::vector<rank<float>> expected = sorted;
            std::sort(expected.begin(), expected.end());
            REQUIRE(have == std::min(count, static_cast<int>(sorted.size())));
            for (int i = 0; i < have; ++i) CHECK(list.data()[i].index == expected.data()[i].index);
        }
    }
}
TEST_CASE("rank: keys as integers") {
    for (const float a : keys)
        for (const float b : keys)
            if (a == a && b == b) CHECK((a < b) == (to_ordered(a) < to_ordered(b)));
    for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 65521) {  // a prime: all exponents, both signs, changing mantissas
        const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        REQUIRE(from_ordered(to_ordered(x)) == ranking_key(x));
    }
    CHECK(to_ordered(-0.f) == to_ordered(0.f));
}
