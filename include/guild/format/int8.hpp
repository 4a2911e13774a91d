#pragma once
#include <guild/format/scaled.hpp>

#include <algorithm>
#include <cmath>

namespace guild::inline v0 {

/// Whole numbers -127 .. 127 times a float for each row, symmetric around 0.
struct int8 {
    using code = std::int8_t;
    using scale = float;
    /// Numbers in a code, and the block that shares a scale: a whole row.
    static constexpr long per_code = 1, rows = 1, columns = whole_row;

    static constexpr float decode(const code* row, long c) { return static_cast<float>(row[c]); }
    static void encode(float x, code* row, long c) { row[c] = static_cast<code>(std::clamp(std::rint(x), -127.f, 127.f)); }
    static constexpr scale scale_of(float largest) { return detail::divisor(largest / 127); }
};
template <> struct format<int8> : scaled_format<int8> {};

}  // namespace guild::inline v0
