#include <guild/backend/host.hpp>
#include <guild/combine/weighted_sum.hpp>
#include <guild/core/random.hpp>
#include <guild/core/scalar.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace guild;

namespace {
constexpr int E = 5, W = 3;
constexpr long T = 6, H = 4;
/// Token 1 has two experts, token 3 none, token 5 one, in the last slot.
constexpr int chosen[T * W] = {3, 0, 4, 2, no_expert, 1, 4, 3, 2, no_expert, no_expert, no_expert, 0, 1, 2, no_expert, no_expert, 4};
const backend::reference plain_loops;

/// Inputs of a combine: rows [R, H], x [T, H], weights [T, W].
template <class S> struct problem {
    choice<S> c;
    plan p;
    std::vector<S> rows, x, weight;

    problem() {
        c.resize(T, W);
        for (long i = 0; i < T * W; ++i) c.expert[i] = chosen[i];
        dispatch::count(c, E, p);
        dispatch::sort(c, E, p);
        for (long i = 0; i < p.rows * H; ++i) rows.push_back(S(normal(1, 0, 0, i)));
        for (long i = 0; i < T * H; ++i) x.push_back(S(normal(1, 1, 0, i)));
        for (long i = 0; i < T * W; ++i) weight.push_back(S(chosen[i] == no_expert ? 0 : normal(1, 2, 0, i)));
    }
    template <bool WeighsInput> std::vector<S> y(residual kind) {
        std::vector<S> out(static_cast<std::size_t>(T * H), S(1));
        for (long i = 0; i < T * W; ++i) c.weight[i] = weight[static_cast<std::size_t>(i)];
        combine::forward<WeighsInput>(plain_loops, kind, c, p, 0, view<const S>(rows.data(), p.rows, H), view<const S>(x.data(), T, H),
                                      view<S>(out.data(), T, H));
        return out;
    }
};
/// 1 + sum of weight row + residual, from the definition.
template <bool WeighsInput> double expected(const problem<double>& q, residual kind, long t, long h) {
    double y = 1, rest = 1;
    for (long r = 0; r < q.p.rows; ++r) {
        if (q.p.token[r] != t) continue;
        const double w = q.weight[static_cast<std::size_t>(q.p.slot[r])];
        y += (WeighsInput ? 1 : w) * q.rows[static_cast<std::size_t>(r * H + h)];
        rest -= w;
    }
    return y + (kind == residual::none ? 0 : kind == residual::plain ? 1 : rest) * q.x[static_cast<std::size_t>(t * H + h)];
}
bool close(const std::vector<double>& a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::abs(a[i] - b[i]) <= 1e-14 * (1 + std::abs(b[i])))) return false;
    return a.size() == b.size();
}
/// d sum(dy y) / d list, by dual numbers.
template <bool WeighsInput>
std::vector<double> derivative(residual kind, std::vector<dual<double>> problem<dual<double>>::*list, const std::vector<double>& dy) {
    problem<dual<double>> q;
    std::vector<double> d;
    for (auto& number : q.*list) {
        number.d = 1;
        const auto y = q.template y<WeighsInput>(kind);
        number.d = 0;
        d.push_back(0);
        for (std::size_t i = 0; i < y.size(); ++i) d.back() += dy[i] * y[i].d;
    }
    return d;
}
template <bool WeighsInput> void whole(residual kind) {
    problem<double> q;
    const auto y = q.template y<WeighsInput>(kind);
    for (long t = 0; t < T; ++t)
        for (long h = 0; h < H; ++h) CHECK(y.data()[t * H + h] == doctest::Approx(expected<WeighsInput>(q, kind, t, h)).epsilon(1e-14));

    std::vector<double> dy, d_rows(q.rows.size(), 9), d_weight(T * W, 9), dx(q.x.size());
    for (long i = 0; i < T * H; ++i) dy.push_back(normal(1, 3, 0, i));
    const view<const double> x(q.x.data(), T, H), by(dy.data(), T, H);
    combine::backward<WeighsInput>(plain_loops, kind, q.c, q.p, view<const double>(q.rows.data(), q.p.rows, H), x, by,
                                   view<double>(d_rows.data(), q.p.rows, H), view<double>(d_weight.data(), T, W));
    guild::present_tokens all;
    all.find({}, T);
    combine::residual_backward(plain_loops, kind, q.c, q.p, all, by, view<double>(dx.data(), T, H));
    CHECK(close(d_rows, derivative<WeighsInput>(kind, &problem<dual<double>>::rows, dy)));
    CHECK(close(dx, derivative<WeighsInput>(kind, &problem<dual<double>>::x, dy)));
    auto exact = derivative<WeighsInput>(kind, &problem<dual<double>>::weight, dy);
    for (long i = 0; i < T * W; ++i)
        if (chosen[i] == no_expert) exact[static_cast<std::size_t>(i)] = 0;  // overwritten, even where nothing is chosen
    CHECK(close(d_weight, exact));
}
}  // namespace

