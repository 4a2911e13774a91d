#pragma once
#include <guild/core/random.hpp>
#include <guild/core/scalar.hpp>
#include <guild/core/view.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

namespace test {

/// How a matrix lies in memory: its first number `offset` numbers after a 64-byte boundary, its rows `gap` numbers apart.
struct place {
    long offset = 0, gap = 0;
};

/// A row-major matrix that owns its memory, NaN at first. What lies around its rows is known, so that a write there is seen.
template <class S> class matrix {
public:
    matrix(long rows, long cols, place at = {})
        : rows_(rows),
          cols_(cols),
          stride_(cols + at.gap),
          memory_(static_cast<std::size_t>(rows * (cols + at.gap) + at.offset + 128 / width), guard()) {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        first_ = static_cast<long>((64 - address % 64) % 64 / sizeof(S)) + at.offset;
        fill(std::numeric_limits<S>::quiet_NaN());
    }
    matrix(const matrix&) = delete;  // would lie elsewhere

    guild::view<S> all() { return {memory_.data() + first_, rows_, cols_, stride_}; }
    guild::view<const S> all() const { return {memory_.data() + first_, rows_, cols_, stride_}; }
    operator guild::view<S>() { return all(); }
    operator guild::view<const S>() const { return all(); }
    S& operator()(long r, long c) { return all()(r, c); }
    const S& operator()(long r, long c) const { return all()(r, c); }
    long rows() const { return rows_; }
    long cols() const { return cols_; }

    void fill(S s) {
        for (long r = 0; r < rows_; ++r) std::fill_n(all().row(r), cols_, s);
    }
    /// Numbers of [-1, 1) that depend on (seed, row, column) alone.
    matrix& random(unsigned long long seed) {
        for (long r = 0; r < rows_; ++r)
            for (long c = 0; c < cols_; ++c) (*this)(r, c) = static_cast<S>(2 * guild::uniform(seed, 0, r, c) - 1);
        return *this;
    }
    template <class Other> matrix& operator=(const Other& other) {
        for (long r = 0; r < rows_; ++r)
            for (long c = 0; c < cols_; ++c) (*this)(r, c) = static_cast<S>(other(r, c));
        return *this;
    }
    matrix& operator=(const matrix& other) { return operator=<matrix>(other); }
    /// Whether nothing was written outside the rows.
    bool intact() const {
        const S g = guard();
        long outside = 0;
        for (std::size_t i = 0; i < memory_.size(); ++i) {
            const long at = static_cast<long>(i) - first_;
            const bool inside = at >= 0 && at < rows_ * stride_ && at % stride_ < cols_;
            outside += !inside && std::memcmp(&memory_[i], &g, sizeof g) != 0;
        }
        return outside == 0;
    }

private:
    static constexpr long width = sizeof(S);
    static S guard() { return S(-1234567); }
    long rows_, cols_, stride_, first_ = 0;
    std::vector<S> memory_;
};

template <class S> bool same_bits(guild::view<const S> a, guild::view<const S> b) {
    if (a.rows != b.rows || a.cols != b.cols) return false;
    for (long r = 0; r < a.rows; ++r)
        if (std::memcmp(a.row(r), b.row(r), static_cast<std::size_t>(a.cols) * sizeof(S)) != 0) return false;
    return true;
}
template <class S> bool same_bits(const matrix<S>& a, const matrix<S>& b) { return same_bits(a.all(), b.all()); }
template <class S> bool same_bits(const std::vector<S>& a, const std::vector<S>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(S)) == 0);
}

/// max |a - b| / max |b|, infinity where a is not finite; 0 / 0 = 0.
struct deviation {
    double apart = 0, scale = 0;
    long count = 0;
    void add(double a, double b) {
        ++count;
        const double d = a > b ? a - b : b - a;
        apart = d <= apart ? apart : d == d ? d : std::numeric_limits<double>::infinity();
        scale = std::max(scale, b < 0 ? -b : b);
    }
    /// Each of a few numbers may be a sum that cancels: they are measured against 0.1 at least.
    double relative() const { return apart == 0 ? 0 : apart / (count < 16 ? std::max(scale, 0.1) : scale); }
};
template <class A, class B> double apart(const matrix<A>& a, const matrix<B>& b) {
    deviation d;
    for (long r = 0; r < b.rows(); ++r)
        for (long c = 0; c < b.cols(); ++c) d.add(static_cast<double>(a(r, c)), static_cast<double>(b(r, c)));
    return d.relative();
}

}  // namespace test
