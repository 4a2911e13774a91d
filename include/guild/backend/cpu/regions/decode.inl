// Blocks of stored numbers to floats, exactly the numbers that the format's stack gives: what is in a word, times its scale.

typedef std::uint32_t uints __attribute__((vector_size(4 * lanes)));
typedef std::int32_t ints __attribute__((vector_size(4 * lanes)));
typedef float floats __attribute__((vector_size(4 * lanes)));
typedef std::uint8_t bytes __attribute__((vector_size(lanes)));

/// 32 bits of memory that was written as another type.
inline std::int32_t word(const void* from) {
    std::int32_t w;
    __builtin_memcpy(&w, from, sizeof w);
    return w;
}
template <class V> V read(const void* from) {
    V v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}
template <class To, class From> To as(From v) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    __builtin_memcpy(&to, &v, sizeof to);
    return to;
}
inline uints where(ints mask, uints yes, uints no) { return (as<uints>(mask) & yes) | (~as<uints>(mask) & no); }

/// Magnitudes in `Exponent` bits over `Mantissa`, with IEEE's bias and subnormals; sign aside.
template <int Exponent, int Mantissa> uints magnitude(uints code) {
    constexpr int bias = (1 << (Exponent - 1)) - 1;
    constexpr std::uint32_t smallest = static_cast<std::uint32_t>(127 + 1 - bias - Mantissa) << 23;  // of the subnormals, as a float
    const floats subnormal = __builtin_convertvector(as<ints>(code), floats) * as<floats>(uints{} + smallest);
    const uints normal = (code << (23 - Mantissa)) + (static_cast<std::uint32_t>(127 - bias) << 23);
    return where(as<ints>(code < (uints{} + (1u << Mantissa))), as<uints>(subnormal), normal);
}

/// Numbers of `bits` bits in the lowest bits of a word.
struct half_field {
    static constexpr int bits = 16;
    static floats value(uints w) {
        const uints code = w & 0x7fffu, infinite = as<uints>(code >= (uints{} + 0x7c00u)) & (112u << 23);
        return as<floats>((magnitude<5, 10>(code) + infinite) | ((w & 0x8000u) << 16));
    }
};
struct fp8_field {
    static constexpr int bits = 8;
    static floats value(uints w) {
        const uints code = w & 0x7fu, nan = as<uints>(code == (uints{} + 0x7fu)) & 0x7fc00000u;
        return as<floats>(magnitude<4, 3>(code) | nan | ((w & 0x80u) << 24));
    }
};
struct int8_field {
    static constexpr int bits = 8;
    static floats value(uints w) { return __builtin_convertvector(as<ints>(w << 24) >> 24, floats); }
};
struct int4_field {
    static constexpr int bits = 4;
    static floats value(uints w) { return __builtin_convertvector(as<ints>(w << 28) >> 28, floats); }
};
struct mxfp4_field {
    static constexpr int bits = 4;
    static floats value(uints w) { return as<floats>(magnitude<2, 1>(w & 7u) | ((w & 8u) << 28)); }
};

struct float_scale {
    static constexpr long size = 4;
    static floats value(const void* p) { return read<floats>(p); }
};
/// Powers of two: bits - 127 is the exponent, 0 a subnormal number, 255 NaN.
struct power_scale {
    static constexpr long size = 1;
    static floats value(const void* p) {
        const uints code = __builtin_convertvector(read<bytes>(p), uints);
        const uints normal = code << 23, finite = where(as<ints>(code == uints{}), uints{} + (1u << 22), normal);
        return as<floats>(finite | (as<uints>(code == (uints{} + 255u)) & 0x7fc00000u));
    }
};

/// stored [k / numbers of a word, columns], scales [.., columns] for every `group` of the depth, of which the block begins at `first`.
template <class Field, class Scale> void decode_block(const void* stored, const void* scales, long group, long first, long k, float* b) {
    constexpr long numbers = 32 / Field::bits;
    const char *const from = static_cast<const char*>(stored), *by = static_cast<const char*>(scales) + first / group * columns * Scale::size;
    long end = group - first % group;  // of what `by` is for
    for (long i = 0; i < k; ++i, b += columns) {
        if (i == end) by += columns * Scale::size, end += group;
        const int shift = static_cast<int>(i % numbers) * Field::bits;
        for (int j = 0; j < columns; j += lanes) {
            const floats v = Field::value(read<uints>(from + (i / numbers * columns + j) * 4) >> shift) * Scale::value(by + j * Scale::size);
            __builtin_memcpy(b + j, &v, sizeof v);
        }
    }
}
inline void decode_half(const void* stored, const void*, long, long, long k, float* b) {
    const char* const from = static_cast<const char*>(stored);
    for (long i = 0; i < k; ++i, b += columns)
        for (int j = 0; j < columns; j += lanes) {
            const floats v = half_field::value(read<uints>(from + (i / 2 * columns + j) * 4) >> static_cast<int>(i % 2 * 16));
            __builtin_memcpy(b + j, &v, sizeof v);
        }
}

/// f(i, numbers from i on) for n numbers, zeros behind them, in whole vectors up to `padded`.
template <class F> void each_padded(const float* from, long n, long padded, F f) {
    long i = 0;
    for (; i + lanes <= n; i += lanes) f(i, read<floats>(from + i));
    if (i < n) {
        floats x{};
        __builtin_memcpy(&x, from + i, static_cast<unsigned long>(n - i) * 4);
        f(i, x);
        i += lanes;
    }
    for (; i < padded; i += lanes) f(i, floats{});
}

inline void spread(const float* from, long n, float by, long panels, float* to, long panel_stride) {
    for (long p = 0; p < panels; ++p, to += panel_stride)
        for (int j = 0; j < columns; j += lanes, n -= lanes, from += lanes) {
            floats v{};
            if (n >= lanes) v = read<floats>(from);
            else if (n > 0) __builtin_memcpy(&v, from, static_cast<unsigned long>(n) * 4);
            v *= by;
            __builtin_memcpy(to + j, &v, sizeof v);
        }
}

template <class = void> const decode_kernels& decode_table() {
    static constexpr decode_kernels k{decode_half, decode_block<fp8_field, float_scale>, decode_block<int8_field, float_scale>,
                                      decode_block<int4_field, float_scale>, decode_block<mxfp4_field, power_scale>};
    return k;
}
