#include <doctest/doctest.h>
#include <guild/parallel/thread_pool.hpp>

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <barrier>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using guild::pinning;

namespace {
/// A sum whose bits depend on the ranges: one partial sum each.
template <class Executor> float sum(const Executor& executor) {
    std::vector<float> part(5000, 0.0F);
    executor.run(5000, [&](long begin, long end) {
        for (long i = begin; i < end; ++i) part[static_cast<std::size_t>(begin)] += 1.0F / static_cast<float>(i + 1);
    });
    return std::accumulate(part.begin(), part.end(), 0.0F);
}

#if defined(__linux__)
using processors = std::vector<int>;

processors mine() { return guild::detail::processors(); }

/// f on a thread of its own that may use `those` alone: how a process started under taskset sees the machine.
template <class F> void confined_to(const processors& those, F f) {
    std::thread([&] {
        std::vector<cpu_set_t> mask(static_cast<std::size_t>(those.back()) / CPU_SETSIZE + 1);
        for (const int p : those) CPU_SET_S(static_cast<std::size_t>(p), mask.size() * sizeof(cpu_set_t), mask.data());
        CHECK(sched_setaffinity(0, mask.size() * sizeof(cpu_set_t), mask.data()) == 0);
        f();
    }).join();
}
/// What each thread of a pool may use and where it runs, caller first. All at once, so that none stands in for another.
struct place {
    processors may_use;
    int runs_on;
};
std::vector<place> places(const guild::thread_pool& pool) {
    std::vector<place> found(static_cast<std::size_t>(pool.size()));
    std::barrier everyone(pool.size());
    pool.run(pool.size(), [&](long t, long) {
        everyone.arrive_and_wait();
        found[static_cast<std::size_t>(t)] = {mine(), sched_getcpu()};
    });
    return found;
}
/// A pool that has a processor for every thread; at most 64 threads, so that each has one range.
int widest() { return mine().size() < 64 ? static_cast<int>(mine().size()) : 64; }
std::string at_most(std::size_t found, std::size_t most) {
    return "guild::thread_pool: threads is " + std::to_string(found) + ", expected at most " + std::to_string(most) + ", a processor for each";
}
#endif
}  // namespace

#if defined(__linux__)
TEST_CASE("thread_pool: pinned worker t runs on processor t of its constructor's, the caller where it did") {
    const processors before = mine();
    for (int threads = 1; threads <= widest(); ++threads) {
        CAPTURE(threads);
        const guild::thread_pool pool(threads, pinning::own_processor);
        for (int repeat = 0; repeat < 20; ++repeat) {
            const std::vector<place> found = places(pool);
            CHECK(found[0].may_use == before);
            for (std::size_t t = 1; t < found.size(); ++t) {
                CHECK(found[t].may_use == processors{before[t]});
                CHECK(found[t].runs_on == before[t]);
            }
        }
    }
    CHECK(mine() == before);
}

TEST_CASE("thread_pool: without pinning every thread may use what its constructor may, a worker that has not run yet too") {
    for (const int threads : {2, 3, widest(), widest() + 1}) {
        CAPTURE(threads);
        for (const place& p : places(guild::thread_pool(threads))) CHECK(p.may_use == mine());
    }
}

TEST_CASE("thread_pool: pinned workers stay among the processors of the constructing thread") {
    const processors all = mine();
    const std::vector<processors> some{{all.back()}, {all.begin(), all.end() - (all.size() > 1 ? 1 : 0)}, all};
    for (const processors& those : some) {
        confined_to(those, [&] {
            const std::size_t count = those.size() < 64 ? those.size() : 64;
            const std::vector<place> found = places(guild::thread_pool(static_cast<int>(count), pinning::own_processor));
            for (std::size_t t = 1; t < count; ++t) CHECK(found[t].may_use == processors{those[t]});
            CHECK_THROWS_WITH_AS(guild::thread_pool(static_cast<int>(those.size()) + 1, pinning::own_processor),
                                 at_most(those.size() + 1, those.size()).c_str(), guild::argument_error);
        });
    }
}

TEST_CASE("thread_pool: more pinned threads than processors are refused") {
    CHECK_THROWS_WITH_AS(guild::thread_pool(1'000'000, pinning::own_processor), at_most(1'000'000, mine().size()).c_str(), guild::argument_error);
    CHECK_THROWS_WITH_AS(guild::thread_pool(0, pinning::own_processor), "guild::thread_pool: threads is 0, expected at least 1",
                         guild::argument_error);
}

