#include <guild/gate/stage/map.hpp>
#include <guild/gate/stage/scores.hpp>
#include <guild/gate/stage/weigh.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>

#include <cmath>
#include <vector>

using namespace guild;
using test::row_of;

namespace {
using numbers = std::vector<double>;
struct nothing {};  // a token that no map looks at
constexpr double inf = infinity<double>, none = std::numeric_limits<double>::quiet_NaN();

/// n numbers of the size of logits; positive ones for maps of weights.
numbers sample(int n, int seed, bool positive) {
    numbers v;
    for (int i = 0; i < n; ++i) v.push_back(positive ? uniform(5, seed, 0, i) + 0.01 : 2 * normal(5, seed, 0, i));
    return v;
}
/// Applied to all scores.
template <class S> numbers on_scores(const auto& map, const numbers& v) {
    auto r = row_of<S>(v, 1);
    score{map}.forward(nothing{}, r);
    numbers out;
    for (int e = 0; e < r.n.experts; ++e) out.push_back(static_cast<double>(r.score[e]));
    return out;
}
/// The weights of W slots; those whose number is not finite are empty.
template <class S> test::row<S> slots_with(const numbers& v) {
    auto r = row_of<S>(numbers(8), static_cast<int>(v.size()));
    for (int k = 0; k < r.n.slots; ++k) {
        const double w = v[static_cast<std::size_t>(k)];
        r.expert[k] = w - w == 0 ? k : no_expert;
        r.weight[k] = S(static_cast<real_t<S>>(w - w == 0 ? w : -77));
    }
    return r;
}
template <class S> numbers on_slots(const auto& map, const numbers& v) {
    auto r = slots_with<S>(v);
    weigh{map}.forward(nothing{}, r);
    numbers out;
    for (int k = 0; k < r.n.slots; ++k) out.push_back(r.expert[k] == no_expert ? none : static_cast<double>(r.weight[k]));
    return out;
}
/// Equal within `by` of the larger, holes where holes are.
bool close(const numbers& a, const numbers& b, double by) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]) || std::abs(a[i] - b[i]) <= by * std::max(std::abs(a[i]), std::abs(b[i])))) return false;
    return a.size() == b.size();
}
/// The formula on scores and on slots, in float and double.
void computes(const auto& map, const numbers& in, const numbers& out) {
    CHECK(close(on_scores<double>(map, in), out, 1e-15 * 4));
    CHECK(close(on_scores<float>(map, in), out, 5e-7));
    CHECK(close(on_slots<double>(map, in), out, 1e-15 * 4));
    CHECK(close(on_slots<float>(map, in), out, 5e-7));
}
/// The adjoint is the transposed derivative, by dual numbers, on E scores and on slots of which some are empty.
void has_exact_adjoint(const auto& map, bool positive) {
    const auto differs = [](double a, double b) { return std::abs(a - b) > 1e-14 * (1 + std::abs(b)); };
    for (const int n : {1, 2, 5, 8}) {
        numbers in = sample(n, n, positive);
        const numbers by = sample(n, n + 100, false);
        const auto at = [](const numbers& v, int i) { return v[static_cast<std::size_t>(i)]; };
        {
            const auto before = row_of<double>(in, 1);
            auto after = before;
            score{map}.forward(nothing{}, after);
            row_gradient<test::row<double>> g;
            static_cast<test::row<double>&>(g) = row_of<double>(by, 1);
            score{map}.backward(nothing{}, before, after, g);
            for (int i = 0; i < n; ++i) {
                auto d = row_of<dual<double>>(in, 1);
                d.score[i].d = 1;
                score{map}.forward(nothing{}, d);
                double expected = 0;
                for (int j = 0; j < n; ++j) expected += at(by, j) * d.score[j].d;
                CHECK(!differs(g.score[i], expected));
            }
        }
        if (n > 2) in[1] = none;
        if (n > 5) in[7] = none;
        const auto before = slots_with<double>(in);
        auto after = before;
        weigh{map}.forward(nothing{}, after);
        row_gradient<test::row<double>> g;
        static_cast<test::row<double>&>(g) = after;
        for (int k = 0; k < n; ++k) g.weight[k] = before.expert[k] == no_expert ? none : at(by, k);
        weigh{map}.backward(nothing{}, before, after, g);
        for (int i = 0; i < n; ++i) {
            auto d = slots_with<dual<double>>(in);
            if (d.expert[i] == no_expert) continue;
            d.weight[i].d = 1;
            weigh{map}.forward(nothing{}, d);
            double expected = 0;
            for (int j = 0; j < n; ++j)
                if (d.expert[j] != no_expert) expected += at(by, j) * d.weight[j].d;
            CHECK(!differs(g.weight[i], expected));
        }
    }
}
}  // namespace

