#pragma once
#include <guild/core/error.hpp>
#include <guild/core/scaled.hpp>

#include <algorithm>
#include <limits>

namespace guild::inline v0 {

namespace detail {
/// The largest magnitude of w_e on [r0, r1) x [c0, c1).
float largest(const auto& w, long e, long r0, long r1, long c0, long c1) {
    float most = 0;
    for (long r = r0; r < r1; ++r)
        for (long c = c0; c < c1; ++c) {
            const float v = static_cast<float>(w(e, r, c)), magnitude = v < 0 ? -v : v;
            if (!(magnitude <= std::numeric_limits<float>::max()))
                raise<argument_error>("guild::quantise: w(", e, ", ", r, ", ", c, ") is ", v, ", expected a finite number");
            most = std::max(most, magnitude);
        }
    return most;
}
}  // namespace detail

/// Matrices w(e, row, column), [E, out, in], stored in a format. Where it has scales, a number is divided by the scale of its block
/// and rounded to nearest, ties to even; a block of zeros stays zero. argument_error if a format with scales is given a number that is
/// not finite.
template <class Format> typename format<Format>::storage quantise(const auto& w, long E, long out, long in) {
    typename format<Format>::storage to;
    format<Format>::resize(to, E, out, in);
    if constexpr (has_scales<Format>) {
        const long across = format<Format>::blocks(in, Format::columns), codes = format<Format>::codes(in);
        auto* scale = to.scale.data();
        for (long e = 0; e < E; ++e)
            for (long r0 = 0; r0 < out; r0 += Format::rows)
                for (long block = 0; block < across; ++block) {
                    const long r1 = std::min(out, r0 + Format::rows), c0 = block * Format::columns, c1 = c0 + std::min(Format::columns, in - c0);
                    *scale = Format::scale_of(detail::largest(w, e, r0, r1, c0, c1));
                    const float by = decode(*scale++);
                    for (long r = r0; r < r1; ++r)
                        for (long c = c0; c < c1; ++c) Format::encode(static_cast<float>(w(e, r, c)) / by, to.data.data() + (e * out + r) * codes, c);
                }
    } else {
        auto* number = to.data();
        for (long e = 0; e < E; ++e)
            for (long r = 0; r < out; ++r)
                for (long c = 0; c < in; ++c) *number++ = Format(static_cast<scalar_of<Format>>(w(e, r, c)));
    }
    return to;
}

}  // namespace guild::inline v0
