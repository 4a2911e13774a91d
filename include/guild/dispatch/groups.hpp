#pragma once

namespace guild::inline v0 {

/// Rows [offset[e], offset[e + 1]) belong to expert e < count. Row r reads a[source[r]] * factor[r]; null: a[r], 1.
template <class S> struct groups {
    int count = 0;                ///< E
    const int* offset = nullptr;  ///< [count + 1]
    const int* source = nullptr;  ///< [R]
    const S* factor = nullptr;    ///< [R]

    /// The first row of expert e.
    long begin(int e) const { return offset[e]; }
    /// How many rows expert e has.
    long rows(int e) const { return offset[e + 1] - offset[e]; }
    /// The row that row r reads.
    long from(long r) const { return source ? source[r] : r; }
    /// The same rows, read in place.
    groups direct() const { return {count, offset, nullptr, nullptr}; }
};

/// Whether a product overwrites its result or adds to it.
enum class into { overwrite, add };

}  // namespace guild::inline v0