TEST_CASE("combine: the weighted sum and each residual, and their adjoints") {
    for (const residual kind : {residual::none, residual::plain, residual::complement}) {
        whole<false>(kind);
        whole<true>(kind);
    }
}
TEST_CASE("combine: rows are added in ascending expert id, one by one") {
    choice<float> c;
    plan p;
    c.resize(1, 3);
    const int expert[] = {2, 0, 1};
    const float weight[] = {1, 1, 1};
    std::copy(expert, expert + 3, c.expert.data());
    std::copy(weight, weight + 3, c.weight.data());
    dispatch::count(c, 3, p);
    dispatch::sort(c, 3, p);
    const float rows[] = {1e8f, -1e8f, 1, 9, 9};  // of experts 0, 1, 2: in any other order the sum is 0
    float y[] = {0};
    combine::forward<false>(plain_loops, residual::none, c, p, 0, view<const float>(rows, 3, 1), {}, view<float>(y, 1, 1));
    CHECK(y[0] == 1);

    float later[] = {0.5f};  // the rows of experts 0 and 1 have been added elsewhere
    combine::forward<false>(plain_loops, residual::none, c, p, 2, view<const float>(rows + 2, 1, 1), {}, view<float>(later, 1, 1));
    CHECK(later[0] == 1.5f);
}
TEST_CASE("combine: BASE, one weight: y = w E(x) + (1 - w) x") {
    choice<double> c;
    plan p;
    c.resize(1, 1);
    c.expert[0] = 0;
    c.weight[0] = 0.25;
    dispatch::count(c, 1, p);
    dispatch::sort(c, 1, p);
    const double row = 8, x = 4;
    double y = 0;
    combine::forward<false>(plain_loops, residual::complement, c, p, 0, view<const double>(&row, 1, 1), view<const double>(&x, 1, 1),
                            view<double>(&y, 1, 1));
    CHECK(y == 0.25 * 8 + 0.75 * 4);
}
TEST_CASE("combine: the gradient by what the experts read reaches x, and the weight where that is on the input") {
    problem<double> q;
    for (long i = 0; i < T * W; ++i) q.c.weight[i] = q.weight[static_cast<std::size_t>(i)];
    std::vector<double> dx(T * H, 1), d_weight(T * W, 1), weighted(T * H, 1), d_weighted(T * W, 1);
    const view<const double> x(q.x.data(), T, H), d_read(q.rows.data(), q.p.rows, H);
    combine::input_backward<false>(plain_loops, q.c, q.p, x, d_read, view<double>(dx.data(), T, H), view<double>(d_weight.data(), T, W));
    combine::input_backward<true>(plain_loops, q.c, q.p, x, d_read, view<double>(weighted.data(), T, H), view<double>(d_weighted.data(), T, W));
    std::vector<double> plain(T * H, 1), scaled(T * H, 1), by_weight(T * W, 1);  // an expert reads x, or weight x
    for (long r = 0; r < q.p.rows; ++r)
        for (long h = 0; h < H; ++h) {
            const long t = q.p.token[r], slot = q.p.slot[r];
            plain.data()[t * H + h] += d_read(r, h);
            scaled.data()[t * H + h] += d_read(r, h) * q.c.weight[slot];
            by_weight.data()[slot] += d_read(r, h) * x(t, h);
        }
    CHECK(close(dx, plain));
    CHECK(d_weight == std::vector<double>(T * W, 1));
    CHECK(close(weighted, scaled));
    CHECK(close(d_weighted, by_weight));
}