TEST_CASE("thread_pool: a processor that the system does not have is refused") {
    std::thread thread([] {});
    CHECK_THROWS_WITH_AS(guild::detail::pin(thread, 100'000), doctest::Contains("processor 100000"), guild::error);
    thread.join();
}

TEST_CASE("thread_pool: a pinned pool gives the bits of serial, and is as often started and stopped as you like") {
    for (int repeat = 0; repeat < 50; ++repeat) CHECK(sum(guild::thread_pool(1 + repeat % widest(), pinning::own_processor)) == sum(guild::serial{}));
}

TEST_CASE("thread_pool: many threads on one processor") {
    confined_to({mine().back()}, [] {
        const guild::thread_pool pool(9);
        for (int repeat = 0; repeat < 20; ++repeat) {
            CHECK(sum(pool) == sum(guild::serial{}));
            for (const place& p : places(pool)) CHECK(p.may_use.size() == 1);
        }
    });
}
TEST_CASE("thread_pool: a worker asleep where the caller runs is moved for that run, and then may go anywhere again") {
    const processors all = mine();
    if (all.size() < 2) {
        MESSAGE("skipped: this machine has one processor");
        return;
    }
    confined_to(all, [&] {
        const guild::thread_pool pool(2);
        bool moved = false, free_again = false;
        for (int attempt = 0; attempt < 50 && !(moved && free_again); ++attempt) {  // the system may have moved either of them in between
            const int there = places(pool)[1].runs_on;
            cpu_set_t mask;
            CPU_ZERO(&mask);
            CPU_SET(static_cast<unsigned>(there), &mask);
            if (there >= CPU_SETSIZE || sched_setaffinity(0, sizeof mask, &mask) != 0) return;
            const place worker = places(pool)[1];
            moved |= worker.may_use.size() < all.size() && worker.runs_on != there;
            free_again |= moved && places(pool)[1].may_use == all;
        }
        CHECK(moved);
        CHECK(free_again);
    });
}
#else
TEST_CASE("thread_pool: pinning is refused where it cannot be had") {
    if (std::thread::hardware_concurrency() > 1) CHECK_THROWS_AS(guild::thread_pool(2, pinning::own_processor), guild::argument_error);
}
#endif

#if defined(__linux__)
namespace {
/// The threads of this process that sleep, as the system sees them.
long asleep() {
    long count = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(thread.path() / "stat");
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        const auto name_ends = text.rfind(')');
        count += name_ends != text.npos && text.compare(name_ends + 2, 1, "S") == 0 ? 1 : 0;
    }
    return count;
}
}  // namespace
TEST_CASE("thread_pool: workers that wait sleep, few or more than there are processors, and so does a caller whose workers are not ready") {
    for (const int threads : {2, widest() + 3}) {
        CAPTURE(threads);
        const guild::thread_pool pool(threads);
        CHECK(sum(pool) == sum(guild::serial{}));
        bool all = false;
        for (int ms = 0; ms < 5000 && !all; ++ms) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            all = asleep() >= threads - 1;
        }
        CHECK(all);
        std::atomic<bool> slept{false};
        std::atomic<int> inside{0};
        const auto caller = std::this_thread::get_id();
        pool.run(2, [&](long, long) {
            ++inside;
            for (int ms = 0; ms < 5000 && inside < 2; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (std::this_thread::get_id() == caller) return;
            for (int ms = 0; ms < 5000 && !slept; ++ms) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                slept = asleep() >= threads - 1;  // all but this one
            }
        });
        CHECK(slept);
    }
}
#endif

TEST_CASE("thread_pool: ends at once after a run, a failed run and no run, asleep or not") {
    for (int repeat = 0; repeat < 200; ++repeat) {
        auto pool = std::make_unique<guild::thread_pool>(4);
        if (repeat % 4 == 1) CHECK(sum(*pool) == sum(guild::serial{}));
        if (repeat % 4 == 2) CHECK_THROWS_AS(pool->run(4, [](long, long) { throw std::runtime_error("f"); }), std::runtime_error);
        if (repeat % 4 == 3) std::this_thread::sleep_for(std::chrono::microseconds(100 * (repeat % 7)));
        pool.reset();
    }
}
