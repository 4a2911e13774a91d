#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#include <xmmintrin.h>
#endif

namespace guild::inline v0::cpu {

/// While it lives, the thread rounds to nearest and keeps denormals, whatever its program has set; then what was set is back.
class environment {
#if defined(__x86_64__) && defined(__GNUC__)
public:
    environment() : before_(_mm_getcsr()) {
        if (mode(before_) != usual) _mm_setcsr(usual);
    }
    ~environment() {
        if (mode(before_) != usual) _mm_setcsr(before_);
    }
    environment(const environment&) = delete;

private:
    static constexpr unsigned usual = 0x1f80, flags = 0x3f;  // exceptions masked; the flags of those that have been
    static unsigned mode(unsigned csr) { return csr & ~flags; }
    unsigned before_;
#else
public:
    environment() {}
#endif
};

}  // namespace guild::inline v0::cpu
