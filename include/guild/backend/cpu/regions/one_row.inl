// One row through matrices whose depth is a single block, without a call in between: what a small layer costs. The bits of `tile`.

/// f(i, its two registers of sums) for N products from i on of a row a(i) [k] and a panel b(i): enough of them hide the latency of each.
template <int N, class A, class B, class F> inline void some_products(long i, const A& a, const B& b, long k, const F& f) {
    const float *row[std::size_t{N}], *from[std::size_t{N}];
    vec::reg first[std::size_t{N}], second[std::size_t{N}];
    GUILD_CPU_UNROLL
    for (int q = 0; q < N; ++q) row[q] = a(i + q), from[q] = b(i + q), first[q] = second[q] = vec::zero();
    for (long j = 0; j < k; ++j) {
        GUILD_CPU_UNROLL
        for (int q = 0; q < N; ++q) {
            const vec::reg x = vec::all(row[q] + j);
            first[q] = vec::fma(x, vec::load(from[q] + j * columns), first[q]);
            second[q] = vec::fma(x, vec::load(from[q] + j * columns + lanes), second[q]);
        }
    }
    GUILD_CPU_UNROLL
    for (int q = 0; q < N; ++q) f(i + q, first[q], second[q]);
}
/// The same for n products.
template <class A, class B, class F> inline void each_product(long n, const A& a, const B& b, long k, const F& f) {
    long i = 0;
    for (; i + 4 <= n; i += 4) some_products<4>(i, a, b, k, f);
    if (n - i >= 2) some_products<2>(i, a, b, k, f), i += 2;
    if (n > i) some_products<1>(i, a, b, k, f);
}

inline void one_row(const float* a, const float* b, long k, long panels, float* c) {
    each_product(
        panels, [=](long) { return a; }, [=](long p) { return b + p * k * columns; }, k,
        [=](long p, vec::reg first, vec::reg second) {
            vec::store(c + p * columns, first);
            vec::store(c + p * columns + lanes, second);
        });
}

/// A panel of up holds as many outputs of the gate as a register, then as many of up. Where a network has few panels of down, those of all
/// networks are computed side by side.
inline void few_swiglu(const float* x, long H, long F, const one_network* w, int n, float* a, float* y) {
    const long parts = (F + lanes - 1) / lanes, panels = (H + columns - 1) / columns;
    for (int e = 0; e < n; ++e, a += parts * lanes)
        each_product(
            parts, [=](long) { return x; }, [=](long p) { return w[e].up + p * H * columns; }, H,
            [=](long p, vec::reg first, vec::reg second) {
                const floats g = as<floats>(first);
                vec::store(a + p * lanes, as<vec::reg>(g * sigmoid(g) * as<floats>(second)));
            });
    a -= n * parts * lanes;
    if (panels >= 4 || n == 1) {
        for (int e = 0; e < n; ++e) one_row(a + e * parts * lanes, w[e].down, F, panels, y + e * panels * columns);
        return;
    }
    const float *rows[most_networks * 3], *of[most_networks * 3];
    for (int e = 0, i = 0; e < n; ++e)
        for (long p = 0; p < panels; ++p, ++i) rows[i] = a + e * parts * lanes, of[i] = w[e].down + p * F * columns;
    each_product(
        n * panels, [&](long i) { return rows[i]; }, [&](long i) { return of[i]; }, F,
        [=](long i, vec::reg first, vec::reg second) {
            vec::store(y + i * columns, first);
            vec::store(y + i * columns + lanes, second);
        });
}
