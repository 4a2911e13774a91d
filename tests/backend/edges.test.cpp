#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/one_row.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/format/quantise.hpp>
#include <guild/parallel/serial.hpp>
#include <support/edge.hpp>
#include <support/few.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "machines.hpp"

// Every kernel, and every product, on operands that end, or begin, where the memory of the process does: nothing is read or written beyond them, and the
// bits are those that the same numbers have elsewhere.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, guild::bf16, guild::groups, guild::into, guild::stack, guild::view;
using floats = std::vector<float>;

floats drawn(long n, unsigned long long seed) {
    floats v(static_cast<std::size_t>(n));
    for (long i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = static_cast<float>(guild::normal(seed, 0, 0, i));
    return v;
}
template <class T> std::vector<T> bytes(long n, unsigned long long seed) {
    std::vector<T> v(static_cast<std::size_t>(n));
    auto* const to = reinterpret_cast<unsigned char*>(v.data());
    for (std::size_t i = 0; i < v.size() * sizeof(T); ++i) to[i] = static_cast<unsigned char>(guild::uniform(seed, 0, 0, static_cast<long>(i)) * 120);
    return v;
}

/// Operands of one call, read or written: at the end of memory, at its beginning, or anywhere, 64-byte aligned, as `where` says.
enum class where { anywhere, last, first };
class operands {
public:
    explicit operands(where w) : where_(w) {}
    template <class T> T* place(const std::vector<T>& from) {
        const std::size_t n = from.size() * sizeof(T);
        if (where_ == where::anywhere) {
            anywhere_.emplace_back(n / 64 + 1);
            if (n > 0) std::memcpy(anywhere_.back().data(), from.data(), n);
            void* const at = anywhere_.back().data();
            return static_cast<T*>(at);
        }
        std::vector<std::byte> raw(n);
        if (n > 0) std::memcpy(raw.data(), from.data(), n);
        void* const at = edges_.emplace_back(std::make_unique<test::edge<std::byte>>(raw, where_ == where::last))->data();
        return static_cast<T*>(at);
    }
    /// What is written, and looked at in the end.
    template <class T> T* result(long n) {
        T* const at = place(std::vector<T>(static_cast<std::size_t>(n), T{}));
        results_.push_back({reinterpret_cast<const char*>(at), static_cast<std::size_t>(n) * sizeof(T)});
        return at;
    }
    template <class T> T* result(const std::vector<T>& from) {
        T* const at = place(from);
        results_.push_back({reinterpret_cast<const char*>(at), from.size() * sizeof(T)});
        return at;
    }
    std::string found() const {
        std::string all;
        for (const auto& [at, n] : results_) all.append(at, n);
        return all;
    }

private:
    struct alignas(64) line {
        std::byte b[64];
    };
    where where_;
    std::vector<std::vector<line>> anywhere_{};
    std::vector<std::unique_ptr<test::edge<std::byte>>> edges_{};
    std::vector<std::pair<const char*, std::size_t>> results_{};
};
/// call(operands) gives the same bytes wherever they are, whatever has been left in the memory that products work in: zeros, or bits that are NaN.
template <class Call> void check(const std::string& name, Call call) {
    CAPTURE(name);
    std::string right;
    static guild::room::memory owner;
    const guild::room::lent memory = owner.reserve(cpu::most_bytes<true>);
    for (const where w : {where::anywhere, where::last, where::first}) {
        operands o(w);
        std::memset(memory.at, w == where::anywhere ? 0 : 0xff, memory.size);
        {
            const guild::room::lend lent(memory);
            call(o);
        }
        if (w == where::anywhere) right = o.found();
        else CHECK(o.found() == right);
    }
}

/// The tiles of an arithmetic over blocks of `bytes_of(k)` bytes: rows that are read into place, blocks and sums.
void check_tiles(const std::string& name, const cpu::tile_kernels& tiles, long columns, long numbers, bool integers) {
    if (!tiles) return;
    CAPTURE(name);
    for (const long k : {1L, 7L, 8L, 31L, 33L, 64L, 65L, 255L})
        for (long r = 1; r <= tiles.rows; r += r < 3 ? 1 : 4) {
            const long height = (r + tiles.granule - 1) / tiles.granule, rows = height * tiles.granule, unit = std::max(tiles.unit, numbers);
            const long words = ((k + unit - 1) / unit * unit + numbers - 1) / numbers;
            const auto weights = bytes<std::uint32_t>(words * columns, 3);
            alignas(64) static float left[cpu::most_rows * cpu::row_stride];
            std::fill(std::begin(left), std::end(left), 0.f);
            for (const bool add : {false, true})
                check("tile", [&](operands& o) {
                    for (long i = 0; i < rows; ++i) {
                        const float* const from = o.place(drawn(k, static_cast<unsigned long long>(i)));
                        tiles.row(from, k, integers ? 20.f : 1.f, left + tiles.row_at(i, k));
                    }
                    const std::uint32_t* const b = o.place(weights);
                    float* const c = o.result(integers ? floats(static_cast<std::size_t>(rows * columns)) : drawn(rows * columns, 5));
                    const cpu::detail::entered inside(tiles);
                    tiles.tile[height - 1](left, b, k, c, columns, add, {b, 4});
                });
            if (tiles.four && r == 1) {
                check("four", [&](operands& o) {
                    tiles.row(o.place(drawn(k, 1)), k, integers ? 20.f : 1.f, left);
                    const auto* const b = o.place(bytes<std::uint32_t>(4 * words * columns, 3));
                    tiles.four(left, b, k, o.result<float>(4 * columns), columns, false, {});
                });
            }
        }
    if (!tiles.column) return;
    for (const long k : {1L, 2L, 33L})
        for (const long n : {1L, 7L, 17L, 33L, 112L})
            check("column", [&](operands& o) {  // zeros or what was there stands beyond the numbers
                const long stride = n + 3;
                alignas(64) static float to[(cpu::most_lines + 16) * cpu::row_stride];
                tiles.column(o.place(drawn((k - 1) * stride + n, 1)), stride, k, n, to);
            });
}
void check_kernels(const emulated::machine& m) {
    const cpu::kernels& with = *m.kernels;
    const long columns = with.columns;
    check_tiles("fp32", with.fp32, columns, 1, false);
    check_tiles("rounded", m.bf16->rounded, columns, 1, false);
    check_tiles("widened", m.bf16->widened, columns, 2, false);
    check_tiles("pairs", m.bf16->pairs, columns, 2, false);
    check_tiles("chain", m.bf16->chain, columns, 2, false);
    check_tiles("int8", *m.int8, columns, 4, true);
    for (const long n : {0L, 1L, 3L, 7L, 8L, 15L, 16L, 17L, 33L}) {
        CAPTURE(n);
        check("largest", [&](operands& o) { *o.result<float>(1) = with.largest(o.place(drawn(n, 1)), n); });
        check("swiglu", [&](operands& o) {
            const float *const g = o.place(drawn(3 * n, 1)), *const u = o.place(drawn(3 * n, 2));
            with.swiglu(g, u, 3, n, n, o.result<float>(3 * n), n);
        });
        check("swiglu_gradient", [&](operands& o) {
            const float *const g = o.place(drawn(n, 1)), *const u = o.place(drawn(n, 2)), *const d = o.place(drawn(n, 3));
            float* const d_g = o.result<float>(n);
            with.swiglu_gradient(g, u, d, n, d_g, o.result<float>(n));
        });
        const long panels = (n + columns - 1) / columns;
        check("spread", [&](operands& o) {
            float* const to = o.result<float>(panels * columns);
            with.spread(o.place(drawn(n, 1)), n, 0.5f, panels, to, columns);
        });
        for (const bool two : {false, true})
            check("spread_pairs", [&](operands& o) {
                float* const to = o.result<float>(panels * columns);
                const float *const first = o.place(drawn(n, 1)), *const second = two ? o.place(drawn(n, 2)) : nullptr;
                m.bf16->spread(first, second, n, 0.5f, 2.f, panels, to, columns);
            });
        check("narrow", [&](operands& o) { m.bf16->narrow(o.place(drawn(n, 1)), n, 1, o.result<float>((n + 31) / 32 * 16)); });
        for (const long rows : {1L, columns - 1, columns})
            check("transpose", [&](operands& o) {
                std::vector<const char*> from;
                for (long r = 0; r < rows; ++r) from.push_back(reinterpret_cast<const char*>(o.place(drawn(n, static_cast<unsigned long long>(r)))));
                with.transpose(from.data(), rows, n, o.result<float>(n * columns), 0);
            });
        check("restore", [&](operands& o) {
            std::vector<char*> to;
            for (long r = 0; r < columns; ++r) to.push_back(reinterpret_cast<char*>(o.result<float>(n)));
            with.restore(o.place(drawn(n * columns, 1)), n, to.data());
        });
        if (m.int8->total)
            check("total", [&](operands& o) { m.int8->total(o.place(bytes<std::uint32_t>(n * columns, 1)), n, o.result<std::int32_t>(columns)); });
        if (n == 0) continue;
        const auto decode = [&](const char* name, cpu::decode_kernel kernel, long numbers, long group, auto scale) {
            check(name, [&](operands& o) {
                const long words = (n + numbers - 1) / numbers, groups = group == 0 ? 1 : (n + group - 1) / group;
                const auto* const stored = o.place(bytes<std::uint32_t>(words * columns, 1));
                const auto* const scales = o.place(bytes<decltype(scale)>(groups * columns, 2));
                kernel(stored, scales, group == 0 ? 1L << 62 : group, 0, n, o.result<float>((n + 1) / 2 * 2 * columns));
            });
        };
        decode("bf16", m.bf16->decode, 2, 0, std::byte{});
        decode("half", m.decode->half, 2, 0, std::byte{});
        decode("fp8", m.decode->fp8, 4, 0, 0.f);
        decode("int8", m.decode->int8, 4, 0, 0.f);
        decode("int4", m.decode->int4, 8, 6, 0.f);
        decode("mxfp4", m.decode->mxfp4, 8, 32, std::uint8_t{});
        for (const long count : {1L, 2L, 4L, 7L})
            check("one_row", [&](operands& o) {
                const float *const a = o.place(drawn(n, 1)), *const b = o.place(drawn(n * count * columns, 2));
                with.one_row(a, b, n, count, o.result<float>(count * columns));
            });
        for (const long F : {1L, 9L, 33L})
            for (const int networks : {1, 3, 4})
                check("few_swiglu", [&](operands& o) {
                    const long half = columns / 2, parts = (F + half - 1) / half, downs = (n + columns - 1) / columns;
                    cpu::one_network w[cpu::most_networks];
                    for (int i = 0; i < networks; ++i) {
                        w[i].up = o.place(drawn(parts * columns * n, 2));
                        w[i].down = o.place(drawn(downs * columns * F, 3));
                    }
                    const float* const x = o.place(drawn(n, 1));
                    float* const a = o.result<float>(networks * parts * half);
                    with.few_swiglu(x, n, F, w, networks, a, o.result<float>(networks * downs * columns));
                });
    }
}

/// Codes and scales of [E, N, K] in a format.
template <class Format> auto placed(operands& o, long E, long N, long K, unsigned long long seed) {
    const floats numbers = drawn(E * N * K, seed);
    const auto stored = guild::quantise<Format>(stack<const float>{numbers.data(), N * K, K}, E, N, K);
    auto lent = guild::format<Format>::lend(stored, N, K);
    if constexpr (guild::has_scales<Format>) lent.data = o.place(stored.data), lent.scale = o.place(stored.scale);
    else lent.data = o.place(stored);
    return lent;
}
/// Two experts with biases, each tensor by itself.
template <class Format> auto placed_network(operands& o, long F, long H) {
    using matrix = typename guild::format<Format>::stack;
    const auto bias = [&](long n, unsigned long long seed) { return stack<const float>{o.place(drawn(2 * n, seed)), n, 1}; };
    return guild::feed_forward<matrix, stack<const float>>{
        placed<Format>(o, 2, F, H, 1), placed<Format>(o, 2, F, H, 2), placed<Format>(o, 2, H, F, 3), bias(F, 4), bias(F, 5), bias(H, 6)};
}
struct sizes {
    long rows, F, H;
};
const sizes all[] = {{1, 33, 65}, {3, 40, 257}, {97, 16, 37}, {1, 1, 1}, {2, 17, 15}, {7, 65, 72}, {13, 31, 33}, {35, 70, 129}};
const auto some = std::span(all).first(test::few ? 3 : std::size(all));
/// The rows of two experts, in turn and backwards, with factors.
struct reading {
    std::vector<int> offset, source;
    floats factor;
    explicit reading(long rows) : offset{0, static_cast<int>(rows / 3), static_cast<int>(rows)}, factor(drawn(rows, 9)) {
        for (long r = 0; r < rows; ++r) source.push_back(static_cast<int>(rows - 1 - r));
    }
    groups<float> all(operands& o) const { return {2, o.place(offset), o.place(source), o.place(factor)}; }
};

/// The three products over plain weights.
template <class Format> void check_plain(const cpu::plain_kernels& how) {
    if (!how.tiles) return;
    for (const sizes& n : some) {
        const long rows = n.rows, F = n.F, H = n.H;
        CAPTURE(rows);
        CAPTURE(F);
        CAPTURE(H);
        const reading read(rows);
        const auto each_piece = [&](const groups<float>& g, long outputs, auto f) {
            const cpu::cut by{cpu::panels_of(*how.with, outputs), 1, 1};
            cpu::share(guild::serial{}, g, by, [&](const cpu::piece& whole) { cpu::each_part(whole, cpu::most_rows, by.panels, f); });
        };
        check("product", [&](operands& o) {
            const auto g = read.all(o);
            const view<const float> x(o.place(drawn(rows * H, 1)), rows, H);
            const view<float> c(o.result<float>(rows * F), rows, F);
            const auto w = placed<Format>(o, 2, F, H, 2);
            each_piece(g, F, [&](const cpu::piece& at) { cpu::product(how, g, at, x, w, c); });
        });
        for (const into mode : {into::overwrite, into::add})
            check("input gradient", [&](operands& o) {
                const auto g = read.all(o);
                const view<const float> dc(o.place(drawn(rows * F, 1)), rows, F);
                const view<float> da(o.result(drawn(rows * H, 4)), rows, H);
                const auto w = placed<Format>(o, 2, F, H, 2);
                each_piece(g, H, [&](const cpu::piece& at) { cpu::input_gradient(how, g, at, dc, w, da, mode); });
            });
        check("weight gradient", [&](operands& o) {
            const auto g = read.all(o);
            const view<const float> dc(o.place(drawn(rows * F, 1)), rows, F), a(o.place(drawn(rows * H, 2)), rows, H);
            const stack<float> dw{o.result(drawn(2 * F * H, 3)), F * H, H};
            const cpu::cut by{(F + cpu::outer_rows - 1) / cpu::outer_rows, 1, 1};
            cpu::share(guild::serial{}, g, by, [&](const cpu::piece& at) { cpu::weight_gradient(how, g, at, dc, a, dw); });
        });
    }
}
/// A network is packed, computed, all at once and where there is such by rows, and unpacked.
template <class Format> void check_packed(const cpu::kernels& with, const cpu::strategy& how) {
    if (!how.tiles || !*how.tiles) return;
    for (const sizes& shape : some)
        for (const bool bias : {true, false}) {
            const long rows = shape.rows, F = shape.F, H = shape.H;
            CAPTURE(rows);
            CAPTURE(F);
            CAPTURE(H);
            const reading read(rows);
            check("network", [&](operands& o) {
                auto n = placed_network<Format>(o, F, H);
                if (!bias) n.gate_bias = n.up_bias = n.down_bias = {};
                const cpu::packed_network<Format> packed(with, how, guild::serial{}, n, 2, F, H);
                const groups<float> g = read.all(o);
                const view<const float> x(o.place(drawn(rows * H, 7)), rows, H);
                const view<float> a(o.result<float>(rows * F), rows, F), h(o.result<float>(rows * 2 * F), rows, 2 * F);
                const view<float> y(o.result(drawn(rows * H, 8)), rows, H), c(o.result<float>(rows * H), rows, H);
                guild::plan plan;
                plan.rows = static_cast<int>(rows);
                plan.token.shape(1, rows), plan.slot.shape(1, rows);
                for (long r = 0; r < rows; ++r) plan.token[r] = plan.slot[r] = read.source[static_cast<std::size_t>(r)];
                cpu::expert_up(with, guild::serial{}, guild::swiglu{}, g, x, packed, {}, a);
                cpu::expert_up(with, guild::serial{}, guild::swiglu{}, g, x, packed, h, a);
                cpu::expert_down(with, guild::serial{}, g, a, packed, plan, g.factor, y);
                cpu::product(with, guild::serial{}, g.direct(), view<const float>(a), packed.down, c);
                if constexpr (std::is_same_v<Format, float>)
                    if (rows <= packed.few_rows()) {
                        const view<float> alone(o.result(drawn(rows * H, 8)), rows, H), network(o.result<float>(rows * H), rows, H);
                        guild::choice<float> chosen;
                        chosen.resize(rows, 1);
                        for (long r = 0; r < rows; ++r) chosen.expert[r] = static_cast<int>(r % 2), chosen.weight[r] = 0.5f;
                        cpu::experts_by_rows(with, x, packed, chosen, alone);
                        cpu::network_by_rows(with, x, packed, network);
                        cpu::product_by_rows(with, 0, rows, a, packed.down, c);
                    }
                const auto undo = [&](auto& m, long N, long K, auto row_of) {
                    std::vector<typename cpu::packed_matrix<Format>::code*> to;
                    using scale = typename cpu::packed_matrix<Format>::scale;
                    const long codes = (K + cpu::parts_of<Format>::per_code - 1) / cpu::parts_of<Format>::per_code;
                    for (long i = 0; i < N; ++i) to.push_back(o.result<typename cpu::packed_matrix<Format>::code>(codes));
                    for (long p = 0; p < m.shape().panels(); ++p)
                        m.unpack(
                            with, 1, p, [&](int j) { return row_of(p, j) < N ? to[static_cast<std::size_t>(row_of(p, j))] : nullptr; },
                            [](int) { return static_cast<scale*>(nullptr); });
                };
                undo(packed.down, H, F, [&](long p, int j) { return p * with.columns + j; });
            });
        }
}
}  // namespace

