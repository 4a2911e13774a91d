#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/one_row.hpp>
#include <guild/backend/cpu/order.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/backend/host.hpp>
#include <guild/core/random.hpp>
#include <guild/parallel/serial.hpp>
#include <support/matrix.hpp>
#include <support/pairs.hpp>

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "machines.hpp"

// Every kernel of every instruction set that this machine has, and the text of those that it has not over emulated instructions, in every format:
// against the plain loops of order.hpp, bit for bit, and against backend::reference in double, within what the format's arithmetic may lose. Whole
// matrices, so that layout, blocks and edges are met too. A sample: any two values of any two parameters meet, or any two bins of values.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::isa, guild::bf16, guild::view;

/// A number that is easy to get wrong, or a random one.
float hard(int kind, unsigned long long seed, long i) {
    const double u = guild::uniform(seed, 1, 0, i), v = guild::uniform(seed, 2, 0, i);
    if (kind == 0) return static_cast<float>(2 * u - 1);
    if (kind == 1) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 60) - 30);   // wide exponents
    if (kind == 2) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 20) - 135);  // near underflow, denormal
    if (kind == 4 && v < 0.02) {
        const unsigned bits[] = {0x7fc00000u, 0x7f800001u, 0xff800001u, 0xffffffffu, 0x7f800000u, 0xff800000u};  // NaN, infinity
        return std::bit_cast<float>(bits[static_cast<int>(u * 6)]);
    }
    const float special[] = {0.f, -0.f, 1.f, -1.f, 0x1p-126f, -0x1p-149f, 0x1.8p-70f, 0x1.01p0f, 0x1.03p0f, 0x1.008p0f, 3e37f, -1e30f};
    return kind == 3 && v < 0.5 ? special[static_cast<int>(u * 12)] : static_cast<float>(2 * u - 1);
}
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

/// Rows, outputs and depth of a product, and how its numbers and its memory are drawn.
struct sample {
    int kind = 0, reading = 0;
    long rows = 0, outputs = 0, depth = 0;
    unsigned long long seed = 0;
    int offset = 0;  ///< of the first operand from a boundary of 64 bytes

    test::place place(int i) const {
        test::draws draw(seed + static_cast<unsigned long long>(i));
        return {i == 0 ? offset : draw.integer(0, 15), draw.integer(0, 3)};
    }
    test::matrix<float>& fill(test::matrix<float>& m, int stream) const {
        for (long r = 0; r < m.rows(); ++r)
            for (long c = 0; c < m.cols(); ++c) m(r, c) = hard(kind, seed + static_cast<unsigned long long>(stream), r * m.cols() + c);
        return m;
    }
    friend std::ostream& operator<<(std::ostream& out, const sample& s) {
        return out << "kind " << s.kind << " reading " << s.reading << " rows " << s.rows << " outputs " << s.outputs << " depth " << s.depth
                   << " seed " << s.seed << " offset " << s.offset;
    }
};
/// What is tested on a sample.
struct kernel {
    std::string name;
    std::function<void(const sample&)> check;
};

/// A matrix [N, K] of any codes and scales of a format.
template <class Format> struct matrix {
    typename guild::format<Format>::storage stored;
    typename guild::format<Format>::stack view;
    matrix(int kind, unsigned long long seed, long N, long K) {
        guild::format<Format>::resize(stored, 1, N, K);
        const auto any = [&](std::size_t i) { return guild::uniform(seed, 3, 0, static_cast<long>(i)); };
        if constexpr (guild::has_scales<Format>) {
            using code = typename Format::code;
            for (std::size_t i = 0; i < stored.data.size(); ++i) stored.data[i] = std::bit_cast<code>(static_cast<std::uint8_t>(any(i) * 256));
            for (std::size_t i = 0; i < stored.scale.size(); ++i) {
                if constexpr (requires { stored.scale[i].bits; })
                    stored.scale[i] = {static_cast<std::uint8_t>(kind >= 3 ? any(i) * 256 : 100 + any(i) * 50)};
                else stored.scale[i] = hard(kind, seed + 7, static_cast<long>(i));
            }
        } else {
            for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = Format(hard(kind, seed + 1, static_cast<long>(i)));
        }
        view = guild::format<Format>::lend(stored, N, K);
    }
    auto* row(long n) { return const_cast<typename cpu::parts_of<Format>::code*>(view.row(0, n)); }
    auto* scales(long n) {
        if constexpr (guild::has_scales<Format>) return const_cast<typename Format::scale*>(view.scales(0, n));
        else return static_cast<std::byte*>(nullptr);
    }
    bool same_bytes(const matrix& other) const {
        const auto same = [](const auto& a, const auto& b) {
            return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
        };
        if constexpr (guild::has_scales<Format>) return same(stored.data, other.stored.data) && same(stored.scale, other.stored.scale);
        else return same(stored, other.stored);
    }
};

