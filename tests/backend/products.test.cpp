#include <guild/backend/cpu/products.hpp>

#include <support/draws.hpp>
#include <support/few.hpp>
#include <support/matrix.hpp>
#include <support/products.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

// The three products of a backend over ragged groups, gathered, scaled, strided, with weights in several layouts.

namespace {
using guild::backend::eigen, guild::backend::reference, guild::bf16, guild::groups, guild::into, guild::stack, guild::view;

/// Rows of experts with `rows` rows each, read from a matrix of `from` rows in a random order, times random factors.
template <class S> struct ragged {
    std::vector<int> offset{0}, source;
    std::vector<S> factor;
    ragged(const std::vector<int>& rows, long from) {
        for (const int n : rows) offset.push_back(offset.back() + n);
        for (long r = 0; r < offset.back(); ++r) {
            source.push_back(static_cast<int>(guild::uniform(1, 0, r, 0) * static_cast<double>(from)));
            factor.push_back(static_cast<S>(guild::uniform(1, 0, r, 1) - 0.5));
        }
    }
    long rows() const { return offset.back(); }
    groups<S> all() const { return {static_cast<int>(offset.size()) - 1, offset.data(), source.data(), factor.data()}; }
    groups<S> gathered() const { return {static_cast<int>(offset.size()) - 1, offset.data(), source.data(), nullptr}; }
    groups<S> direct() const { return all().direct(); }
};

/// Weights [E, N, M] in a layout: rows `row_stride` apart, experts `expert_stride`.
template <class W> struct weights {
    std::vector<W> memory;
    stack<const W> view;
    weights(long E, long expert_stride, long row_stride, long first) : memory(static_cast<std::size_t>(E * expert_stride)) {
        for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = W(static_cast<guild::scalar_of<W>>(guild::normal(2, 0, 0, static_cast<long>(i))));
        view = {E > 0 ? memory.data() + first : nullptr, expert_stride, row_stride};
    }
};
template <class W> std::vector<weights<W>> layouts(long E, long N, long M) {
    std::vector<weights<W>> all;
    all.emplace_back(E, N * (M + 3) + 1, M + 3, 2);  // padded
    if (test::few && N > 100) return all;
    all.emplace_back(E, N * M, M, 0);          // one matrix after the other
    all.emplace_back(E, 2 * N * M, M, N * M);  // the second of two stacked in one tensor
    all.emplace_back(E, 2 * N * M, 2 * M, M);  // the second of two interleaved row by row
    return all;
}

template <class S> constexpr double tolerance = std::is_same_v<S, double> ? 1e-14 : 4e-6;

/// f(groups, rows of a) for the ways to read rows.
template <class S, class F> void each_reading(const ragged<S>& g, long from, F f) {
    f(g.all(), from);
    f(g.gathered(), from);
    f(g.direct(), g.rows());
}
template <class S> double number(const groups<S>& g, view<const S> a, long r, long m) {
    return static_cast<double>(a(g.from(r), m)) * (g.factor ? static_cast<double>(g.factor[r]) : 1.0);
}

template <class W, class Backend> void check(const Backend& b, const std::vector<int>& rows, long N, long M) {
    using S = guild::scalar_of<W>;
    CAPTURE(rows.size());
    CAPTURE(N);
    CAPTURE(M);
    const long E = static_cast<long>(rows.size()), from = 11;
    const ragged<S> plan(rows, from);
    const long R = plan.rows();
    for (const weights<W>& w : layouts<W>(E, N, M)) {
        each_reading<S>(plan, from, [&](const groups<S>& g, long a_rows) {
            test::matrix<S> a(a_rows, M, {1, 2}), c(R, N, {3, 1});
            test::matrix<double> exact(R, N);
            a.random(1);
            b.product(g, std::as_const(a).all(), w.view, c.all());
            for (int e = 0; e < g.count; ++e)
                for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                    for (long n = 0; n < N; ++n) {
                        exact(r, n) = 0;
                        for (long m = 0; m < M; ++m) exact(r, n) += number(g, std::as_const(a).all(), r, m) * static_cast<double>(w.view(e, n, m));
                    }
            CHECK(test::apart(c, exact) < tolerance<S>);
            CHECK(c.intact());
        });
        for (const into mode : {into::overwrite, into::add}) {
            test::matrix<S> dc(R, N, {1, 2}), da(R, M, {5, 0});
            test::matrix<double> exact(R, M);
            dc.random(2);
            if (mode == into::add) da.random(3);
            for (int e = 0; e < E; ++e)
                for (long r = plan.offset[static_cast<std::size_t>(e)]; r < plan.offset[static_cast<std::size_t>(e) + 1]; ++r)
                    for (long m = 0; m < M; ++m) {
                        exact(r, m) = mode == into::add ? static_cast<double>(da(r, m)) : 0;
                        for (long n = 0; n < N; ++n) exact(r, m) += static_cast<double>(dc(r, n)) * static_cast<double>(w.view(e, n, m));
                    }
            b.input_gradient(plan.all(), std::as_const(dc).all(), w.view, da.all(), mode);
            CHECK(test::apart(da, exact) < tolerance<S>);
            CHECK(da.intact());
        }
    }
    each_reading<S>(plan, from, [&](const groups<S>& g, long a_rows) {
        test::matrix<S> a(a_rows, M, {1, 2}), dc(R, N, {0, 1}), dw(E * N, M, {2, 3});
        test::matrix<double> exact(E * N, M);
        a.random(1), dc.random(2), dw.random(3);
        exact = dw;
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long n = 0; n < N; ++n)
                    for (long m = 0; m < M; ++m) exact(e * N + n, m) += static_cast<double>(dc(r, n)) * number(g, std::as_const(a).all(), r, m);
        test::matrix<S> before(E * N, M);
        before = dw;
        const view<S> d = dw.all();
        b.weight_gradient(g, std::as_const(dc).all(), std::as_const(a).all(), stack<S>{d.data, N * d.stride, d.stride});
        CHECK(test::apart(dw, exact) < tolerance<S>);
        CHECK(dw.intact());
        for (long e = 0; e < E; ++e)
            if (rows[static_cast<std::size_t>(e)] == 0)
                for (long n = 0; n < N; ++n)
                    for (long m = 0; m < M; ++m) CHECK(dw(e * N + n, m) == before(e * N + n, m));
    });
}
template <class W, class Backend> void check_shapes(const Backend& b) {
    for (const long N : {1, 3, 17})
        for (const long M : {1, 4, 19}) check<W>(b, {0, 3, 1, 0, 9}, N, M);
    check<W>(b, {}, 3, 4);
    check<W>(b, {0}, 3, 4);
    check<W>(b, {66, 4}, 65, 70);
    check<W>(b, {5, 65}, 259, 257);
}
}  // namespace

