#include <doctest/doctest.h>
#include <guild/parallel/serial.hpp>
#include <support/watchdog.hpp>

#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {
using ranges = std::vector<std::pair<long, long>>;

ranges of(long n) {
    ranges found;
    guild::serial{}.run(n, [&](long begin, long end) { found.emplace_back(begin, end); });
    return found;
}
}  // namespace

TEST_CASE("serial: non-empty ranges in ascending order cover [0, n)") {
    for (long n = 0; n <= 200; ++n) {
        const ranges found = of(n);
        CHECK(found.size() == static_cast<std::size_t>(n < 64 ? n : 64));
        long next = 0;
        for (const auto& [begin, end] : found) {
            CHECK(begin == next);
            CHECK(end > begin);
            CHECK(end - begin <= n / 64 + 1);
            next = end;
        }
        CHECK(next == n);
    }
}

TEST_CASE("serial: range i of C begins at floor(n i / C)") {
    const ranges found = of(200);
    for (long i = 0; i < 64; ++i) CHECK(found[static_cast<std::size_t>(i)].first == 200 * i / 64);
}

TEST_CASE("serial: the largest n does not overflow") {
    const ranges found = of(std::numeric_limits<long>::max());
    CHECK(found.size() == 64);
    CHECK(found.front().first == 0);
    CHECK(found.back().second == std::numeric_limits<long>::max());
    for (std::size_t i = 1; i < found.size(); ++i) CHECK(found[i].first == found[i - 1].second);
}

TEST_CASE("serial: nothing is called for n < 1") {
    for (const long n : {0L, -1L, std::numeric_limits<long>::min()}) CHECK(of(n).empty());
}

TEST_CASE("serial: an exception ends the run") {
    long calls = 0;
    const auto f = [&](long begin, long) {
        ++calls;
        if (begin >= 3) throw std::out_of_range("range " + std::to_string(begin));
    };
    CHECK_THROWS_WITH_AS(guild::serial{}.run(10, f), "range 3", std::out_of_range);
    CHECK(calls == 4);
}