/// One group of rows of a matrix [.., cols]: as they stand, in a drawn order, or so and times factors.
struct operand {
    test::matrix<float> a;
    std::vector<int> source;
    std::vector<float> factor;
    int offset[2];

    operand(const sample& s, long cols) : a(s.rows + (s.reading > 0 ? 3 : 0), cols, s.place(0)), offset{0, static_cast<int>(s.rows)} {
        s.fill(a, 0);
        test::draws draw(s.seed);
        for (long r = 0; r < s.rows && s.reading > 0; ++r) {
            source.push_back(draw.integer(0, static_cast<int>(a.rows()) - 1));
            factor.push_back(static_cast<float>(draw.real() - 0.5));
        }
    }
    guild::groups<float> rows(bool scaled) const { return {1, offset, source.empty() ? nullptr : source.data(), scaled ? factor.data() : nullptr}; }
};

/// Sums by backend::reference in double, and the same sums of magnitudes.
struct exact {
    std::vector<double> sum, magnitude;
    /// product(of, out): out = a product of the numbers of(x).
    template <class F> exact(long rows, long cols, F product) : sum(static_cast<std::size_t>(rows * cols)), magnitude(sum) {
        product([](float x) { return static_cast<double>(x); }, view<double>(sum.data(), rows, cols));
        product([](float x) { return std::fabs(static_cast<double>(x)); }, view<double>(magnitude.data(), rows, cols));
    }
};
template <class Of> std::vector<double> each_of(Of of, view<const float> m) {
    std::vector<double> v;
    for (long r = 0; r < m.rows; ++r)
        for (long c = 0; c < m.cols; ++c) v.push_back(of(m(r, c)));
    return v;
}
template <class Of> std::vector<double> each_of(Of of, const std::vector<float>& m) {
    return each_of(of, view<const float>(m.data(), 1, static_cast<long>(m.size())));
}

/// How far a sum may be from the exact one: relative to the sum of the magnitudes, and beside it.
struct bound {
    double relative, absolute = 0;
};
/// A unit in the last place for each of `depth` fused steps, and for a few that follow; denormals keep half a step.
bound of_fp32(long depth) { return {static_cast<double>(depth + 8) * 0x1p-24, static_cast<double>(depth + 8) * 0x1p-149}; }

/// Whether each number found is the order's, bit for bit if there is one, and within limit(r, n) of the exact one where the sums are far from
/// overflow.
template <class Order, class Limit>
void judge(const sample& s, const test::matrix<float>& found, bool in_order, Order order, const exact& right, Limit limit) {
    long other = 0, far = 0;
    for (long r = 0; r < found.rows(); ++r)
        for (long n = 0; n < found.cols(); ++n) {
            const float number = found(r, n);
            if (in_order && !same(number, order(r, n)) && other++ == 0) {
                CAPTURE(r);
                CAPTURE(n);
                CHECK(number == order(r, n));
            }
            const auto i = static_cast<std::size_t>(r * found.cols() + n);
            const bound most = limit(r, n);
            const double allowed = most.relative * right.magnitude[i] + most.absolute;
            if (s.kind < 3 && std::isfinite(right.magnitude[i]) && !(std::fabs(static_cast<double>(number) - right.sum[i]) <= allowed) &&
                far++ == 0) {
                CAPTURE(r);
                CAPTURE(n);
                CAPTURE(allowed);
                CHECK(static_cast<double>(number) == right.sum[i]);
            }
        }
    CHECK(other == 0);
    CHECK(far == 0);
    CHECK(found.intact());
}

/// c = a w^T of a sample by `run`, the numbers of w in `plain` [outputs, depth].
template <class Run, class Order, class Limit>
void check_product(const sample& s, bool in_order, const std::vector<float>& plain, Run run, Order order, Limit limit) {
    const operand in(s, s.depth);
    const view<const float> a = in.a.all();
    const guild::groups<float> g = in.rows(s.reading == 2);
    test::matrix<float> c(s.rows, s.outputs, s.place(1));
    run(g, a, c.all());
    const exact right(s.rows, s.outputs, [&](auto of, view<double> out) {
        const std::vector<double> da = each_of(of, a), factor = each_of(of, in.factor), w = each_of(of, plain);
        const guild::groups<double> rows{1, g.offset, g.source, g.factor ? factor.data() : nullptr};
        guild::backend::reference{}.product(rows, view<const double>(da.data(), a.rows, a.cols), guild::stack<const double>{w.data(), 0, s.depth},
                                            out);
    });
    const auto row = [&](long r) { return a.row(g.from(r)); };
    judge(
        s, c, in_order,
        [&](long r, long n) {
            const float sum = order(row(r), n);
            return g.factor ? sum * g.factor[r] : sum;
        },
        right, [&](long r, long n) { return limit(row(r), n); });
}