TEST_CASE("every kernel keeps to its operands") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        check_kernels(m);
    }
}

TEST_CASE("products over plain weights keep to their operands") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        const auto rounded = [&](const cpu::tile_kernels& tiles) { return cpu::plain_kernels{m.kernels, tiles ? &tiles : nullptr, m.bf16}; };
        check_plain<float>(cpu::exact(m.kernels));
        check_plain<bf16>(cpu::exact(m.kernels));
        check_plain<guild::int4<6>>(cpu::exact(m.kernels));
        check_plain<float>(rounded(m.bf16->pairs));
        check_plain<guild::half>(rounded(m.bf16->chain));
    }
}

TEST_CASE("packing, products over packed weights and unpacking keep to their operands") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        const cpu::kernels& with = *m.kernels;
        check_packed<float>(with, {with.level, arithmetic::fp32, &with.fp32});
        check_packed<bf16>(with, {with.level, arithmetic::fp32, &with.fp32, &m.bf16->widened, m.bf16->decode});
        check_packed<bf16>(with, {with.level, arithmetic::bf16, &m.bf16->pairs});
        check_packed<guild::half>(with, {with.level, arithmetic::bf16_rows, &m.bf16->rounded, nullptr, m.decode->half});
        check_packed<guild::mxfp4>(with, {with.level, arithmetic::fp32, &with.fp32, nullptr, m.decode->mxfp4});
        check_packed<guild::int8>(with, {with.level, arithmetic::int8, m.int8});
    }
}
