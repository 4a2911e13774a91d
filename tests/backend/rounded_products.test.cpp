#include <support/products.hpp>
#include <support/few.hpp>
#include <support/matrix.hpp>

#include <guild/backend/cpu/order.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "machines.hpp"

// The three products over plain weights with both operands rounded to bf16: by every kernel that this machine has, and by the text of those that it
// has not over emulated instructions, against the plain loops of order.hpp, bit for bit.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::isa, guild::groups, guild::into, guild::stack, guild::view;

/// Null tiles: it cannot do it.
cpu::plain_kernels plain(const emulated::machine& m, arithmetic by) {
    const cpu::tile_kernels& tiles = by == arithmetic::bf16 ? m.bf16->pairs : m.bf16->chain;
    return {m.kernels, tiles ? &tiles : nullptr, m.bf16};
}

/// Numbers of [-1, 1), of wide exponents, near underflow, and special ones.
float hard(int kind, unsigned long long seed, long r, long c) {
    const double u = guild::uniform(seed, 1, r, c), v = guild::uniform(seed, 2, r, c);
    if (kind == 1) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 60) - 30);
    if (kind == 2) return std::ldexp(static_cast<float>(2 * u - 1), static_cast<int>(v * 20) - 75);
    const float special[] = {0.f, -0.f, 0x1p-126f, -0x1p-149f, 0x1.fffffep-127f, 0x1.8p-70f, 0x1.01p0f, 0x1.03p0f, 0x1.008p0f, 3e37f, -1e30f, 1.f};
    return kind == 3 && v < 0.5 ? special[static_cast<int>(u * 12)] : static_cast<float>(2 * u - 1);
}
void fill(test::matrix<float>& m, int kind, unsigned long long seed) {
    for (long r = 0; r < m.rows(); ++r)
        for (long c = 0; c < m.cols(); ++c) m(r, c) = hard(kind, seed, r, c);
}
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

float ordered(arithmetic by, const std::vector<float>& a, const std::vector<float>& w, const float* to) {
    const auto at = [&](long k) { return cpu::order::rounded(w[static_cast<std::size_t>(k)]); };
    const long K = static_cast<long>(a.size());
    if (by == arithmetic::bf16) return to ? cpu::order::bf16(a.data(), at, K, *to) : cpu::order::bf16(a.data(), at, K);
    return to ? cpu::order::bf16_chain(a.data(), at, K, *to) : cpu::order::bf16_chain(a.data(), at, K);
}

/// Rows of three experts, `rows`, none and three, of which the first reads gathered and scaled rows; N outputs of depth M.
struct problem {
    int kind;
    long rows, N, M;
    std::vector<int> offset{0, static_cast<int>(rows), static_cast<int>(rows), static_cast<int>(rows) + 3}, source{};
    std::vector<float> factor{};
    test::matrix<float> a{7, M, {1, 2}}, w{3 * N, M, {2, 1}}, dc{rows + 3, N, {3, 0}}, c{rows + 3, N, {1, 1}}, da{rows + 3, M, {0, 3}},
        dw{3 * N, M, {1, 0}};

    problem(int k, long r, long n, long m) : kind(k), rows(r), N(n), M(m) {
        for (long i = 0; i < rows + 3; ++i) {
            source.push_back(static_cast<int>(i * 5 % 7));
            factor.push_back(static_cast<float>(guild::uniform(4, 0, i, 0) - 0.5));
        }
        fill(a, kind, 1), fill(w, kind, 2), fill(dc, kind, 3), fill(da, kind, 4), fill(dw, kind, 5);
    }
    groups<float> all() const { return {3, offset.data(), source.data(), factor.data()}; }
    stack<const float> weights() const { return {w.all().data, N * w.all().stride, w.all().stride}; }
    static std::vector<float> gathered(long n, auto f) {
        std::vector<float> v;
        for (long i = 0; i < n; ++i) v.push_back(f(i));
        return v;
    }