/// Over a packed matrix.
template <class Format> void check_packed(const sample& s, const cpu::kernels& with, const cpu::strategy& how) {
    const long N = s.outputs, K = s.depth;
    const matrix<Format> w(s.kind, s.seed, N, K);
    const int columns = with.columns;
    cpu::packed_matrix<Format> packed(how, columns, 1, N, K, 1);
    for (long p = 0; p < packed.shape().panels(); ++p)
        packed.fill(
            with, 0, p, [&](int j) { return p * columns + j < N ? w.view.row(0, p * columns + j) : nullptr; },
            [&](int j) {
                if constexpr (guild::has_scales<Format>) return w.view.scales(0, p * columns + j);
            });
    auto again = matrix<Format>(s.kind, s.seed + 1, N, K);
    for (long p = 0; p < packed.shape().panels(); ++p)
        packed.unpack(
            with, 0, p, [&](int j) { return p * columns + j < N ? again.row(p * columns + j) : nullptr; },
            [&](int j) { return p * columns + j < N ? again.scales(p * columns + j) : nullptr; });
    CHECK(again.same_bytes(w));
    std::vector<float> plain;
    for (long n = 0; n < N; ++n)
        for (long k = 0; k < K; ++k) plain.push_back(w.view(0, n, k));
    const auto numbers = [&](long n) { return [at = plain.data() + n * K](long k) { return at[k]; }; };
    const auto largest = [&](const float* from) {
        float most = 0;
        for (long k = 0; k < K; ++k) most = std::max(most, std::fabs(from[k]));
        return most;
    };
    const auto run = [&](const guild::groups<float>& g, view<const float> a, view<float> c) { cpu::product(with, guild::serial{}, g, a, packed, c); };
    const bool fused = with.level != isa::generic;  // there the compiler chooses
    if (how.by == arithmetic::fp32) {
        const auto order = [&](const float* a, long n) { return cpu::order::fp32(a, numbers(n), K); };
        const auto near = [&](const float*, long) { return of_fp32(K); };
        return check_product(s, fused, plain, run, order, near);
    }
    if (how.by == arithmetic::bf16_rows) {
        const auto order = [&](const float* a, long n) {
            std::vector<float> rounded;
            for (long k = 0; k < K; ++k) rounded.push_back(cpu::order::rounded(a[k]));
            return cpu::order::fp32(rounded.data(), numbers(n), K);
        };
        return check_product(s, fused, plain, run, order, [&](const float*, long n) {
            return bound{0x1.01p-8 + of_fp32(K).relative * 1.01,
                         static_cast<double>(K + 8) * 0x1p-133 * (1 + static_cast<double>(largest(plain.data() + n * K)))};
        });
    }
    if constexpr (std::is_same_v<Format, bf16>) {
        // Half a unit of bf16 for each number of a, and flushed at every step: a number of a or w, a product, a sum.
        const auto order = [&](const float* a, long n) {
            return how.by == arithmetic::bf16 ? cpu::order::bf16(a, numbers(n), K) : cpu::order::bf16_chain(a, numbers(n), K);
        };
        check_product(s, fused, plain, run, order, [&](const float* a, long n) {
            const double any = 3 + static_cast<double>(largest(a)) + static_cast<double>(largest(plain.data() + n * K));
            return bound{0x1.01p-8 + of_fp32(K).relative * 1.01, static_cast<double>(K + 8) * 0x1p-126 * any};
        });
    }
    if constexpr (std::is_same_v<Format, guild::int8>) {
        // Half a step of a row's scale for each number of a; all of it where the row is too small for one. Scales are written out once more here.
        const auto order = [&](const float* a, long n) {
            const bool finite = std::all_of(a, a + K, [](float x) { return std::isfinite(x); });
            const float most = finite ? largest(a) : 1.f, scale = finite ? most / 127.f : std::nanf("");
            const int sum = cpu::order::int8(
                a, most < 0x1p-119f ? 0.f : 127.f / most, [&](long k) { return w.view.row(0, n)[k]; }, K);
            return static_cast<float>(sum) * scale * w.view.scales(0, n)[0];
        };
        check_product(s, true, plain, run, order, [&](const float* a, long n) {
            const double most = static_cast<double>(largest(a)), step = most < 0x1p-119 ? most : most * 0.5001 / 127;
            double weights = 0;
            for (long k = 0; k < K; ++k) weights += std::fabs(static_cast<double>(plain[static_cast<std::size_t>(n * K + k)]));
            return bound{0x1p-21, step * weights + 0x1p-148};
        });
    }
}

