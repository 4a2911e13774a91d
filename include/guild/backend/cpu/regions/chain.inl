// arithmetic::bf16_chain: vdpbf16ps adds the product of the odd numbers of a pair, then that of the even ones.

template <int Rows> void tile_chain(const void* rows, const void* weights, long k, void* c, long c_stride, bool add, prefetch ahead) {
    const auto* a = static_cast<const std::uint32_t*>(rows);
    const auto* b = static_cast<const std::uint16_t*>(weights);
    avx512::sums<Rows> s;
    long i = 0;
    for (long pairs = (k + 1) / 2; pairs > 0; --pairs, ++a, b += 2 * columns) {
        if (i++ % 8 == 0) fetch(ahead);
        const auto b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)), b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 32));
        GUILD_CPU_UNROLL
        for (int r = 0; r < Rows; ++r) {
            const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(avx512::word(a + r * row_stride)));
            s.s[r][0] = _mm512_dpbf16_ps(s.s[r][0], b0, x);
            s.s[r][1] = _mm512_dpbf16_ps(s.s[r][1], b1, x);
        }
    }
    s.leave(static_cast<float*>(c), c_stride, add);
}

template <int... R> constexpr tile_kernels chain_tiles(counted<R...>) {
    return {.block = 512,
            .unit = 32,
            .fetch_depth = 16,
            .rows = sizeof...(R),
            .ridge = avx512::ridge,
            .tile = {tile_chain<R>...},
            .row = pair_row,
            .column = pair_columns,
            .enter = flush,
            .leave = unflush};
}

constexpr bf16_kernels bf16_values() {
    bf16_kernels k = avx512::bf16_values();
    k.chain = chain_tiles(count_to<avx512::vec::most_rows>::type{});
    return k;
}
template <class = void> const bf16_kernels& bf16_table() {
    static constexpr bf16_kernels k = bf16_values();
    return k;
}
