#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

namespace bench {

/// One token through one mixture of fixed size, as a careful programmer writes it for that size alone: router, the two best of eight experts,
/// softmax of the two, SwiGLU, weighted sum. Vectors of the compiler; every loop but those over the depth and over groups of outputs unrolled;
/// weights in the order in which they are read; eight independent sums to hide the latency of multiply-add.
template <int H, int F> class hand_written {
    static constexpr int E = 8;
#if defined(__AVX512F__)
    static constexpr int widest = 16;
#else
    static constexpr int widest = 8;
#endif
    static_assert(H % 16 == 0 && F % 16 == 0);

    /// How N outputs of depth K are computed: `groups` of `across` vectors, `chains` sums for each, weights [groups][K][across][lanes].
    template <int N> struct cut {
        static constexpr int lanes = N % widest == 0 ? widest : 8;
        static constexpr int across = N / lanes < 8 ? N / lanes : 8, groups = N / lanes / across, chains = 8 / across;
        static_assert(N == groups * across * lanes);
        typedef float vector __attribute__((vector_size(4 * lanes)));
        typedef int integers __attribute__((vector_size(4 * lanes)));

        static vector load(const float* p) {
            vector v;
            std::memcpy(&v, p, sizeof v);
            return v;
        }
        static void store(float* p, vector v) { std::memcpy(p, &v, sizeof v); }
        /// Where output n of input k stands.
        static constexpr int at(int K, int n, int k) { return (n / (across * lanes) * K + k) * across * lanes + n % (across * lanes); }
    };
    using up_cut = cut<2 * F>;
    using down_cut = cut<H>;
    using router_cut = cut<E>;
    static constexpr int half = up_cut::across / 2 * up_cut::lanes;  // of a group the gate's outputs, then as many of up
    static constexpr int expert_size = 3 * H * F;

public:
    /// From PyTorch's layout: router [8, H], gate, up [8, F, H], down [8, H, F].
    hand_written(const float* router, const float* gate, const float* up, const float* down)
        : router_(allocate(E * H)), experts_(allocate(E * expert_size)) {
        for (int e = 0; e < E; ++e)
            for (int h = 0; h < H; ++h) router_.get()[router_cut::at(H, e, h)] = router[e * H + h];
        for (int e = 0; e < E; ++e) {
            float* const first = experts_.get() + e * expert_size;
            for (int f = 0; f < F; ++f)
                for (int h = 0; h < H; ++h) {
                    const int n = f / half * 2 * half + f % half;
                    first[up_cut::at(H, n, h)] = gate[(e * F + f) * H + h];
                    first[up_cut::at(H, n + half, h)] = up[(e * F + f) * H + h];
                    first[2 * H * F + down_cut::at(F, h, f)] = down[(e * H + h) * F + f];
                }
        }
    }
    /// x, y [H], y =
    void operator()(const float* x, float* y) const {
        alignas(64) float logit[std::size_t{E}], a[std::size_t{F}];
        product<router_cut, H>(router_.get(), x, [&](int, const auto& sum) { router_cut::store(logit, sum[0]); });
        int best = 0, second = -1;
        for (int e = 1; e < E; ++e)
            if (logit[e] > logit[best]) second = best, best = e;
            else if (second < 0 || logit[e] > logit[second]) second = e;
        const float odds = std::exp(logit[second] - logit[best]), weight = 1 / (1 + odds);
        expert<false>(best, weight, x, a, y);
        expert<true>(second, odds * weight, x, a, y);
    }

private:
    /// y (+)= weight expert(x)
    template <bool Add> void expert(int e, float weight, const float* x, float* a, float* y) const {
        const float* const w = experts_.get() + e * expert_size;
        product<up_cut, H>(w, x, [&](int g, const auto& sum) {
            constexpr int pairs = up_cut::across / 2;
            for (int i = 0; i < pairs; ++i) up_cut::store(a + g * half + i * up_cut::lanes, weight * silu(sum[i]) * sum[i + pairs]);
        });
        product<down_cut, F>(w + 2 * H * F, a, [&](int g, const auto& sum) {
            for (int i = 0; i < down_cut::across; ++i) {
                float* const to = y + (g * down_cut::across + i) * down_cut::lanes;
                down_cut::store(to, Add ? down_cut::load(to) + sum[i] : sum[i]);
            }
        });
    }
    /// finish(g, sums of group g) for w x.
    template <class Cut, int K, class Finish> static void product(const float* w, const float* x, Finish finish) {
        constexpr int across = Cut::across, lanes = Cut::lanes, chains = Cut::chains;
        static_assert(K % chains == 0);
        for (int g = 0; g < Cut::groups; ++g) {
            typename Cut::vector sum[std::size_t{chains}][std::size_t{across}] = {};
            for (int k = 0; k < K; k += chains)
#pragma GCC unroll 8
                for (int c = 0; c < chains; ++c)
#pragma GCC unroll 8
                    for (int i = 0; i < across; ++i) sum[c][i] += x[k + c] * Cut::load(w + ((g * K + k + c) * across + i) * lanes);
#pragma GCC unroll 8
            for (int c = 1; c < chains; ++c)
#pragma GCC unroll 8
                for (int i = 0; i < across; ++i) sum[0][i] += sum[c][i];
            finish(g, sum[0]);
        }
    }
    /// x / (1 + e^-x); e^x = 2^n e^r, e^r by a polynomial.
    static typename up_cut::vector silu(typename up_cut::vector x) {
        using vector = typename up_cut::vector;
        using integers = typename up_cut::integers;
        vector t = -x;
        t = t > 87.f ? vector{} + 87.f : t;
        t = t < -87.f ? vector{} - 87.f : t;
        const vector shifted = t * 1.44269504f + 12582912.f, n = shifted - 12582912.f, r = (t - n * 0.693359375f) + n * 2.12194440e-4f;
        vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * r * r + r + 1.f;
        const vector power = std::bit_cast<vector>((std::bit_cast<integers>(shifted) - (0x4b400000 - 127)) << 23);
        return x / (1.f + p * power);
    }

    struct release {
        void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
    };
    using memory = std::unique_ptr<float, release>;
    static memory allocate(int n) {
        return memory(static_cast<float*>(::operator new(sizeof(float) * static_cast<std::size_t>(n), std::align_val_t(64))));
    }
    memory router_, experts_;
};

}  // namespace bench
