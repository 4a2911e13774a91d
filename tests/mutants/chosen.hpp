#pragma once
#include <cstdlib>
#include <type_traits>

/// Which change of changes.txt is made: the number in GUILD_MUTANT, none without it. Every copied header begins with this one.
namespace mutants {
inline const int chosen = [] {
    const char* const text = std::getenv("GUILD_MUTANT");
    return text ? std::atoi(text) : 0;
}();
/// Constant expressions stay as they are.
constexpr bool on(int change) { return !std::is_constant_evaluated() && chosen == change; }
}  // namespace mutants
