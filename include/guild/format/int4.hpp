#pragma once
#include <guild/format/scaled.hpp>

#include <algorithm>
#include <cmath>

namespace guild::inline v0 {

/// Whole numbers -8 .. 7, two in a byte, the even column low, in two's complement, times a float for each `Group` columns of a row.
template <int Group = 32> struct int4 {
    static_assert(Group > 0 && Group % 2 == 0, "guild::int4: a group holds an even number of columns, at least 2");
    using code = std::uint8_t;
    using scale = float;
    /// Numbers in a code, and the block that shares a scale: a row by Group columns.
    static constexpr long per_code = 2, rows = 1, columns = Group;

    static constexpr float decode(const code* row, long c) {
        return static_cast<float>(static_cast<int>(detail::nibble(row, c) ^ 8u) - 8);  // 8 .. 15 are -8 .. -1
    }
    static void encode(float x, code* row, long c) {
        detail::set_nibble(static_cast<std::uint32_t>(static_cast<int>(std::clamp(std::rint(x), -8.f, 7.f))) & 15u, row, c);
    }
    static constexpr scale scale_of(float largest) { return detail::divisor(largest / 7); }
};
template <int Group> struct format<int4<Group>> : scaled_format<int4<Group>> {};

}  // namespace guild::inline v0
