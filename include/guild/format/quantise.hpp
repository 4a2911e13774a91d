#pragma once
#include <guild/core/error.hpp>
#include <guild/format/scaled.hpp>
#include <guild/parallel/serial.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace guild::inline v0 {

namespace detail {
/// f(c, n, numbers) for row r of w_e, columns [first, last), at most 256 at a time, in float.
template <class F> void each_segment(const auto& w, long e, long r, long first, long last, F f) {
    alignas(64) float numbers[256];
    for (long c = first, n; c < last; c += n) {
        n = (std::min)(256L, last - c);
        if constexpr (requires { w.read(e, r, c, n, numbers); }) w.read(e, r, c, n, numbers);
        else
            for (long i = 0; i < n; ++i) numbers[i] = static_cast<float>(w(e, r, c + i));
        f(c, n, numbers);
    }
}
/// The largest magnitude of w_e on [r0, r1) x [c0, c1).
float largest(const auto& w, long e, long r0, long r1, long c0, long c1) {
    std::uint32_t most = 0;  // bits of magnitudes are ordered as these are, what is not finite last
    const auto magnitude = [](float v) { return std::bit_cast<std::uint32_t>(v) & 0x7fffffffu; };
    constexpr std::uint32_t finite = 0x7f7fffff;
    for (long r = r0; r < r1; ++r)
        each_segment(w, e, r, c0, c1, [&](long c, long n, const float* v) {
            for (long i = 0; i < n; ++i) most = (std::max)(most, magnitude(v[i]));
            for (long i = 0; i < n && most > finite; ++i)
                if (magnitude(v[i]) > finite)
                    raise<argument_error>("guild::quantise: w(", e, ", ", r, ", ", c + i, ") is ", v[i], ", expected a finite number");
        });
    return std::bit_cast<float>(most);
}
/// Matrices w in the storage of a format, which has their size.
template <class Format, class X> void quantise(const auto& w, long E, long out, long in, typename format<Format>::storage& to, const X& executor) {
    if constexpr (has_scales<Format>) {
        const long across = format<Format>::blocks(in, Format::columns), down = format<Format>::blocks(out, Format::rows);
        const long codes = format<Format>::codes(in);
        executor.run(E * down, [&](long begin, long end) {
            for (long i = begin; i < end; ++i) {
                const long e = i / down, r0 = i % down * Format::rows, r1 = (std::min)(out, r0 + Format::rows);
                for (long block = 0; block < across; ++block) {
                    const long c0 = block * Format::columns, c1 = c0 + (std::min)(Format::columns, in - c0);
                    auto& scale = to.scale.data()[i * across + block];
                    scale = Format::scale_of(largest(w, e, r0, r1, c0, c1));
                    const float by = decode(scale);
                    for (long r = r0; r < r1; ++r)
                        each_segment(w, e, r, c0, c1, [&](long c, long n, const float* v) {
                            auto* const row = to.data.data() + (e * out + r) * codes;
                            for (long k = 0; k < n; ++k) Format::encode(v[k] / by, row, c + k);
                        });
                }
            }
        });
    } else {
        executor.run(E * out, [&](long begin, long end) {
            for (long i = begin; i < end; ++i) {
                Format* const row = to.data() + i * in;
                if constexpr (std::is_same_v<scalar_of<Format>, float>)
                    each_segment(w, i / out, i % out, 0, in, [&](long c, long n, const float* v) {
                        for (long k = 0; k < n; ++k) row[c + k] = Format(v[k]);
                    });
                else
                    for (long c = 0; c < in; ++c) row[c] = Format(static_cast<scalar_of<Format>>(w(i / out, i % out, c)));
            }
        });
    }
}
}  // namespace detail

/// Matrices w(e, row, column), [E, out, in], stored in a format. Where it has scales, a number is divided by the scale of its block
/// and rounded to nearest, ties to even; a block of zeros stays zero. argument_error if a format with scales is given a number that is
/// not finite. The same bits for any executor, if its threads round to nearest and keep denormals.
template <class Format, class X = serial>
typename format<Format>::storage quantise(const auto& w, long E, long out, long in, const X& executor = {}) {
    typename format<Format>::storage to;
    format<Format>::resize(to, E, out, in);
    detail::quantise<Format>(w, E, out, in, to, executor);
    return to;
}

}  // namespace guild::inline v0