TEST_CASE_TEMPLATE("products of the reference", W, float, double, bf16) { check_shapes<W>(reference{}); }

TEST_CASE_TEMPLATE("products of Eigen", W, float, double, bf16) {
    const guild::thread_pool pool(3);
    check_shapes<W>(eigen{guild::threads{pool}});
}

namespace {
template <class S> view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }

/// Every row alone, then `n` rows at a time, for every n: the tiles have every height.
void check_heights(long N, long M) {
    using S = double;
    const eigen<> b;
    const weights<S> w(1, N * M, M, 0);
    test::matrix<S> a(140, M), dc(140, N), one(140, N), d_one(140, M), d_sum(140, M);
    a.random(1), dc.random(2), d_sum.random(3);
    const auto part = [](auto& m, long first, long rows) { return view(m.all().row(first), rows, m.cols(), m.all().stride); };
    const auto read = [&](auto& m, long first, long rows) { return view<const S>(part(m, first, rows)); };
    for (int r = 0; r < 140; ++r) {
        const int offset[] = {0, 1};
        b.product(groups<S>{1, offset}, read(a, r, 1), w.view, part(one, r, 1));
        b.input_gradient(groups<S>{1, offset}, read(dc, r, 1), w.view, part(d_one, r, 1), into::overwrite);
        b.input_gradient(groups<S>{1, offset}, read(dc, r, 1), w.view, part(d_sum, r, 1), into::add);
    }
    for (int n = 2; n <= 133; ++n) {
        CAPTURE(n);
        const int offset[] = {0, n}, first = n % 7;
        test::matrix<S> c(n, N, {n % 16, 0}), da(n, M, {n % 5, n % 3}), sum(n, M), gathered(n, N);
        b.product(groups<S>{1, offset}, read(a, first, n), w.view, c.all());
        b.input_gradient(groups<S>{1, offset}, read(dc, first, n), w.view, da.all(), into::overwrite);
        sum.random(3);
        for (long r = 0; r < n; ++r)
            for (long m = 0; m < M; ++m) sum(r, m) = static_cast<S>(2 * guild::uniform(3, 0, first + r, m) - 1);
        b.input_gradient(groups<S>{1, offset}, read(dc, first, n), w.view, sum.all(), into::add);
        std::vector<int> source(static_cast<std::size_t>(n));
        for (int r = 0; r < n; ++r) source[static_cast<std::size_t>(r)] = (r * 37 + n) % 140;
        b.product(groups<S>{1, offset, source.data()}, read(a, 0, 140), w.view, gathered.all());
        bool same = true;
        for (long r = 0; r < n; ++r)
            same = same && test::same_bits(row(c, r), row(one, first + r)) && test::same_bits(row(da, r), row(d_one, first + r)) &&
                   test::same_bits(row(sum, r), row(d_sum, first + r)) &&
                   test::same_bits(row(gathered, r), row(one, source[static_cast<std::size_t>(r)]));
        CHECK(same);
    }
}
}  // namespace

