#pragma once
#include <guild/core/scalar.hpp>

#include <cstdint>
#include <limits>

namespace guild::inline v0 {

constexpr int no_expert = -1;  ///< a hole: the slot is empty

/// Of a float or double.
template <class R> inline constexpr R infinity = std::numeric_limits<R>::infinity();

/// The key a selection compares: NaN counts as -infinity.
template <class R> GUILD_HOST_DEVICE constexpr R ranking_key(R key) { return is_nan(key) ? -infinity<R> : key; }

/// A place in the one order that all selections use: larger key first, then lower index. It is total, so the K best of any
/// bit patterns are K distinct indices.
template <class R> struct rank {
    R key;      ///< never NaN where `of` made it
    int index;  ///< of an expert, a group or a row
    /// NaN as -infinity.
    GUILD_HOST_DEVICE static constexpr rank of(R key, int index) { return {ranking_key(key), index}; }
    /// After all others.
    GUILD_HOST_DEVICE static constexpr rank worst() { return {-infinity<R>, 1 << 30}; }
    /// Whether a comes before b.
    friend GUILD_HOST_DEVICE constexpr bool operator<(const rank& a, const rank& b) { return a.key > b.key || (a.key == b.key && a.index < b.index); }
};

/// list[0, have) stays the best `count` >= 1 seen so far, best first.
template <class R> GUILD_HOST_DEVICE constexpr void insert(rank<R>* list, int& have, int count, rank<R> r) {
    if (have == count && !(r < list[count - 1])) return;
    int i = have < count ? have++ : count - 1;
    for (; i > 0 && r < list[i - 1]; --i) list[i] = list[i - 1];
    list[i] = r;
}

/// A key as an integer in the same order, -0 equal to 0, NaN to -infinity: integers have an associative maximum, so a search for it is vector code,
/// and so is this, which compares no floats.
GUILD_HOST_DEVICE inline std::int32_t to_ordered(float key) {
    constexpr std::int32_t magnitude = 0x7fffffff, infinite = 0x7f800000;
    const auto bits = __builtin_bit_cast(std::int32_t, key + 0.f);  // std::bit_cast is host code
    return (bits & magnitude) > infinite ? ~infinite : bits ^ ((bits >> 31) & magnitude);
}
/// The key that to_ordered made that integer of.
GUILD_HOST_DEVICE inline float from_ordered(std::int32_t key) { return __builtin_bit_cast(float, key ^ ((key >> 31) & 0x7fffffff)); }

}  // namespace guild::inline v0
