#pragma once

namespace guild::inline v0 {

namespace detail {
/// The ranges of every executor here: [0, n) in C = min(n, 64) ranges, range i being [floor(n i / C), floor(n (i + 1) / C)).
/// They depend on n alone, so a sum of one partial sum per range has the same bits for any number of threads.
constexpr long range_count(long n) { return n < 1 ? 0 : n < 64 ? n : 64; }
/// floor(n i / C) for 0 <= i <= C = range_count(n) > 0, without forming n i.
constexpr long range_begin(long n, long i) { return n <= 64 ? i : n / 64 * i + n % 64 * i / 64; }
/// f on the ranges first, ..., last - 1 of [0, n), in ascending order.
template <class F> void run_ranges(long n, long first, long last, F&& f) {
    for (long i = first; i < last; ++i) f(range_begin(n, i), range_begin(n, i + 1));
}
}  // namespace detail

/// The executor without threads. `run(n, f)` calls f(begin, end) in ascending order on the disjoint, non-empty ranges
/// [n i / C, n (i + 1) / C), i < C = min(n, 64), which cover [0, n): the ranges of `thread_pool`. For n < 1 it calls nothing.
/// An exception of f ends the run; later ranges are not called. O(C) beside f, no allocation.
struct serial {
    /// One thread.
    static constexpr int size() { return 1; }
    /// f on ranges that cover [0, n), one after the other.
    template <class F> void run(long n, F&& f) const { detail::run_ranges(n, 0, detail::range_count(n), f); }
};

}  // namespace guild::inline v0