    /// f(piece) as the backend cuts it.
    void each(const cpu::plain_kernels& how, long outputs, auto f) const {
        const cpu::cut by{cpu::panels_of(*how.with, outputs), 1, 1};
        cpu::share(guild::serial{}, all(), by, [&](const cpu::piece& whole) { cpu::each_part(whole, cpu::most_rows, by.panels, f); });
    }
    /// How many numbers are not what the order says.
    long wrong(arithmetic by, const cpu::plain_kernels& how) {
        const view<const float> A = std::as_const(a), D = std::as_const(dc);
        const groups<float> g = all();
        const auto expert = [&](long r) { return r < rows ? 0L : 2L; };
        test::matrix<float> da_before(rows + 3, M), dw_before(3 * N, M), overwritten(rows + 3, M);
        da_before = da, dw_before = dw;
        each(how, N, [&](const cpu::piece& at) { cpu::product(how, g, at, A, weights(), c.all()); });
        each(how, M, [&](const cpu::piece& at) { cpu::input_gradient(how, g, at, D, weights(), da.all(), into::add); });
        each(how, M, [&](const cpu::piece& at) { cpu::input_gradient(how, g, at, D, weights(), overwritten.all(), into::overwrite); });
        cpu::share(guild::serial{}, g, cpu::cut{(N + cpu::outer_rows - 1) / cpu::outer_rows, 1, 1}, [&](const cpu::piece& at) {
            cpu::weight_gradient(how, g, at, D, A, stack<float>{dw.all().data, N * dw.all().stride, dw.all().stride});
        });
        long count = 0;
        for (long r = 0; r < rows + 3; ++r) {
            const long e = expert(r);
            const auto row = gathered(M, [&](long m) { return a(g.from(r), m); }), d = gathered(N, [&](long n) { return dc(r, n); });
            for (long n = 0; n < N; ++n) {
                const auto out = gathered(M, [&](long m) { return w(e * N + n, m); });
                count += !same(c(r, n), ordered(by, row, out, nullptr) * factor[static_cast<std::size_t>(r)]);
            }
            for (long m = 0; m < M; ++m) {
                const auto in = gathered(N, [&](long n) { return w(e * N + n, m); });
                const float before = da_before(r, m);
                count += !same(da(r, m), ordered(by, d, in, &before)) + !same(overwritten(r, m), ordered(by, d, in, nullptr));
            }
        }
        for (long e = 0; e < 3; ++e) {
            const long first = g.begin(static_cast<int>(e)), n_rows = g.rows(static_cast<int>(e));
            for (long m = 0; m < M; ++m) {
                const auto right = gathered(n_rows, [&](long i) { return a(g.from(first + i), m) * factor[static_cast<std::size_t>(first + i)]; });
                for (long n = 0; n < N; ++n) {
                    const auto left = gathered(n_rows, [&](long i) { return dc(first + i, n); });
                    const float before = dw_before(e * N + n, m), right_sum = n_rows > 0 ? ordered(by, left, right, &before) : before;
                    count += !same(dw(e * N + n, m), right_sum);
                }
            }
        }
        return count + !c.intact() + !da.intact() + !dw.intact();
    }
};
}  // namespace

TEST_CASE("products rounded to bf16: every kernel sums in the stated order") {
    const long widths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 113, 130},
               depths[] = {1, 2, 3, 31, 32, 33, 100, 255, 256, 257, 300, 511, 513};
    for (const emulated::machine& m : emulated::machines()) {
        if (m.kernels->level == isa::generic) continue;  // the compiler chooses whether it fuses
        CAPTURE(m.name);
        const auto check = [&](int kind, long rows, long N, long M) {
            CAPTURE(kind);
            CAPTURE(rows);
            CAPTURE(N);
            CAPTURE(M);
            for (const arithmetic by : {arithmetic::bf16, arithmetic::bf16_chain})
                if (const cpu::plain_kernels how = plain(m, by); how.tiles) CHECK(problem(kind, rows, N, M).wrong(by, how) == 0);
        };
        const int step = test::few ? 3 : 1;
        for (int i = 0; i <= 40; i += step) check(i % 4, i, widths[i * 5 % 14], widths[i * 3 % 14]);
        for (int i = 0; i < 13; i += step) {
            check(i % 4, i * 3 % 7, widths[i], depths[i]);         // of product
            check((i + 1) % 4, i * 5 % 7, depths[i], widths[i]);   // of input_gradient
            check((i + 2) % 4, depths[i], 1 + i * 5 % 19, 1 + i);  // of weight_gradient
        }
        check(0, 97, 40, 70), check(0, 200, 33, 30), check(0, 513, 5, 300);
    }
}