/// f(piece) for the parts of one expert's rows by all panels.
template <class F> void each_piece(const cpu::kernels& with, long rows, long outputs, F f) {
    const long panels = cpu::panels_of(with, outputs);
    if (rows > 0) cpu::each_part({0, 0, rows, 0, panels}, cpu::most_rows, panels, f);
}
/// Over weights as they are stored.
template <class W> void check_plain(const sample& s, const cpu::kernels& with) {
    const matrix<W> w(s.kind, s.seed, s.outputs, s.depth);
    std::vector<float> plain;
    for (long n = 0; n < s.outputs; ++n)
        for (long k = 0; k < s.depth; ++k) plain.push_back(w.view(0, n, k));
    const auto run = [&](const guild::groups<float>& g, view<const float> a, view<float> c) {
        each_piece(with, s.rows, s.outputs, [&](const cpu::piece& at) { cpu::product(cpu::exact(&with), g, at, a, w.view, c); });
    };
    const auto order = [&](const float* a, long n) {
        return cpu::order::fp32(
            a, [&](long k) { return plain[static_cast<std::size_t>(n * s.depth + k)]; }, s.depth);
    };
    check_product(s, with.level != isa::generic, plain, run, order, [&](const float*, long) { return of_fp32(s.depth); });
}
/// `depth` outputs of the forward, summed into `outputs` of its inputs.
template <class W> void check_input_gradient(const sample& s, const cpu::kernels& with) {
    const matrix<W> w(s.kind, s.seed, s.depth, s.outputs);
    const operand in(s, s.depth);
    const guild::groups<float> g = in.rows(false);
    const view<const float> dc(in.a.all().data, s.rows, s.depth, in.a.all().stride);
    const auto mode = s.reading == 0 ? guild::into::overwrite : guild::into::add;
    test::matrix<float> da(s.rows, s.outputs, s.place(1)), before(s.rows, s.outputs);
    before = s.fill(da, 2);
    each_piece(with, s.rows, s.outputs, [&](const cpu::piece& at) { cpu::input_gradient(cpu::exact(&with), g, at, dc, w.view, da.all(), mode); });
    const exact right(s.rows, s.outputs, [&](auto of, view<double> out) {
        const std::vector<double> d = each_of(of, dc), start = each_of(of, std::as_const(before).all());
        if (mode == guild::into::add) std::copy(start.begin(), start.end(), out.data);
        guild::backend::reference{}.input_gradient(
            guild::groups<double>{1, g.offset}, view<const double>(d.data(), s.rows, s.depth),
            [&](long e, long n, long m) { return of(w.view(e, n, m)); }, out, mode);
    });
    judge(
        s, da, with.level != isa::generic,
        [&](long r, long m) {
            float sum = before(r, m);
            for (long first = 0; first < s.depth; first += cpu::depth_block) {
                const float block = cpu::order::fp32(
                    dc.row(r) + first, [&](long n) { return w.view(0, first + n, m); }, std::min(cpu::depth_block, s.depth - first));
                sum = first == 0 && mode == guild::into::overwrite ? block : sum + block;
            }
            return sum;
        },
        right, [&](long, long) { return of_fp32(s.depth); });
}
/// dw [outputs, depth] += over the rows.
void check_weight_gradient(const sample& s, const cpu::kernels& with) {
    const operand in(s, s.depth);
    const view<const float> a = in.a.all();
    const guild::groups<float> g = in.rows(s.reading == 2);
    test::matrix<float> dc(s.rows, s.outputs, s.place(1)), dw(s.outputs, s.depth, s.place(2)), before(s.outputs, s.depth);
    s.fill(dc, 3);
    before = s.fill(dw, 2);
    const long blocks = (s.outputs + cpu::outer_rows - 1) / cpu::outer_rows;
    cpu::weight_gradient(cpu::exact(&with), g, {0, 0, s.rows, 0, blocks}, std::as_const(dc).all(), a,
                         guild::stack<float>{dw.all().data, 0, dw.all().stride});
    const exact right(s.outputs, s.depth, [&](auto of, view<double> out) {
        const std::vector<double> d = each_of(of, std::as_const(dc).all()), da = each_of(of, a), factor = each_of(of, in.factor);
        const std::vector<double> start = each_of(of, std::as_const(before).all());
        std::copy(start.begin(), start.end(), out.data);
        const guild::groups<double> rows{1, g.offset, g.source, g.factor ? factor.data() : nullptr};
        guild::backend::reference{}.weight_gradient(rows, view<const double>(d.data(), s.rows, s.outputs),
                                                    view<const double>(da.data(), a.rows, a.cols), guild::stack<double>{out.data, 0, s.depth});
    });
    judge(
        s, dw, with.level != isa::generic,
        [&](long n, long m) {
            float sum = before(n, m);
            for (long first = 0; first < s.rows; first += cpu::token_block) {
                float chain = 0;
                for (long r = first; r < std::min(s.rows, first + cpu::token_block); ++r)
                    chain = std::fma(dc(r, n), g.factor ? a(g.from(r), m) * g.factor[r] : a(g.from(r), m), chain);
                sum += chain;
            }
            return sum;
        },
        right, [&](long, long) { return of_fp32(s.rows); });
}
/// Rows that go one by one through whole networks, against their products one after the other; of a sample, what is few enough.
void check_networks(const sample& s, const cpu::kernels& with) {
    const long rows = s.rows % 4, H = std::min(s.depth, cpu::depth_block), F = s.outputs % 100 + 1, E = static_cast<long>(s.seed % 7) + 1;
    const matrix<float> gate(s.kind, s.seed, E * F, H), up(s.kind, s.seed + 50, E * F, H), down(s.kind, s.seed + 70, E * H, F);
    const cpu::strategy how{with.level, arithmetic::fp32, &with.fp32};
    const auto of = [&](const matrix<float>& m, long n, long k) { return guild::stack<const float>{m.view.data, n * k, k}; };
    const guild::feed_forward<guild::stack<const float>, guild::stack<const float>> n{
        .gate = of(gate, F, H), .up = of(up, F, H), .down = of(down, H, F)};
    const cpu::packed_network<float> packed(with, how, guild::serial{}, n, E, F, H);
    REQUIRE(rows <= packed.few_rows());
    test::matrix<float> x(rows, H, s.place(0)), a(rows, F), y(rows, H, s.place(1)), out(rows, H), right(rows, H);
    s.fill(x, 0);
    const auto through = [&](long e) {  // -> a, out
        std::vector<int> offset(static_cast<std::size_t>(E) + 1, 0);
        for (long i = e; i < E; ++i) offset[static_cast<std::size_t>(i) + 1] = static_cast<int>(rows);
        const guild::groups<float> all{static_cast<int>(E), offset.data()};
        cpu::expert_up(with, guild::serial{}, guild::swiglu{}, all, std::as_const(x).all(), packed, {}, a.all());
        cpu::product(with, guild::serial{}, all, std::as_const(a).all(), packed.down, out.all());
    };
    const auto check = [&](const test::matrix<float>& expected) {
        long other = 0;
        for (long r = 0; r < rows; ++r)
            for (long h = 0; h < H; ++h) other += !same(y(r, h), expected(r, h));
        CHECK(other == 0);
        CHECK(y.intact());
    };
    // As many experts as the seed says, in another order for every token, some of them twice, and holes.
    const long wanted = static_cast<long>(s.seed / 7 % 9);
    guild::choice<float> chosen;
    chosen.resize(rows, 8);
    for (long r = 0; r < rows; ++r)
        for (long k = 0; k < 8; ++k) {
            chosen.expert[r * 8 + k] = (k + r) % 8 < wanted ? static_cast<int>((k * 5 + r) % E) : guild::no_expert;
            chosen.weight[r * 8 + k] = 0.25f + static_cast<float>(k);
        }
    y.fill(1), right.fill(1);
    for (long e = 0; e < E; ++e) {
        through(e);
        for (long r = 0; r < rows; ++r)
            for (long k = 0; k < 8; ++k)
                if (chosen.expert[r * 8 + k] == e)
                    for (long h = 0; h < H; ++h) right(r, h) += chosen.weight[r * 8 + k] * out(r, h);
    }
    cpu::experts_by_rows(with, std::as_const(x).all(), packed, chosen, y.all());
    check(right);

    through(0);
    y.fill(0);
    cpu::network_by_rows(with, std::as_const(x).all(), packed, y.all());
    check(out);
    y.fill(0);
    cpu::product_by_rows(with, 0, rows, std::as_const(a).all(), packed.down, y.all());
    check(out);
}
/// SwiGLU and its adjoint on `outputs` numbers: near what double gives, and each the same alone.
void check_activation(const sample& s, const cpu::kernels& with) {
    test::matrix<float> in(3, s.outputs, s.place(0)), out(3, s.outputs, s.place(1));
    s.fill(in, 0);
    out.fill(0);
    const auto run = [&](long i, long n, auto to) {
        const auto* const g = in.all().row(0) + i;
        const auto *const u = in.all().row(1) + i, *const d = in.all().row(2) + i;
        with.swiglu(g, u, 1, n, n, to(0), n);
        with.swiglu_gradient(g, u, d, n, to(1), to(2));
    };
    run(0, s.outputs, [&](int row) { return out.all().row(row); });
    long moved = 0, far = 0;
    for (long i = 0; i < s.outputs; ++i) {
        float alone[3];
        run(i, 1, [&](int row) { return alone + row; });
        const double g = static_cast<double>(in(0, i)), u = static_cast<double>(in(1, i)), d = static_cast<double>(in(2, i)),
                     y = 1 / (1 + std::exp(-g));
        const double exact[] = {g * y * u, d * u * y * (1 + g * (1 - y)), d * g * y}, magnitude = std::fabs(d * u) * y * (1 + std::fabs(g) * (1 - y));
        const double tiny = 0x1p-125 * (1 + std::fabs(g)) * (1 + std::fabs(u)) * (1 + std::fabs(d));  // e^x beyond the range of float
        for (int row = 0; row < 3; ++row) {
            moved += !same(out(row, i), alone[row]);
            const double allowed = 32 * 0x1p-24 * (row == 1 ? magnitude : std::fabs(exact[row])) + tiny;
            far += s.kind < 3 && !(std::fabs(static_cast<double>(out(row, i)) - exact[row]) <= allowed);
        }
    }
    CHECK(moved == 0);
    CHECK(far == 0);
    CHECK(out.intact());
}

