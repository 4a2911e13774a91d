#pragma once
#include <guild/core/buffer.hpp>
#include <guild/core/random.hpp>
#include <guild/parallel/thread_pool.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

/// What the benchmarks share.
namespace bench {

inline double median(std::vector<double> numbers) {
    const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
    std::nth_element(numbers.begin(), middle, numbers.end());
    return *middle;
}

/// Times of one contender. Contenders run in turn, one round after the other, so that a slow moment of the machine meets all of
/// them; what is compared are medians.
class stopwatch {
public:
    template <class F> void time(F&& f) {
        const auto start = std::chrono::steady_clock::now();
        f();
        seconds_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::size_t rounds() const { return seconds_.size(); }
    double median() const { return bench::median(seconds_); }

private:
    std::vector<double> seconds_;
};

/// round() often enough for medians: at least 5 times, and until GUILD_BENCH_SECONDS have passed (1 unless it is set) or 201 rounds.
template <class F> void rounds(F round) {
    const char* const asked = std::getenv("GUILD_BENCH_SECONDS");
    const double seconds = asked ? std::atof(asked) : 1;
    const auto start = std::chrono::steady_clock::now();
    const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    for (int done = 0; done < 5 || (done < 201 && passed() < seconds); ++done) round();
}

/// The pool of so many threads.
inline const guild::thread_pool& pool(int threads) {
    static std::map<int, guild::thread_pool> pools;
    return pools.try_emplace(threads, threads).first->second;
}

/// A counter: the time of an iteration over n.
inline benchmark::Counter time_of_one(long n) {
    return {static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert};
}

/// [rows, cols] of numbers uniform in [-size, size).
template <class S> guild::view<S> random(guild::buffer<S>& memory, long rows, long cols, S size, unsigned long long seed) {
    const guild::view<S> v = memory.shape(rows, cols);
    for (long i = 0; i < rows * cols; ++i) v.data[i] = size * static_cast<S>(2 * guild::uniform(seed, 0, 0, i) - 1);
    return v;
}

/// A place for one object of any type, too large to hold two, for benchmarks that follow each other: `get` gives the one of this name,
/// made by `make` after the one before has been released.
class holder {
public:
    template <class T, class Make> T& get(const std::string& name, Make make) {
        if (name_ != name) {
            release();
            object_ = std::shared_ptr<T>(make());
            name_ = name;
        }
        return *static_cast<T*>(object_.get());
    }
    bool holds(const std::string& name) const { return name_ == name; }
    void release() {
        object_.reset();
        name_.clear();
    }

private:
    std::string name_;
    std::shared_ptr<void> object_;
};

}  // namespace bench
