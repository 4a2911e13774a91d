#pragma once
#include <guild/backend/cpu/isa.hpp>

#include <cstddef>
#include <cstdint>

/// The kernels of the CPU, one text compiled once for each instruction set in a program compiled for any x86-64, and chosen at run time
/// through a table of function pointers. A call computes a tile, thousands of operations, so the pointer costs nothing.
namespace guild::inline v0::cpu {

/// How products are computed: chosen by the backend, for packed weights when they are packed, and never by the number of rows. Each has one
/// order of summation, the same for every row, whatever stands beside it; order.hpp has them as plain loops. Reading the weights is exact.
/// Over plain weights so are the gradients' products, along outputs and along tokens; where one adds, the sum begins with what is there.
///
///     fp32        activations as they are. Blocks of 256 of the depth: in each a chain of fused multiply-adds from zero, ascending; the blocks are
///                 added in order. AVX2 and AVX-512 give the same bits
///     bf16        weights bf16, activations rounded to bf16, sums in fp32 in the order of the tile unit of AMX: of 32 of the depth, filled up by
///                 zeros, the even and the odd products are summed apart, each a chain of fused multiply-adds from zero, then c += even + odd;
///                 denormals are flushed. The same bits on every x86-64 with FMA. Plain weights of any format are rounded, and so are gradients
///     bf16_chain  the same rounding, by vdpbf16ps: c = fma(even, fma(odd, c)) for each pair from zero, in blocks of 512 that are added in order.
///                 About twice as fast as `bf16` where there is avx512_bf16 and no AMX; machines without it cannot do it
///     bf16_rows   activations rounded to bf16, packed weights of any format as they are, in the order of fp32: what a model whose activations
///                 are bf16 computes with weights of more bits, or of fewer. For packed weights alone, as int8 is
///     int8        weights int8 with a scale for each row, activations quantised to int8 with a scale for each token, sums exact in 32 bits. The same
///                 bits everywhere. For packed weights alone: plain ones are multiplied in fp32
enum class arithmetic { fp32, bf16, bf16_chain, bf16_rows, int8 };

inline constexpr std::string_view arithmetic_names[] = {"fp32", "bf16", "bf16_chain", "bf16_rows", "int8"};
constexpr std::string_view name(arithmetic a) { return arithmetic_names[static_cast<int>(a)]; }

/// Depth that fp32 sums in one chain.
inline constexpr long depth_block = 256;
/// Most columns that a column_kernel lays out, and those padded to what a row is rounded by.
inline constexpr long most_lines = 112, padded_lines = (most_lines + 31) / 32 * 32;
/// Rows that are gathered for a block of the depth lie this many words of 32 bits apart, which spreads them over the sets of a cache.
inline constexpr long row_stride = 256 + 16;

/// What a tile fetches into the cache while it computes: `lines` cache lines from `at` on, the next ones for every further `fetch_depth` of the
/// depth. Of rows that do not follow each other `left` times are left of the row, then `at` moves by `skip` bytes to the next, of `times`;
/// left 0: all follow each other.
struct prefetch {
    const void* at = nullptr;
    long lines = 0, left = 0, times = 0, skip = 0;
};

/// c [rows, columns] (+)= a [rows, k] b [k, columns], a as `row_kernel` left it, b as it is packed. `add`: to what c holds.
using tile_kernel = void (*)(const void* a, const void* b, long k, void* c, long c_stride, bool add, prefetch ahead);
/// k numbers of a row to what the tiles read, where tile_kernels::row_at says, padded by zeros. `by` is the row's 1 / scale where there is one.
using row_kernel = void (*)(const float* from, long k, float by, void* to);
/// n columns of k rows, `stride` apart, each to what the tiles read of a row; n at most `most_lines`. What a sum over tokens reads.
using column_kernel = void (*)(const float* from, long stride, long k, long n, void* to);
/// The first k words of 32 bits of n rows to a block [k, columns], zeros beyond n. What each row has `ahead` bytes further is fetched; 0: nothing.
using transpose_kernel = void (*)(const char* const* rows, long n, long k, void* block, long ahead);
/// The reverse: a block [k, columns] to the first k words of as many rows.
using restore_kernel = void (*)(const void* block, long k, char* const* rows);
/// To sums [columns], the int8 of a block of so many words [words, columns].
using total_kernel = void (*)(const void* block, long words, std::int32_t* sums);
/// A row of n numbers times `by` to a row of each of the panels, `panel_stride` apart, that hold it; zeros beyond n.
using spread_kernel = void (*)(const float* from, long n, float by, long panels, float* to, long panel_stride);
/// The same of two rows, each by its factor and then rounded to bf16, as pairs in words; null for the second: zeros.
using spread_pairs_kernel = void (*)(const float* first, const float* second, long n, float by_first, float by_second, long panels, void* to,
                                     long panel_stride);
/// A block of stored numbers [k, columns] to float, scaled: scales [.., columns] for every `group` of the depth, in which the block begins at
/// `first`.
using decode_kernel = void (*)(const void* stored, const void* scales, long group, long first, long k, float* b);

/// out = g sigmoid(g) u, n numbers of so many rows; those of g and u lie `stride` apart.
using swiglu_kernel = void (*)(const float* g, const float* u, long rows, long stride, long n, float* out, long out_stride);
/// d_g, d_u = by d [n].
using swiglu_gradient_kernel = void (*)(const float* g, const float* u, const float* d, long n, float* d_g, float* d_u);

/// c [panels, columns] = a row a [k] times panels of one block [k, columns] that follow each other.
using one_row_kernel = void (*)(const float* a, const float* b, long k, long panels, float* c);
/// Weights of a network of a single block each: gate and up side by side in panels [H, columns], and down.
struct one_network {
    const float *up, *down;
};
/// How many of them one call takes.
inline constexpr int most_networks = 4;
/// A row x [H] through n <= most_networks networks of that kind with SwiGLU: y [n, H] =, padded to whole panels; a [n, F] is scratch, padded to
/// whole registers.
using few_swiglu_kernel = void (*)(const float* x, long H, long F, const one_network* w, int n, float* a, float* y);

/// The kernels of one arithmetic. tile[(r - 1) / granule] serves r rows.
struct tile_kernels {
    long block = 0;  ///< depth of a block
    long unit = 1;   ///< the depth is padded to a multiple of it
    long fetch_depth = 8;
    int rows = 0;        ///< most rows of a tile
    int granule = 1;     ///< rows are computed in multiples of it
    bool whole = false;  ///< sums best stay in the tiles from end to end of the depth, whose blocks then follow each other; rows in granules
    long ridge = 0;      ///< from so many rows of an expert on its weights cost less than its products
    tile_kernel tile[14]{};
    tile_kernel four = nullptr;  ///< one row by four blocks one after the other, sums c_stride apart
    row_kernel row = nullptr;
    column_kernel column = nullptr;
    unsigned (*enter)() = nullptr;      ///< called before tiles, by the thread that computes them; null: nothing to do
    void (*leave)(unsigned) = nullptr;  ///< with what `enter` gave
    bool offset = false;                ///< sums hold 128 times the weights' sum too many
    total_kernel total = nullptr;       ///< where they do