/// Each text once, by the machine that has it first.
std::vector<kernel> kernels() {
    std::vector<kernel> all;
    std::set<cpu::tile_kernel> seen;
    const auto add = [&](const std::string& name, auto check) { all.push_back({name, check}); };
    const auto fresh = [&](const cpu::tile_kernels& k) { return k && seen.insert(k.tile[0]).second; };
    const auto add_machine = [&](const std::string& name, const cpu::kernels& with, const cpu::bf16_kernels& of_bf16,
                                 const cpu::tile_kernels& of_int8, const cpu::decode_kernels& decode) {
        const auto packed = [&]<class Format>(Format, const char* what, const cpu::strategy& how) {
            add(name + ", " + what, [&with, how](const sample& s) { check_packed<Format>(s, with, how); });
        };
        const isa level = with.level;
        if (fresh(with.fp32)) {
            const cpu::tile_kernels* const fp32 = &with.fp32;
            packed(float{}, "float", {level, arithmetic::fp32, fp32});
            packed(bf16{}, "bf16", {level, arithmetic::fp32, fp32, &of_bf16.widened, of_bf16.decode});
            packed(guild::half{}, "half", {level, arithmetic::fp32, fp32, nullptr, decode.half});
            packed(guild::fp8{}, "fp8", {level, arithmetic::fp32, fp32, nullptr, decode.fp8});
            packed(guild::int8{}, "int8", {level, arithmetic::fp32, fp32, nullptr, decode.int8});
            packed(guild::int4<32>{}, "int4<32>", {level, arithmetic::fp32, fp32, nullptr, decode.int4});
            packed(guild::int4<6>{}, "int4<6>", {level, arithmetic::fp32, fp32, nullptr, decode.int4});
            packed(guild::mxfp4{}, "mxfp4", {level, arithmetic::fp32, fp32, nullptr, decode.mxfp4});
            const cpu::tile_kernels* const rounded = &of_bf16.rounded;
            packed(float{}, "float by bf16_rows", {level, arithmetic::bf16_rows, rounded});
            packed(guild::half{}, "half by bf16_rows", {level, arithmetic::bf16_rows, rounded, nullptr, decode.half});
            packed(guild::mxfp4{}, "mxfp4 by bf16_rows", {level, arithmetic::bf16_rows, rounded, nullptr, decode.mxfp4});
            add(name + ", float as stored", [&with](const sample& s) { check_plain<float>(s, with); });
            add(name + ", bf16 as stored", [&with](const sample& s) { check_plain<bf16>(s, with); });
            add(name + ", input gradient", [&with](const sample& s) { check_input_gradient<float>(s, with); });
            add(name + ", input gradient of bf16", [&with](const sample& s) { check_input_gradient<bf16>(s, with); });
            add(name + ", weight gradient", [&with](const sample& s) { check_weight_gradient(s, with); });
            add(name + ", network", [&with](const sample& s) { check_networks(s, with); });
            add(name + ", swiglu", [&with](const sample& s) { check_activation(s, with); });
        }
        if (fresh(of_bf16.pairs)) packed(bf16{}, "bf16 by bf16", {level, arithmetic::bf16, &of_bf16.pairs});
        if (fresh(of_bf16.chain)) packed(bf16{}, "bf16 by bf16_chain", {level, arithmetic::bf16_chain, &of_bf16.chain});
        if (fresh(of_int8)) packed(guild::int8{}, "int8 by int8", {level, arithmetic::int8, &of_int8});
    };
    for (int i = static_cast<int>(cpu::detected()) + 1; i <= static_cast<int>(isa::amx); ++i)
        MESSAGE("this machine lacks " << cpu::name(static_cast<isa>(i)) << ": its text runs over emulated instructions alone");
    for (const emulated::machine& m : emulated::machines()) add_machine(m.name, *m.kernels, *m.bf16, *m.int8, *m.decode);
    return all;
}

