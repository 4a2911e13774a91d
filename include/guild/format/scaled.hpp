#pragma once
#include <guild/format/stack.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <vector>

namespace guild::inline v0 {

/// The number of columns that share a scale where a whole row does.
constexpr long whole_row = 1L << 62;

/// Matrices [E, out, in] in a format with scales that somebody else owns. The format says what is in it:
///
///     code, scale                what a row and the scales are made of, in memory
///     per_code                   numbers in one code
///     rows, columns              block of a matrix that shares a scale; the last ones may be smaller
///     decode(row, c), encode(x, row, c)                 number c of a row of codes, scale aside
///     scale_of(largest)                                 the scale of a block, by its largest magnitude
/// Strides are in codes and in scales; as in `stack` they reach fused and interleaved tensors, if blocks of rows stay whole.
template <class Format> struct scaled_stack {
    using code = typename Format::code;         ///< of the format
    using scale_type = typename Format::scale;  ///< of the format

    const code* data = nullptr;  ///< of expert 0, row 0
    /// Codes from one expert, and from one row, to the next.
    long expert_stride = 0, row_stride = 0;
    const scale_type* scale = nullptr;                   ///< of the first block of expert 0
    long scale_expert_stride = 0, scale_row_stride = 0;  ///< from one block of rows to the next

    /// The codes of row r of expert e.
    constexpr const code* row(long e, long r) const { return data + e * expert_stride + r * row_stride; }
    /// The scales of row r: that of column c is scales(e, r)[c / columns].
    constexpr const scale_type* scales(long e, long r) const { return scale + e * scale_expert_stride + r / Format::rows * scale_row_stride; }
    /// Number (r, c) of expert e, its scale included.
    constexpr float operator()(long e, long r, long c) const { return Format::decode(row(e, r), c) * decode(scales(e, r)[c / Format::columns]); }
    /// to [n] = the columns from `first` on, the same numbers; block by block, code by code, which compilers vectorise.
    constexpr void read(long e, long r, long first, long n, float* to) const {
        constexpr long per_code = Format::per_code;
        const code* const from = row(e, r);
        for (long c = first; c < first + n;) {
            const long end = (std::min)(first + n, c - c % Format::columns + Format::columns);
            const float by = decode(scales(e, r)[c / Format::columns]);
            for (; c < end && c % per_code != 0; ++c) *to++ = Format::decode(from, c) * by;
            const long whole = (end - c) / per_code;
            const code* const at = from + c / per_code;
            for (long i = 0; i < whole; ++i)
                for (long k = 0; k < per_code; ++k) to[i * per_code + k] = Format::decode(at + i, k) * by;
            to += whole * per_code;
            for (c += whole * per_code; c < end; ++c) *to++ = Format::decode(from, c) * by;
        }
    }
};

/// The codes and scales of such matrices, owned, without gaps.
template <class Format> struct scaled_matrices {
    std::vector<typename Format::code> data;    ///< [E, out, codes of a row]
    std::vector<typename Format::scale> scale;  ///< [E, blocks of rows, blocks of columns]
    friend bool operator==(const scaled_matrices&, const scaled_matrices&) = default;
};

/// `format` of a format with scales.
template <class Format> struct scaled_format {
    using scalar = float;                     ///< of activations
    using stack = scaled_stack<Format>;       ///< how matrices are read
    using storage = scaled_matrices<Format>;  ///< how they are owned

    /// [E, out, in], zero.
    static void resize(storage& w, long E, long out, long in) {
        detail::resize_huge(w.data, static_cast<std::size_t>(E * out * codes(in)));
        w.scale.resize(static_cast<std::size_t>(E * blocks(out, Format::rows) * blocks(in, Format::columns)));
    }
    /// To read, each matrix [out, in].
    static stack lend(const storage& w, long out, long in) {
        const long across = blocks(in, Format::columns);
        return {w.data.data(), out * codes(in), codes(in), w.scale.data(), blocks(out, Format::rows) * across, across};
    }
    /// f(which, found, expected) for the codes and the scales of [E, out, in].
    static constexpr void each_size(const storage& w, long E, long out, long in, auto f) {
        f("", static_cast<long>(w.data.size()), E * out * codes(in));
        f(".scale", static_cast<long>(w.scale.size()), E * blocks(out, Format::rows) * blocks(in, Format::columns));
    }
    /// Blocks of `size` that cover n.
    static constexpr long blocks(long n, long size) { return n / size + (n % size != 0); }
    /// Codes of a row of `in` numbers.
    static constexpr long codes(long in) { return blocks(in, Format::per_code); }
};

template <class Format> concept has_scales = std::derived_from<format<Format>, scaled_format<Format>>;

namespace detail {
/// A scale to divide by: that of zeros is 1.
constexpr float divisor(float scale) { return scale > 0 ? scale : 1.f; }

/// Number c of a row that has two of 4 bits in a byte, the even one low.
constexpr std::uint32_t nibble(const std::uint8_t* row, long c) { return (row[c / 2] >> (c % 2 * 4)) & 15u; }
constexpr void set_nibble(std::uint32_t x, std::uint8_t* row, long c) {
    const long shift = c % 2 * 4;
    row[c / 2] = static_cast<std::uint8_t>((row[c / 2] & (0xf0 >> shift)) | static_cast<int>(x << shift));
}
}  // namespace detail

}  // namespace guild::inline v0
