// One row through matrices whose depth is a single block, without a call in between: what a small layer costs. The bits of `tile`.

/// f(panel, its two registers of sums) for panels [p, p + Panels).
template <int Panels, class F> inline void some_panels(const float* a, const float* b, long k, long p, F f) {
    const long block = k * columns;
    sums<1> s[Panels];
    b += p * block;
    for (long i = 0; i < k; ++i, b += columns) {
        GUILD_CPU_UNROLL
        for (int q = 0; q < Panels; ++q)
            step(
                s[q], [&](int) { return a + i; }, b + q * block);
    }
    GUILD_CPU_UNROLL
    for (int q = 0; q < Panels; ++q) f(p + q, s[q].s[0][0], s[q].s[0][1]);
}
template <class F> inline void each_panel(const float* a, const float* b, long k, long panels, F f) {
    long p = 0;
    for (; p + 4 <= panels; p += 4) some_panels<4>(a, b, k, p, f);
    if (panels - p >= 2) some_panels<2>(a, b, k, p, f), p += 2;
    if (panels > p) some_panels<1>(a, b, k, p, f);
}

inline void one_row(const float* a, const float* b, long k, long panels, float* c) {
    each_panel(a, b, k, panels, [=](long p, vec::reg first, vec::reg second) {
        vec::store(c + p * columns, first);
        vec::store(c + p * columns + lanes, second);
    });
}

/// A panel of up holds as many outputs of the gate as a register, then as many of up.
inline void one_swiglu(const float* x, long H, const float* up, long F, const float* down, float* a, float* y) {
    each_panel(x, up, H, (F + lanes - 1) / lanes, [=](long p, vec::reg first, vec::reg second) {
        const floats g = as<floats>(first);
        vec::store(a + p * lanes, as<vec::reg>(g * sigmoid(g) * as<floats>(second)));
    });
    one_row(a, down, F, (H + columns - 1) / columns, y);
}
