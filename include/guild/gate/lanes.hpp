#pragma once
#include <guild/core/host_device.hpp>

/// Who holds the E scores of a token: one thread, or a warp that shares them out.
namespace guild::inline v0 {

/// Nobody to share with.
struct one_lane {
    static constexpr int count = 1;
    GUILD_HOST_DEVICE static constexpr int lane() { return 0; }
    template <class S> GUILD_HOST_DEVICE S from(S s, int) const { return s; }
    template <class T, class F> GUILD_HOST_DEVICE T reduce(T t, F) const { return t; }
};

/// 32 lanes, expert e lives on lane e % 32. `Thread` is the device's execution context, or an emulator's.
template <class Thread> struct warp_lanes {
    static constexpr int count = 32;
    const Thread* thread;
    GUILD_HOST_DEVICE int lane() const { return static_cast<int>(thread->lane()); }
    template <class S> GUILD_HOST_DEVICE S from(S s, int lane) const { return thread->shfl(s, static_cast<unsigned>(lane)); }
    template <class T, class F> GUILD_HOST_DEVICE T reduce(T t, F f) const {
        for (unsigned m = 16; m > 0; m /= 2) t = f(t, thread->shfl_xor(t, m));
        return t;
    }
};

/// A vector of at most N numbers dealt out to the lanes: f[e] on the lane that owns e, inside `each`.
template <class S, int N, int Lanes> struct field {
    static constexpr int parts = N > 0 ? (N + Lanes - 1) / Lanes : 1;
    S part[static_cast<unsigned>(parts)];
    GUILD_HOST_DEVICE S& operator[](int e) { return part[static_cast<unsigned>(e) / Lanes]; }
    GUILD_HOST_DEVICE const S& operator[](int e) const { return part[static_cast<unsigned>(e) / Lanes]; }
    /// The number of e on whichever lane. By comparison on a warp, not by address: the parts stay in registers.
    GUILD_HOST_DEVICE S pick(int e) const {
        if constexpr (Lanes == 1) return part[e];
        S s = part[0];
        GUILD_UNROLL
        for (int i = 1; i < parts; ++i)
            if (i == e / Lanes) s = part[i];
        return s;
    }
};

}  // namespace guild::inline v0