/// One of a few ranges, its ends included.
using range = std::pair<int, int>;
const std::vector<range> some_rows{{0, 0},   {1, 1},   {2, 2},   {3, 3},   {4, 4},   {5, 5},   {6, 6},   {7, 7},    {8, 8},
                                   {9, 9},   {10, 10}, {11, 11}, {12, 12}, {13, 13}, {14, 14}, {15, 15}, {16, 16},  {17, 20},
                                   {21, 27}, {28, 28}, {29, 31}, {32, 32}, {33, 33}, {34, 40}, {97, 97}, {193, 200}},
    some_widths{{1, 1},   {2, 7},   {8, 8},   {9, 15},  {16, 16},  {17, 17},   {18, 31},   {32, 32},
                {33, 47}, {48, 63}, {64, 64}, {65, 96}, {97, 128}, {129, 160}, {161, 199}, {200, 200}},
    some_depths{{1, 1},     {2, 2},     {3, 7},     {8, 8},     {9, 30},    {31, 33},   {34, 63},     {64, 64},  {65, 127},
                {128, 200}, {201, 254}, {255, 257}, {258, 500}, {511, 513}, {514, 766}, {1023, 1026}, {769, 900}};
}  // namespace

TEST_CASE("of a sample any two values of any two axes meet") {
    const std::vector<int> sizes{7, 1, 4, 12, 2};
    const auto cases = test::pairs(sizes, test::first_seed());
    for (std::size_t i = 0; i < sizes.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            std::set<std::pair<int, int>> met;
            for (const std::vector<int>& c : cases) {
                REQUIRE(c.size() == sizes.size());
                CHECK((c[i] >= 0 && c[i] < sizes[i]));
                met.insert({c[i], c[j]});
            }
            CHECK(met.size() == static_cast<std::size_t>(sizes[i] * sizes[j]));
        }
    CHECK(cases.size() < 120);  // 84 at least, all would be 672
    CHECK(cases == test::pairs(sizes, test::first_seed()));
}