TEST_CASE("map: softmax") {
    for (const int n : {1, 2, 8, 40}) {
        const numbers v = sample(n, n, false);
        double total = 0;
        numbers out;
        for (const double x : v) total += std::exp(x);
        for (const double x : v) out.push_back(std::exp(x) / total);
        CHECK(close(on_scores<double>(softmax{}, v), out, 1e-14));
        CHECK(close(on_scores<float>(softmax{}, v), out, 2e-6));
        if (n <= 8) CHECK(close(on_slots<double>(softmax{}, v), out, 1e-14));
    }
    numbers even(4);
    even.at(0) = even.at(1) = 0.5;
    computes(softmax{}, {3.4e38, 3.4e38, -3.4e38, 0}, even);
    computes(softmax{}, {1000, 1001, 0, -1000}, {1 / (1 + std::exp(1.)), 1 / (1 + std::exp(-1.)), 0, 0});
    CHECK(on_scores<double>(softmax{}, {-inf, 2, -inf, 2}) == numbers{0, 0.5, 0, 0.5});
    CHECK(on_slots<double>(softmax{}, {none, 2, none, 2}).at(1) == 0.5);
    has_exact_adjoint(softmax{}, false);
}
TEST_CASE("map: softmax takes out what all gradients have in common") {
    for (const int n : {5, 33, 64}) {
        auto in = row_of<float>(sample(n, n, false), 1), out = in;
        softmax{}.forward(experts_of{out});
        for (const float common : {1e6f, -3e7f}) {
            auto g = in;
            for (int e = 0; e < n; ++e) g.score[e] = common;
            softmax{}.backward(experts_of{in}, experts_of{out}, experts_of{g});
            for (int e = 0; e < n; ++e) CHECK(std::abs(g.score[e]) <= 1e-12f * std::abs(common));  // one pass leaves some 1e-8
        }
    }
}
TEST_CASE("map: rectify has slope 0 at 0") {
    auto in = row_of<double>(numbers{0, -0., 1e-300, -1e-300}, 1), out = in, g = in;
    for (int e = 0; e < 4; ++e) g.score[e] = 3;
    rectify{}.forward(experts_of{out});
    rectify{}.backward(experts_of{in}, experts_of{out}, experts_of{g});
    CHECK((g.score[0] == 0 && g.score[1] == 0 && g.score[2] == 3 && g.score[3] == 0));
}
TEST_CASE("map: sigmoid") {
    numbers v = sample(8, 1, false), out;
    for (const double x : v) out.push_back(1 / (1 + std::exp(-x)));
    computes(sigmoid{}, v, out);
    CHECK(on_scores<float>(sigmoid{}, {0, 100, -200, inf, -inf}) == numbers{0.5, 1, 0, 1, 0});
    CHECK(on_slots<double>(sigmoid{}, {none, 0.}).at(1) == 0.5);
    has_exact_adjoint(sigmoid{}, false);
}
TEST_CASE("map: unit_sum") {
    const numbers v{1, 2, 0.5, 4.5};
    computes(unit_sum{}, v, {0.125, 0.25, 0.0625, 0.5625});
    computes(unit_sum{.epsilon = 2}, v, {0.1, 0.2, 0.05, 0.45});
    computes(unit_sum{}, {1e-30, 3e-30}, {0.25, 0.75});
    CHECK(close(on_slots<double>(unit_sum{}, {1, none, 3}), {0.25, none, 0.75}, 0));
    CHECK(on_scores<double>(unit_sum{}, {0, 0}) == numbers{0, 0});
    CHECK(on_slots<double>(unit_sum{}, {0, 0, 0}) == numbers{0, 0, 0});
    for (const double epsilon : {0., 1e-20, 0.5}) has_exact_adjoint(unit_sum{epsilon}, true);

    row_gradient<test::row<double>> g;  // underflowed weights pass no gradient on, not NaN
    const auto zeros = slots_with<double>({0, 0});
    static_cast<test::row<double>&>(g) = slots_with<double>({1, 2});
    weigh{unit_sum{}}.backward(nothing{}, zeros, zeros, g);
    CHECK(g.weight[0] == 0);
    CHECK(g.weight[1] == 0);

    CHECK(weigh{unit_sum{}}.fits(1, 1));
    for (const double bad : {-1e-3, inf, none}) CHECK(!weigh{unit_sum{bad}}.fits(1, 1));
}
TEST_CASE("map: times") {
    computes(times{2.5}, {1, -2, 0, 0.25}, {2.5, -5, 0, 0.625});
    has_exact_adjoint(times{-1.5}, false);
    CHECK(weigh{times{-3}}.fits(1, 1));
    for (const double bad : {-inf, inf, none}) CHECK(!score{times{bad}}.fits(1, 1));
}
TEST_CASE("map: an empty slot keeps what it holds") {
    for (int k : {0, 2}) {
        numbers v{0.5, 0.25, 0.75};
        v[static_cast<std::size_t>(k)] = none;
        const auto untouched = [&](const auto& map) {
            auto r = slots_with<double>(v);
            weigh{map}.forward(nothing{}, r);
            return r.weight[k] == -77;
        };
        CHECK(untouched(softmax{}));
        CHECK(untouched(sigmoid{}));
        CHECK(untouched(unit_sum{}));
        CHECK(untouched(times{3}));
    }
}
