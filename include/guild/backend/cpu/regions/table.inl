// What vectors and integers of a region make together.

constexpr kernels values() {
    kernels k{.level = level, .columns = columns, .tuned = tuned, .fp32 = fp32_tiles(count_to<vec::most_rows>::type{})};
    k.transpose = transpose;
    k.restore = restore;
    k.spread = spread;
    k.largest = largest;
    k.swiglu = swiglu;
    k.one_row = one_row;
    k.few_swiglu = few_swiglu;
    k.swiglu_gradient = swiglu_gradient;
    return k;
}
constexpr bf16_kernels bf16_values() {
    return {.widened = widened_tiles(count_to<vec::widened_rows>::type{}),
            .pairs = pair_tiles(count_to<vec::pair_rows>::type{}),
            .rounded = fp32_tiles(count_to<vec::most_rows>::type{}, round_row),
            .decode = decode_bf16,
            .narrow = pair_row,
            .spread = spread_pairs};
}

template <class = void> const kernels& table() {
    static constexpr kernels k = values();
    return k;
}
template <class = void> const bf16_kernels& bf16_table() {
    static constexpr bf16_kernels k = bf16_values();
    return k;
}
template <class = void> const tile_kernels& int8_table() {
    static constexpr tile_kernels k = int8_tiles(count_to<vec::int8_rows>::type{});
    return k;
}
