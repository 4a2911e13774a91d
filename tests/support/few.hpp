#pragma once

namespace test {

/// CMake's GUILD_TEST_FEW: repetitions are cut, for a compiler or a sanitizer that need only see every kernel, though not every height of its tiles,
/// every format, gate and kind of shape.
inline constexpr bool few = GUILD_TEST_FEW;

}  // namespace test
