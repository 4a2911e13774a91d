#pragma once

namespace guild::inline v0 {

/// Rows [offset[e], offset[e + 1]) belong to expert e < count. Row r reads a[source[r]] * factor[r]; null: a[r], 1. `exact`: a backend that rounds
/// operands of products does not round these.
template <class S> struct groups {
    int count = 0;                ///< E
    const int* offset = nullptr;  ///< [count + 1]
    const int* source = nullptr;  ///< [R]
    const S* factor = nullptr;    ///< [R]
    bool exact = false;           ///< whether operands are left unrounded

    /// The first row of expert e.
    long begin(int e) const { return offset[e]; }
    /// How many rows expert e has.
    long rows(int e) const { return offset[e + 1] - offset[e]; }
    /// The row that row r reads.
    long from(long r) const { return source ? source[r] : r; }
    /// The same rows, read in place.
    groups direct() const { return {count, offset, nullptr, nullptr, exact}; }
};

/// Whether a product overwrites its result or adds to it.
enum class into { overwrite, add };

}  // namespace guild::inline v0
