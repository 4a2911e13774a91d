#pragma once
#include <guild/core/random.hpp>

namespace language_model {

/// What a random number is for; different purposes never share numbers. The numbers are those of the library: functions of
/// (seed, purpose, index), without state, and without the standard library's distributions, whose bits differ between compilers.
enum class purpose { weights = 100, windows, sampling };

/// In [0, 1).
inline double uniform(unsigned long long seed, purpose what, long index, long i = 0) {
    return guild::uniform(seed, static_cast<int>(what), index, i);
}

}  // namespace language_model