TEST_CASE("in double a row has the same bits in a tile of any height") {  // in float: kernels.test.cpp
    check_heights(72, 40);
    check_heights(3, 5);
    check_heights(70, 300);
}

TEST_CASE_TEMPLATE("products have the same bits for any number of threads and any alignment", S, float, double) {
    const long N = 300, M = 70, E = 3;
    const ragged<S> plan({20, 0, 77}, 50);
    const long R = plan.rows();
    const weights<S> w(E, N * M, M, 0);
    const auto run = [&](int threads, test::place at, auto& c, auto& da, auto& dw) {
        const guild::thread_pool pool(threads);
        const eigen b{guild::threads{pool}};
        test::matrix<S> a(50, M, at), dc(R, N, at);
        a.random(1), dc.random(2);
        dw.fill(0);
        b.product(plan.all(), std::as_const(a).all(), w.view, c.all());
        b.input_gradient(plan.all(), std::as_const(dc).all(), w.view, da.all(), into::overwrite);
        b.weight_gradient(plan.all(), std::as_const(dc).all(), std::as_const(a).all(), stack<S>{dw.all().data, N * dw.all().stride, dw.all().stride});
    };
    test::matrix<S> c(R, N), da(R, M), dw(E * N, M);
    run(1, {}, c, da, dw);
    for (long i = 0; i < 16; ++i) {
        CAPTURE(i);
        const test::place at{.offset = i, .gap = i % 4};
        test::matrix<S> c2(R, N, at), da2(R, M, at), dw2(E * N, M, at);
        run(std::vector{2, 3, 7}[static_cast<std::size_t>(i % 3)], at, c2, da2, dw2);
        CHECK(test::same_bits(c2, c));
        CHECK(test::same_bits(da2, da));
        CHECK(test::same_bits(dw2, dw));
    }
}

TEST_CASE("rows_ahead: the tiles together fetch every line of as many rows as they can") {
    namespace cpu = guild::cpu;
    cpu::tile_kernels with = cpu::kernels_of(cpu::isa::generic)->fp32;
    static const float memory[1] = {};
    test::draws draw(test::first_seed());
    for (int i = 0; i < 2000; ++i) {
        const long rows = draw.integer(1, 300), n = draw.integer(1, 300), stride = n + draw.integer(0, 5000), k = draw.integer(1, 256),
                   tiles = draw.integer(1, 40), row_lines = (n + 15) / 16;
        with.fetch_depth = 8 << i % 4;
        const cpu::detail::rows_ahead next(with, k, tiles, memory, rows, n, stride);
        std::vector<char> seen(static_cast<std::size_t>(rows * row_lines));
        for (long tile = 0; tile < tiles; ++tile) {
            cpu::prefetch ahead = next.part(tile);
            long at = reinterpret_cast<long>(ahead.at) - reinterpret_cast<long>(memory);
            for (long call = 0; call < std::max(k / with.fetch_depth, 1L); ++call) {
                for (long line = 0; line < ahead.lines; ++line) {
                    const long row = at / (4 * stride), in_row = (at % (4 * stride) + 64 * line) / 64;
                    if (row < rows && in_row < row_lines) seen[static_cast<std::size_t>(row * row_lines + in_row)] = 1;
                }
                at += 64 * ahead.lines;
                if (--ahead.left == 0) at += ahead.skip, ahead.left = ahead.times;
            }
        }
        INFO("rows " << rows << ", n " << n << ", stride " << stride << ", k " << k << ", tiles " << tiles);
        const auto fetched = std::ranges::find(seen, 0) - seen.begin();
        CHECK(fetched >= std::min(rows, std::max(k / with.fetch_depth, 1L) * tiles) * row_lines);
    }
}
