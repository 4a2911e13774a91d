#include <doctest/doctest.h>
#include <guild/parallel/thread_pool.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <latch>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

// The thread sanitizer of clang has an operator new that cannot be replaced.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GUILD_TEST_FOREIGN_NEW
#endif
#endif

#ifndef GUILD_TEST_FOREIGN_NEW
namespace {
std::atomic<long> allocations{0};
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes == 0 ? 1 : bytes);
}
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    if (void* p = operator new(bytes, std::nothrow)) return p;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

TEST_CASE("thread_pool: a run does not allocate") {
    const guild::thread_pool pool(3);
    std::array<long, 64> end{};
    const long before = allocations;
    for (int repeat = 0; repeat < 100; ++repeat) pool.run(1000, [&](long begin, long e) { end[static_cast<std::size_t>(begin * 64 / 1000)] = e; });
    const long after = allocations;
    CHECK(after - before == 0);
    CHECK(before > 0);
}
#endif

namespace {
constexpr std::array thread_counts{1, 2, 3, 7};

/// end[b]: the end of the range that began at b, 0 if none did. Distinct elements, so that a race would be the pool's.
template <class Executor> std::vector<long> ends(const Executor& executor, long n) {
    std::vector<long> end(static_cast<std::size_t>(n), 0);
    executor.run(n, [&](long begin, long e) { end[static_cast<std::size_t>(begin)] += e; });
    return end;
}
/// A sum whose bits depend on the ranges: one partial sum each.
template <class Executor> float sum(const Executor& executor, long n) {
    std::vector<float> part(static_cast<std::size_t>(n), 0.0F);
    executor.run(n, [&](long begin, long end) {
        float s = 0;
        for (long i = begin; i < end; ++i) s += 1.0F / static_cast<float>(i + 1);
        part[static_cast<std::size_t>(begin)] = s;
    });
    return std::accumulate(part.begin(), part.end(), 0.0F);
}
std::string message(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& e) { return e.what(); }
}
template <class Executor, class F> std::string thrown(const Executor& executor, long n, F f) {
    try {
        executor.run(n, f);
    } catch (...) { return message(std::current_exception()); }
    return "nothing";
}
}  // namespace

TEST_CASE("thread_pool: the ranges are those of serial for every n and thread count") {
    for (const int count : thread_counts) {
        const guild::thread_pool pool(count);
        CHECK(pool.size() == count);
        for (long n = 0; n <= 200; ++n) {
            CAPTURE(count);
            CAPTURE(n);
            CHECK(ends(pool, n) == ends(guild::serial{}, n));
            CHECK(ends(guild::threads{pool}, n) == ends(guild::serial{}, n));
        }
    }
}

TEST_CASE("thread_pool: a sum of one partial sum per range has the same bits for every thread count") {
    for (const int count : thread_counts) CHECK(sum(guild::thread_pool(count), 100'000) == sum(guild::serial{}, 100'000));
}

TEST_CASE("thread_pool: nothing is called for n < 1") {
    const guild::thread_pool pool(3);
    for (const long n : {0L, -1L, -1'000'000L}) pool.run(n, [](long, long) { FAIL("called"); });
}

TEST_CASE("thread_pool: each thread takes one contiguous share, the caller the first") {
    const guild::thread_pool pool(3);
    for (const long n : {2L, 3L, 64L, 1000L}) {
        const long shares = std::min(n, 3L), ranges = std::min(n, 64L);
        std::latch begun(shares);  // a share that nobody had begun would be the caller's
        std::vector<std::thread::id> by(static_cast<std::size_t>(n));
        pool.run(n, [&](long begin, long end) {
            for (long t = 0; t < shares; ++t)
                if (begin == guild::detail::range_begin(n, ranges * t / shares)) begun.arrive_and_wait();
            for (long i = begin; i < end; ++i) by[static_cast<std::size_t>(i)] = std::this_thread::get_id();
        });
        CHECK(by.front() == std::this_thread::get_id());
        long changes = 0;
        for (std::size_t i = 1; i < by.size(); ++i) changes += by[i] != by[i - 1] ? 1 : 0;
        CHECK(changes == shares - 1);
    }
}

