#pragma once
#include <guild/core/buffer.hpp>
#include <guild/core/random.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

/// What the benchmarks share.
namespace bench {

/// Times of one contender. A benchmark runs its contenders in turn inside each iteration, so that a slow moment of the machine
/// meets all of them, and reports medians and their ratios.
class stopwatch {
public:
    /// Seconds that f took.
    template <class F> double time(F&& f) {
        const auto start = std::chrono::steady_clock::now();
        f();
        seconds_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        return seconds_.back();
    }
    double median() const {
        std::vector<double> s = seconds_;
        const auto middle = s.begin() + static_cast<std::ptrdiff_t>(s.size() / 2);
        std::nth_element(s.begin(), middle, s.end());
        return *middle;
    }

private:
    std::vector<double> seconds_;
};

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

/// The one large object that all benchmarks of a kind share: made by `make` when another kind was asked for before.
template <class T, class Make> T& held(const std::string& key, Make make) {
    static std::string made;
    static std::unique_ptr<T> object;
    if (made != key) {
        object.reset();
        object = make();
        made = key;
    }
    return *object;
}

}  // namespace bench
