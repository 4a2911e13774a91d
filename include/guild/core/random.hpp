#pragma once
#include <guild/core/host_device.hpp>

#include <cmath>

/// Random numbers as functions of their coordinates: no state, so a draw depends on neither threads, nor how a run is cut
/// into batches, nor what was drawn before.
namespace guild::inline v0 {

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64 bits in which every bit depends on every bit.
GUILD_HOST_DEVICE constexpr unsigned long long mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
/// A number in [0, 1), one of 2^53.
GUILD_HOST_DEVICE constexpr double uniform(unsigned long long seed, int stream, long position, long i) {
    constexpr unsigned long long odd = 0x9e3779b97f4a7c15ull;
    unsigned long long z = mix(seed + odd);
    z = mix(z ^ (static_cast<unsigned long long>(stream) * odd));
    z = mix(z ^ (static_cast<unsigned long long>(position) * odd + 1));
    z = mix(z ^ (static_cast<unsigned long long>(i) * odd + 2));
    return static_cast<double>(z >> 11) * 0x1p-53;
}
/// A standard normal number, by Box and Muller's transform of the uniform numbers 2 i and 2 i + 1.
GUILD_HOST_DEVICE inline double normal(unsigned long long seed, int stream, long position, long i) {
    const double u = 1 - uniform(seed, stream, position, 2 * i), v = uniform(seed, stream, position, 2 * i + 1);
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}

}  // namespace guild::inline v0