TEST_CASE("thread_pool: a share that a sleeping worker has not begun is the caller's, every range is called once, and the lowest exception wins") {
    const guild::thread_pool pool(4);
    long taken = 0;
    for (int repeat = 0; repeat < 200 || taken == 0; ++repeat) {
        REQUIRE(repeat < 100'000);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        std::vector<std::thread::id> by(4);
        std::array<std::atomic<int>, 4> calls{};
        const auto f = [&](long begin, long) {
            by[static_cast<std::size_t>(begin)] = std::this_thread::get_id();
            ++calls[static_cast<std::size_t>(begin)];
            if (begin > 1) throw std::runtime_error("range " + std::to_string(begin));
        };
        CHECK(thrown(pool, 4, f) == "range 2");
        for (const auto& n : calls) CHECK(n == 1);
        taken += std::count(by.begin(), by.end(), std::this_thread::get_id()) - 1;
    }
}

TEST_CASE("thread_pool: its threads do run at the same time") {
    const guild::thread_pool pool(4);
    for (int repeat = 0; repeat < 20; ++repeat) {
        std::barrier everyone(4);
        pool.run(4, [&](long, long) { everyone.arrive_and_wait(); });
    }
}

TEST_CASE("thread_pool: the exception of the lowest range is rethrown, the ranges below it have run") {
    for (const int count : thread_counts) {
        const guild::thread_pool pool(count);
        for (long first = 0; first < 40; ++first) {
            CAPTURE(count);
            CAPTURE(first);
            std::vector<int> seen(40, 0);
            const auto f = [&](long begin, long) {
                seen[static_cast<std::size_t>(begin)] = 1;
                if (begin >= first && (begin - first) % 3 == 0) throw std::runtime_error("range " + std::to_string(begin));
            };
            CHECK(thrown(pool, 40, f) == "range " + std::to_string(first));
            for (long i = 0; i <= first; ++i) CHECK(seen[static_cast<std::size_t>(i)] == 1);
        }
        CHECK(ends(pool, 40) == ends(guild::serial{}, 40));
    }
}

TEST_CASE("thread_pool: no exception is kept when the run has ended") {
    const guild::thread_pool pool(4);
    const auto token = std::make_shared<int>(0);
    try {
        pool.run(4, [&](long, long) { throw std::shared_ptr<int>(token); });
        FAIL("nothing was thrown");
    } catch (const std::shared_ptr<int>&) {}
    CHECK(token.use_count() == 1);
}

TEST_CASE("thread_pool: a run inside f calls its ranges on its own thread, in order") {
    const guild::thread_pool pool(3);
    std::vector<std::vector<long>> begins(10);
    std::vector<int> elsewhere(10, 0);
    pool.run(10, [&](long outer, long) {
        const auto self = std::this_thread::get_id();
        const auto row = static_cast<std::size_t>(outer);
        pool.run(100, [&](long begin, long) {
            begins[row].push_back(begin);
            elsewhere[row] += std::this_thread::get_id() == self ? 0 : 1;
        });
    });
    std::vector<long> expected;
    guild::serial{}.run(100, [&](long begin, long) { expected.push_back(begin); });
    for (std::size_t row = 0; row < 10; ++row) {
        CHECK(begins[row] == expected);
        CHECK(elsewhere[row] == 0);
    }
}

TEST_CASE("thread_pool: an exception inside a nested run reaches the outermost caller") {
    const guild::thread_pool pool(3);
    const auto nested = [&](long outer, long) {
        pool.run(8, [&](long inner, long) { throw std::runtime_error(std::to_string(outer) + "." + std::to_string(inner)); });
    };
    CHECK(thrown(pool, 50, nested) == "0.0");
}

TEST_CASE("thread_pool: several threads may run on one pool at once") {
    const guild::thread_pool pool(3);
    const float expected = sum(guild::serial{}, 5000);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) {
        callers.emplace_back([&] {
            for (int repeat = 0; repeat < 200; ++repeat) {
                if (sum(pool, 5000) != expected) ++wrong;
                const auto fails = [](long begin, long) { throw std::runtime_error(std::to_string(begin)); };
                if (thrown(pool, 70, fails) != "0") ++wrong;
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
}

TEST_CASE("thread_pool: starts and stops without work, and sleeping workers wake") {
    for (int repeat = 0; repeat < 50; ++repeat) guild::thread_pool(1 + repeat % 7);
    const guild::thread_pool pool(2);
    for (int repeat = 0; repeat < 5; ++repeat) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        CHECK(ends(pool, 65) == ends(guild::serial{}, 65));
    }
}

TEST_CASE("thread_pool: fewer threads than one are refused") {
    CHECK_THROWS_WITH_AS(guild::thread_pool(0), "guild::thread_pool: threads is 0, expected at least 1", guild::argument_error);
    CHECK_THROWS_WITH_AS(guild::thread_pool(-3), "guild::thread_pool: threads is -3, expected at least 1", guild::argument_error);
}

static_assert(!std::is_copy_constructible_v<guild::thread_pool> && !std::is_move_constructible_v<guild::thread_pool>);
static_assert(std::is_trivially_copyable_v<guild::threads> && !std::is_constructible_v<guild::threads, guild::thread_pool&&>);
