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

/// One object of any type, with its name.
struct holder {
    std::string name;
    std::shared_ptr<void> object;
};
inline holder held_object;

/// Holds one object at a time, too large to hold two, for benchmarks that follow each other: the one of this name, made by `make`
/// after the one before has been released.
template <class T, class Make> T& held(const std::string& name, Make make) {
    if (held_object.name != name) {
        held_object = {};
        held_object = {name, std::shared_ptr<T>(make())};
    }
    return *static_cast<T*>(held_object.object.get());
}

}  // namespace bench
