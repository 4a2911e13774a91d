#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <vector>

namespace test {

/// What a program may have set for its thread: each of the four ways to round, with denormals kept, flushed, read as zeros, and both.
inline std::vector<unsigned> environments() {
    std::vector<unsigned> all;
    for (unsigned rounding = 0; rounding < 4; ++rounding)
        for (const unsigned denormals : {0u, 0x8000u, 0x40u, 0x8040u}) all.push_back(0x1f80u | rounding << 13 | denormals);  // exceptions masked
    return all;
}

/// One of them, while it lives.
class left_behind {
#if defined(__x86_64__)
public:
    explicit left_behind(unsigned mode) : mode_(mode), before_(_mm_getcsr()) { _mm_setcsr(mode); }
    ~left_behind() { _mm_setcsr(before_); }
    left_behind(const left_behind&) = delete;
    /// Whether it is still set, but for the flags of what has happened.
    bool kept() const { return (_mm_getcsr() & ~0x3fu) == mode_; }

private:
    unsigned mode_, before_;
#else
public:
    explicit left_behind(unsigned) {}
    bool kept() const { return true; }
#endif
};

}  // namespace test