namespace {
/// Any format is decoded, then rounded: the bits of the same numbers in float.
template <class Format> void check_format(arithmetic by, isa level) {
    const long E = 2, N = 70, M = 300;
    typename guild::format<Format>::storage stored;
    guild::format<Format>::resize(stored, E, N, M);
    std::vector<float> plain;
    for (long i = 0; i < E * N * M; ++i) plain.push_back(static_cast<float>(guild::normal(2, 0, 0, i)));
    stored = guild::quantise<Format>(stack<const float>{plain.data(), N * M, M}, E, N, M);
    const auto w = guild::format<Format>::lend(stored, N, M);
    for (long i = 0; i < E * N * M; ++i) plain[static_cast<std::size_t>(i)] = w(i / (N * M), i / M % N, i % M);
    const int offset[] = {0, 21, 30};
    const guild::backend::eigen b(guild::serial{}, by, level);
    test::matrix<float> a(30, M), dc(30, N), c(30, N), da(30, M), c2(30, N), da2(30, M);
    a.random(1), dc.random(2);
    const groups<float> g{2, offset};
    b.product(g, std::as_const(a).all(), w, c.all());
    b.product(g, std::as_const(a).all(), stack<const float>{plain.data(), N * M, M}, c2.all());
    b.input_gradient(g, std::as_const(dc).all(), w, da.all(), into::overwrite);
    b.input_gradient(g, std::as_const(dc).all(), stack<const float>{plain.data(), N * M, M}, da2.all(), into::overwrite);
    CHECK(test::same_bits(c, c2));
    CHECK(test::same_bits(da, da2));
}
}  // namespace

TEST_CASE("products rounded to bf16: weights in any format, every instruction set of the machine") {
    for (int i = 0; i <= static_cast<int>(cpu::active()); ++i) {
        const isa level = static_cast<isa>(i);
        for (const arithmetic by : {arithmetic::fp32, arithmetic::bf16}) {
            check_format<guild::bf16>(by, level);
            check_format<guild::half>(by, level);
            check_format<guild::fp8>(by, level);
            check_format<guild::int4<32>>(by, level);
        }
    }
}

TEST_CASE("an exact backend does not round; double is not; int8 multiplies plain weights in fp32") {
    const guild::backend::eigen fp32(guild::serial{}), bf16(guild::serial{}, arithmetic::bf16), eight(guild::serial{}, arithmetic::int8);
    const auto products = [&](const auto& b, auto scalar) {
        using S = decltype(scalar);
        const int offset[] = {0, 9};
        const groups<S> g{1, offset};
        test::matrix<S> a(9, 40), w(33, 40), dc(9, 33), c(9, 33), da(9, 40), dw(33, 40);
        a.random(1), w.random(2), dc.random(3), dw.fill(0);
        b.product(g, std::as_const(a).all(), stack<const S>{w.all().data, 0, 40}, c.all());
        b.input_gradient(g, std::as_const(dc).all(), stack<const S>{w.all().data, 0, 40}, da.all(), into::overwrite);
        b.weight_gradient(g, std::as_const(dc).all(), std::as_const(a).all(), stack<S>{dw.all().data, 0, 40});
        std::vector<S> all;
        for (const test::matrix<S>* m : {&c, &da, &dw})
            for (long r = 0; r < m->rows(); ++r) all.insert(all.end(), m->all().row(r), m->all().row(r) + m->cols());
        return all;
    };
    CHECK(test::same_bits(products(bf16.exact(), 0.f), products(fp32, 0.f)));
    CHECK(!test::same_bits(products(bf16, 0.f), products(fp32, 0.f)));
    CHECK(test::same_bits(products(bf16, 0.), products(fp32, 0.)));
    CHECK(test::same_bits(products(eight, 0.f), products(fp32, 0.f)));
    if (cpu::active() < isa::avx512_bf16) {
        const std::string text = "guild::cpu: arithmetic bf16_chain over plain weights, expected one that the format and " +
                                 std::string(cpu::name(cpu::active())) + " have";
        CHECK_THROWS_WITH_AS((guild::backend::eigen{guild::serial{}, arithmetic::bf16_chain}), text.c_str(), guild::argument_error);
    }
}
