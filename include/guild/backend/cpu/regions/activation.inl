// SwiGLU and its adjoint, number by number the same wherever a number stands.

inline floats all(float v) { return floats{} + v; }
inline floats madd(floats a, floats b, floats c) { return as<floats>(vec::fma(as<vec::reg>(a), as<vec::reg>(b), as<vec::reg>(c))); }
inline floats least(floats a, floats b) { return as<floats>(vec::least(as<vec::reg>(a), as<vec::reg>(b))); }
inline floats most(floats a, floats b) { return as<floats>(vec::most(as<vec::reg>(a), as<vec::reg>(b))); }

/// v, where sums are not rearranged past it: as in core/exp.hpp, `zero` for g++ alone.
inline floats in_place(floats v, [[maybe_unused]] ints zero) {
#if defined(__ASSOCIATIVE_MATH__) && !defined(__clang__)
    return as<floats>(as<ints>(v) | zero);
#else
    return v;
#endif
}

/// 1 + e^x, e^x as core/exp.hpp computes it but for what 1 rounds away: below -86. Products are fused where it says so and nowhere else: the
/// same bits in every function.
inline floats one_and_exponential(floats x) {
    GUILD_IN_ORDER
    constexpr float to_exponent = 12582912.f + 126;  // adding 1.5 2^23 leaves k, rounded, in the low bits, here the exponent of 2^(k - 1)
    const floats c = least(all(89.f), most(all(-86.f), x));
    const floats shifted = madd(c, all(1.44269504088896341f), all(to_exponent));
    const ints zero = (as<ints>(shifted) - as<ints>(all(to_exponent)) + 256) >> 10;
    const floats n = in_place(shifted, zero) - all(to_exponent);
    const floats r = madd(n, all(2.12194440054690583e-4f), in_place(madd(n, all(-0.693359375f), c), zero));
    floats p = all(1.9875691500e-4f);
    p = madd(p, r, all(1.3981999507e-3f));
    p = madd(p, r, all(8.3334519073e-3f));
    p = madd(p, r, all(4.1665795894e-2f));
    p = madd(p, r, all(1.6666665459e-1f));
    p = madd(p, r, all(5.0000001201e-1f));
    p = madd(as<floats>(as<vec::reg>(p * r)), r, r) + all(1.f);
    return madd(p + p, as<floats>(as<uints>(shifted) << 23), all(1.f));
}
/// 1 / (1 + e^-x) by that sum, and how much less than 1 it is. As guild::logistic 0 under -ffast-math where e^-x overflows, and the rest 0 where the
/// sum is 1, whose reciprocal is only near 1.
#ifdef __FAST_MATH__
inline floats unless(ints mask, floats v) { return as<floats>(as<uints>(v) & ~as<uints>(mask)); }
inline floats sigmoid(floats x, floats sum) { return unless(as<ints>(x < all(-87.3365448f)), 1.f / sum); }
inline floats rest_of(floats s, floats sum) { return unless(as<ints>(sum == all(1.f)), 1.f - s); }
#else
inline floats sigmoid(floats, floats sum) { return 1.f / sum; }
inline floats rest_of(floats s, floats) { return 1.f - s; }
#endif
inline floats sigmoid(floats x) { return sigmoid(x, one_and_exponential(-x)); }

/// f(numbers from i on) for vectors of n numbers, the last one filled with zeros.
template <std::size_t In, std::size_t Out, class F> void each_vector(const float* const (&in)[In], long n, float* const (&out)[Out], F f) {
    long i = 0;
    floats x[In], y[Out];
    for (; i + lanes <= n; i += lanes) {
        for (std::size_t j = 0; j < In; ++j) x[j] = read<floats>(in[j] + i);
        f(x, y);
        for (std::size_t j = 0; j < Out; ++j) __builtin_memcpy(out[j] + i, &y[j], sizeof y[j]);
    }
    if (i == n) return;
    const unsigned long rest = static_cast<unsigned long>(n - i) * 4;
    for (std::size_t j = 0; j < In; ++j) {
        x[j] = floats{};
        __builtin_memcpy(&x[j], in[j] + i, rest);
    }
    f(x, y);
    for (std::size_t j = 0; j < Out; ++j) __builtin_memcpy(out[j] + i, &y[j], rest);
}

/// The largest magnitude of n numbers, NaN if one is: magnitudes are ordered as their bits are, infinity and then NaN last.
inline float largest(const float* x, long n) {
    ints found{};
    each_padded(x, n, n, [&](long, floats v) {
        const ints magnitude = as<ints>(as<uints>(v) & 0x7fffffffu);
        found = magnitude > found ? magnitude : found;
    });
    std::int32_t all = 0;
    for (int i = 0; i < lanes; ++i) all = found[i] > all ? found[i] : all;
    return as<float>(all);
}

/// out = g sigmoid(g) u
inline void swiglu(const float* g, const float* u, long rows, long stride, long n, float* out, long out_stride) {
    for (; rows > 0; --rows, g += stride, u += stride, out += out_stride)
        each_vector<2, 1>({g, u}, n, {out}, [](const floats* x, floats* y) { y[0] = x[0] * sigmoid(x[0]) * x[1]; });
}
/// d_g, d_u = by d
inline void swiglu_gradient(const float* g, const float* u, const float* d, long n, float* d_g, float* d_u) {
    each_vector<3, 2>({g, u, d}, n, {d_g, d_u}, [](const floats* x, floats* y) {
        const floats sum = one_and_exponential(-x[0]), s = sigmoid(x[0], sum), gs = x[0] * s;
        y[0] = x[2] * x[1] * madd(gs, rest_of(s, sum), s);
        y[1] = x[2] * gs;
    });
}