    explicit operator bool() const { return rows > 0; }
    /// Where row r stands among gathered rows of depth k, in words: `row_stride` apart, or in granules, of whose rows 64 bytes each stand together.
    long row_at(long r, long k) const {
        return granule == 1 ? r * row_stride : r / granule * granule * ((k + unit - 1) / unit * 16) + r % granule * 16;
    }
};

/// Numbers of an instruction set, measured (regions/vector_*.inl and amx.inl say where): how many bytes the prefetch of weights runs before their
/// use, 0 for none, where they meet one row or one tile of rows. Before several tiles it is the block that they meet next.
struct tuning {
    long one_row, one_tile;
};

/// The kernels of one instruction set that every layer uses.
struct kernels {
    isa level = isa::generic;
    int columns = 0;  ///< outputs of a panel
    tuning tuned{};
    tile_kernels fp32{};
    transpose_kernel transpose = nullptr;
    restore_kernel restore = nullptr;
    spread_kernel spread = nullptr;
    float (*largest)(const float* x, long n) = nullptr;  ///< magnitude of n numbers; NaN if one is NaN
    swiglu_kernel swiglu = nullptr;
    one_row_kernel one_row = nullptr;
    few_swiglu_kernel few_swiglu = nullptr;
    swiglu_gradient_kernel swiglu_gradient = nullptr;
};
/// Those over bf16.
struct bf16_kernels {
    tile_kernels widened{};  ///< the bits of fp32, widened in registers, for few rows
    tile_kernels pairs{}, chain{};
    tile_kernels rounded{};  ///< those of fp32 on rows that are rounded
    decode_kernel decode = nullptr;
    row_kernel narrow = nullptr;  ///< a row rounded to bf16, two numbers in a word
    spread_pairs_kernel spread = nullptr;
};
/// Those that read other formats, for arithmetic::fp32.
struct decode_kernels {
    decode_kernel half, fp8, int8, int4, mxfp4;
};

}  // namespace guild::inline v0::cpu