TEST_CASE("of a sample by bins every value is met, and by every value of the first axis one of each bin") {
    const std::vector<int> sizes{40, 26, 3, 17}, bins{40, 6, 3, 4};
    const auto cases = test::pairs_of_bins(sizes, test::first_seed());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        std::set<int> met;
        std::set<std::pair<int, int>> bin;
        for (const std::vector<int>& c : cases) {
            REQUIRE(c.size() == sizes.size());
            CHECK((c[i] >= 0 && c[i] < sizes[i]));
            met.insert(c[i]);
            bin.insert({c[0], ((c[i] + 1) * bins[i] - 1) / sizes[i]});
        }
        CHECK(met.size() == static_cast<std::size_t>(sizes[i]));
        CHECK(bin.size() == static_cast<std::size_t>(i == 0 ? 40 : 40 * bins[i]));
    }
    CHECK(cases.size() < 300);  // 240 at least, all would be 53040
}

TEST_CASE("sums of int8 are exact where all numbers are as large as they can be, weights -128") {
    constexpr long N = 69, K = 1028;  // so many panels that one row meets four at once, and more than a block
    for (const emulated::machine& m : emulated::machines())
        for (const long rows : {1, 2, 9})
            for (const int code : {-128, 127}) {
                CAPTURE(m.name);
                CAPTURE(rows);
                CAPTURE(code);
                const cpu::strategy how{m.kernels->level, arithmetic::int8, m.int8};
                cpu::packed_matrix<guild::int8> packed(how, m.kernels->columns, 1, N, K, 1);
                const std::vector<std::int8_t> row(K, static_cast<std::int8_t>(code));
                const float one = 1;
                for (long p = 0; p < packed.shape().panels(); ++p)
                    packed.fill(
                        *m.kernels, 0, p, [&](int j) { return p * m.kernels->columns + j < N ? row.data() : nullptr; }, [&](int) { return &one; });
                test::matrix<float> a(rows, K), c(rows, N);
                for (long r = 0; r < rows; ++r)
                    for (long k = 0; k < K; ++k) a(r, k) = r % 2 == 0 ? 127.f : -127.f;
                const int offset[2] = {0, static_cast<int>(rows)};
                cpu::product(*m.kernels, guild::serial{}, guild::groups<float>{1, offset}, std::as_const(a).all(), packed, c.all());
                long wrong = 0;
                for (long r = 0; r < rows; ++r)
                    for (long n = 0; n < N; ++n) wrong += c(r, n) != static_cast<float>(K * code) * a(r, 0);
                CHECK(wrong == 0);
            }
}

