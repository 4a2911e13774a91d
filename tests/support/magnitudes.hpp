#pragma once
#include <cmath>
#include <initializer_list>
#include <limits>

namespace test {

/// f(x) for numbers of every `stride`-th exponent of S and both signs: zeros, the least denormal, the largest finite number, and four of each.
template <class S, class F> void each_magnitude(F f, int stride = 1) {
    using limits = std::numeric_limits<S>;
    const auto both = [&](S x) { f(x), f(-x); };
    both(S(0)), both(limits::max());
    for (int e = limits::min_exponent - limits::digits; e < limits::max_exponent; e += stride)
        for (const double m : {1., 1.3, 1.62, 1.99})
            if (const S x = static_cast<S>(std::ldexp(static_cast<long double>(m), e)); x <= limits::max()) both(x);
}
/// and for a scale of numbers in between, [-limit, limit].
template <class S, class F> void each_step(double limit, int steps, F f) {
    for (int i = -steps; i <= steps; ++i) f(static_cast<S>(limit * i / steps));
}

}  // namespace test
