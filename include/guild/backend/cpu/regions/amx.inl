// Tiles of AMX: 16 rows of activations x 64 bytes of the depth times 16 outputs, two of each side at a time. A row does not depend on those beside
// it, so fewer rows are computed as 16, whatever stands in the others.

/// Palette 1, eight tiles of 16 rows x 64 bytes.
struct alignas(64) tile_shape {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(tile_shape) == 64 && __builtin_offsetof(tile_shape, bytes) == 16 && __builtin_offsetof(tile_shape, rows) == 48, "ldtilecfg");
/// g++ 12's intrinsic says that it reads 8 of the 64 bytes, so that the others are never written.
inline unsigned configure() {
    const tile_shape shape;
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
    return 0;
}
inline void release(unsigned) { _tile_release(); }
inline unsigned configure_flushing() {
    configure();
    return flush();
}
inline void release_flushing(unsigned before) {
    release(0);
    unflush(before);
}

// Sixteen gathered rows stand as tiles read them: the first 64 bytes of each, then the next 64 of each, 1 KiB further.

inline void signed_row(const float* from, long k, float by, void* to) {
    auto* const out = static_cast<std::int8_t*>(to);
    avx512::each_padded(from, k, (k + 63) / 64 * 64, [&](long i, avx512::floats x) {
        const auto b = __builtin_convertvector(avx512::quantised(x, by), avx512::bytes);
        __builtin_memcpy(out + i / 64 * 1024 + i % 64, &b, sizeof b);
    });
}
inline void pair_row(const float* from, long k, float, void* to) {
    avx512::pair_row_at(from, k, to, [](long i) { return i / 32 * 512 + i % 32; });
}
inline void pair_columns(const float* from, long stride, long k, long n, void* to) {
    const long granule = (k + 31) / 32 * 256;
    avx512::pair_columns_at(from, stride, k, n, to, [=](long c, long i) { return c / 16 * granule + c % 16 * 16 + i / 16 * 256 + i % 16; });
}

/// `High` x 16 rows x 32 outputs.
template <bool Int8, int High> void tile_amx(const void* rows, const void* weights, long k, void* sums_of, long c_stride, bool add, prefetch ahead) {
    constexpr long depth = Int8 ? 64 : 32, b_line = 4 * columns;
    const long granule = (k + depth - 1) / depth * 1024;
    const auto *a = static_cast<const char*>(rows), *b = static_cast<const char*>(weights);
    auto* const c = static_cast<float*>(sums_of);
    const long c_line = 4 * c_stride;
    __asm__ volatile("" ::: "memory");  // g++ 12's tile loads do not say that they read memory
    if (add) {
        _tile_loadd(0, c, c_line);
        _tile_loadd(1, c + 16, c_line);
        if constexpr (High == 2) {
            _tile_loadd(2, c + 16 * c_stride, c_line);
            _tile_loadd(3, c + 16 * c_stride + 16, c_line);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if constexpr (High == 2) {
            _tile_zero(2);
            _tile_zero(3);
        }
    }
    for (long i = 0; i < k; i += depth, a += 1024, b += 16 * b_line) {
        fetch(ahead);
        _tile_loadd(6, b, b_line);
        _tile_loadd(7, b + 64, b_line);
        _tile_loadd(4, a, 64);
        if constexpr (High == 2) _tile_loadd(5, a + granule, 64);
        if constexpr (Int8) {
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            if constexpr (High == 2) {
                _tile_dpbssd(2, 5, 6);
                _tile_dpbssd(3, 5, 7);
            }
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if constexpr (High == 2) {
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    _tile_stored(0, c, c_line);
    _tile_stored(1, c + 16, c_line);
    if constexpr (High == 2) {
        _tile_stored(2, c + 16 * c_stride, c_line);
        _tile_stored(3, c + 16 * c_stride + 16, c_line);
    }
    __asm__ volatile("" ::: "memory");
}

/// Xeons with AMX, two cores that read 28 GB/s: 12 rows in fp32 take 97 ms at 1 KiB, 84 at 4, 88 at 16, in bf16 41, 38 and 39 ms; one row in fp32
/// 14.1 ms at 1 KiB, 11.9 at 4.
template <class = void> const kernels& table() {
    static constexpr kernels k = [] {
        kernels t = avx512::values();
        t.level = isa::amx;
        t.tuned = {.one_row = 4096, .one_tile = 4096};
        return t;
    }();
    return k;
}
template <bool Int8> constexpr tile_kernels tiles(row_kernel row) {
    return {.block = Int8 ? 1024 : 512,
            .unit = Int8 ? 64 : 32,
            .fetch_depth = Int8 ? 64 : 32,
            .rows = 32,
            .granule = 16,
            .whole = true,
            .ridge = 160,
            .tile = {tile_amx<Int8, 1>, tile_amx<Int8, 2>},
            .row = row,
            .column = Int8 ? nullptr : pair_columns,
            .enter = Int8 ? configure : configure_flushing,
            .leave = Int8 ? release : release_flushing};
}
template <class = void> const bf16_kernels& bf16_table() {
    static constexpr bf16_kernels k = [] {
        bf16_kernels t = avx512_bf16::bf16_values();
        t.pairs = tiles<false>(pair_row);
        return t;
    }();
    return k;
}
template <class = void> const tile_kernels& int8_table() {
    static constexpr tile_kernels k = tiles<true>(signed_row);
    return k;
}