TEST_CASE("rows are quantised to int8 as order.hpp says: ties, what is too large, infinite or NaN, and rows that are tiny") {
    CHECK(cpu::order::inverse_scale(0x1p-119f) == 127 * 0x1p119f);
    CHECK(cpu::order::inverse_scale(0x1.fffffep-120f) == 0);
    CHECK(cpu::order::inverse_scale(0) == 0);
    CHECK(cpu::order::inverse_scale(254) == 0.5f);
    CHECK(cpu::order::scale(254) == 2);
    for (const unsigned bits : {0x7f800000u, 0x7f800001u, 0x7fffffffu}) CHECK(std::isnan(cpu::order::scale(std::bit_cast<float>(bits))));
    CHECK(cpu::order::scale(std::numeric_limits<float>::max()) == std::numeric_limits<float>::max() / 127);

    std::vector<std::pair<float, int>> known{{0.f, 0},   {-0.f, 0},   {0.5f, 0},     {1.5f, 2},    {2.5f, 2},
                                             {-0.5f, 0}, {-1.5f, -2}, {126.4f, 126}, {126.5f, 126}};
    for (const float large : {127.f, 127.5f, 128.f, 3e4f, 3e38f, std::bit_cast<float>(0x7f800000u)})
        known.push_back({large, 127}), known.push_back({-large, -127});
    for (const unsigned bits : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu}) known.push_back({std::bit_cast<float>(bits), -127});
    for (const auto& [x, q] : known) CHECK(cpu::order::quantised(x, 1) == q);
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        const long columns = m.kernels->columns, K = 64;
        const cpu::tile_kernels& tiles = *m.int8;
        const cpu::strategy how{m.kernels->level, arithmetic::int8, &tiles};
        cpu::packed_matrix<guild::int8> one(how, m.kernels->columns, 1, K, K, 1);  // the unit matrix: sums are what a row was rounded to
        std::vector<std::int8_t> unit(static_cast<std::size_t>(K * K));
        for (long k = 0; k < K; ++k) unit[static_cast<std::size_t>(k * K + k)] = 1;
        const float scale = 1;
        for (long p = 0; p < one.shape().panels(); ++p)
            one.fill(
                *m.kernels, 0, p, [&](int j) { return unit.data() + (p * columns + j) * K; }, [&](int) { return &scale; });
        alignas(64) float rows[cpu::most_rows * cpu::row_stride]{};
        alignas(64) std::int32_t sums[32 * 32];
        for (const float by : {0.f, 1.f, 0.25f})
            for (long first = 0; first < K; ++first) {
                std::vector<float> x;
                for (long k = 0; k < K; ++k) x.push_back(known[static_cast<std::size_t>(first + k) % known.size()].first);
                tiles.row(x.data(), K, by, rows);
                long other = 0;
                for (long p = 0; p < one.shape().panels(); ++p) {
                    tiles.tile[0](rows, one.block(0, p, 0), K, sums, columns, false, {});
                    for (long j = 0; j < columns; ++j)
                        other += sums[j] - (tiles.offset ? 128 : 0) != cpu::order::quantised(x[static_cast<std::size_t>(p * columns + j)], by);
                }
                CHECK(other == 0);
            }
    }
}

TEST_CASE("every kernel sums in the stated order, and near the reference") {
    const std::vector<kernel> all = kernels();
    const auto size = [](const auto& v) { return static_cast<int>(v.size()); };
    const auto cases = test::sample({size(all), size(some_rows), size(some_widths), size(some_depths), 16, 5, 3}, test::first_seed());
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::vector<int>& c = cases[i];
        const unsigned long long seed = test::first_seed() + 100 * i;
        test::draws draw(seed);
        const auto one_of = [&](const std::vector<range>& ranges, int n) { return draw.integer(ranges[static_cast<std::size_t>(n)]); };
        const sample s{.kind = c[5],
                       .reading = c[6],
                       .rows = one_of(some_rows, c[1]),
                       .outputs = one_of(some_widths, c[2]),
                       .depth = one_of(some_depths, c[3]),
                       .seed = seed,
                       .offset = c[4]};
        const kernel& k = all[static_cast<std::size_t>(c[0])];
        CAPTURE(k.name);
        CAPTURE(s);
        k.check(s);
    }
}

TEST_CASE("tiles over the whole depth: more rows than are gathered at once, the deepest rows, and deeper ones") {
    int tested = 0;
    for (const kernel& k : kernels()) {
        if (k.name.find("amx") == std::string::npos || k.name.find(" by ") == std::string::npos) continue;
        for (const auto [rows, outputs, depth] : {std::array{300L, 200L, 65L}, {33L, 3L, 16384L}, {5L, 70L, 16385L}}) {
            const sample s{.kind = 0, .reading = 1, .rows = rows, .outputs = outputs, .depth = depth, .seed = test::first_seed()};
            CAPTURE(k.name);
            CAPTURE(s);
            k.check(s);
            ++tested;
        }
    }
    CHECK((tested > 0 || cpu::detected() < isa::avx2));
}

TEST_CASE("an instruction set is asked for by name, at most what the machine has") {
    using cpu::detail::chosen;
    CHECK(chosen(nullptr, isa::avx2) == isa::avx2);
    CHECK(chosen("", isa::amx) == isa::amx);
    CHECK(chosen("avx512", isa::amx) == isa::avx512);
    CHECK_THROWS_WITH_AS(chosen("amx", isa::avx2), "guild::cpu: GUILD_ISA is amx, expected at most what this machine has, avx2",
                         guild::argument_error);
    CHECK_THROWS_WITH_AS(chosen("sse", isa::avx2), "guild::cpu: GUILD_ISA is sse, expected generic, avx2, avx512, avx512_vnni, avx512_bf16 or amx",
                         guild::argument_error);
}
