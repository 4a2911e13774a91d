#include <guild/gate/published/gates.hpp>
#include <guild/gate/stage/load_penalty.hpp>

#include <doctest/doctest.h>
#include <support/draws.hpp>
#include <support/few.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

using namespace guild;

// What is derived from the forward of a stage, in one sweep, against dual numbers one by one.

namespace {
using numbers = std::vector<double>;
template <class S> using row_of_512 = row<S, any_extent<512>>;

/// Another stage without its adjoint.
template <class Stage> struct bare {
    static constexpr bool needs_previous = detail::reads_previous<Stage>;
    Stage stage;
    constexpr int learned(int E) const { return detail::learned_of(stage, E); }
    void forward(const auto& t, auto& r) const { stage.forward(t, r); }
};
template <class Stage> int extra_of(const Stage& s, int E) {
    if constexpr (requires { s.extra(E); }) return s.extra(E);
    else return 0;
}

/// A row in the middle of a gate, what the stage reads beside it, and the gradient by what it leaves.
struct setting {
    int E, X, W;
    numbers score, extra, weight, bias, learned, previous, state, by;
    std::vector<int> expert, decided, table;

    setting(int experts, int more, int slots, int L, int seed)
        : E(experts),
          X(more),
          W(slots),
          score(draw(E, 0, seed)),
          extra(draw(X, 1, seed)),
          weight(draw(W, 2, seed)),
          bias(draw(E, 3, seed)),
          learned(draw(L, 4, seed)),
          previous(draw(E, 5, seed)),
          state(draw(E, 6, seed)),
          by(draw(E + X + W, 7, seed)) {
        for (double& w : weight) w = std::abs(w) + 0.1;
        for (double& s : state) s = std::abs(s) / E;
        for (int k = 0; k < W; ++k) {
            expert.push_back((k > 0 && k % 5 == 4) ? no_expert : (seed + 3 * k) % E);
            decided.push_back(k % 3 == 2 ? no_expert : expert.back());
            table.push_back((seed + k) % E);
            if (expert.back() == no_expert) weight[static_cast<std::size_t>(k)] = 0;
        }
    }
    static numbers draw(int n, int stream, int seed) {
        numbers v;
        for (int i = 0; i < n; ++i) v.push_back(normal(static_cast<unsigned long long>(seed), stream, 0, i));
        return v;
    }
    template <class S> row_of_512<S> loaded() const {
        row_of_512<S> r;
        r.n = {E, X, W};
        for (int e = 0; e < E; ++e)
            r.score[e] = S(static_cast<real_t<S>>(score[static_cast<std::size_t>(e)])),
            r.bias[e] = static_cast<real_t<S>>(bias[static_cast<std::size_t>(e)]);
        for (int i = 0; i < X; ++i) r.extra[i] = S(static_cast<real_t<S>>(extra[static_cast<std::size_t>(i)]));
        for (int k = 0; k < W; ++k)
            r.expert[k] = expert[static_cast<std::size_t>(k)], r.weight[k] = S(static_cast<real_t<S>>(weight[static_cast<std::size_t>(k)]));
        return r;
    }
    template <class S> token<S> at(const S* l, const S* p) const {
        return {.index = 3,
                .position = 11,
                .id = 0,
                .training = true,
                .seed = 5,
                .learned = l,
                .state = state.data(),
                .table = table.data(),
                .decided = decided.data(),
                .previous = p};
    }
    /// Scores, extra logits, weights, learned numbers, logits of the layer before: all in one list.
    numbers gradient(const auto& stage) const {
        using Row = row_of_512<double>;
        const Row in = loaded<double>();
        Row out = in;
        const auto t = at<double>(learned.data(), previous.data());
        stage.forward(t, out);
        row_gradient<Row> g;
        static_cast<Row&>(g) = in;
        for (int e = 0; e < E; ++e) g.score[e] = by[static_cast<std::size_t>(e)];
        for (int i = 0; i < X; ++i) g.extra[i] = by[static_cast<std::size_t>(E + i)];
        for (int k = 0; k < W; ++k) g.weight[k] = by[static_cast<std::size_t>(E + X + k)];
        numbers d_learned(learned.size(), 2), d_previous(previous.size(), 3);  // added to
        g.learned = d_learned.data();
        g.previous = d_previous.data();
        adjoint(stage, t, in, out, g);
        numbers all;
        for (int e = 0; e < E; ++e) all.push_back(g.score[e]);
        for (int i = 0; i < X; ++i) all.push_back(g.extra[i]);
        for (int k = 0; k < W; ++k) all.push_back(g.weight[k]);
        for (const double d : d_learned) all.push_back(d - 2);
        for (const double d : d_previous) all.push_back(d - 3);
        return all;
    }
    /// Derivative along a direction through all of these.
    double along(const auto& stage, const numbers& direction) const {
        using D = dual<double>;
        auto r = loaded<D>();
        std::vector<D> l(learned.begin(), learned.end()), p(previous.begin(), previous.end());
        std::size_t i = 0;
        for (int e = 0; e < E; ++e) r.score[e].d = direction[i++];
        for (int j = 0; j < X; ++j) r.extra[j].d = direction[i++];
        for (int k = 0; k < W; ++k) r.weight[k].d = direction[i++];
        for (D& d : l) d.d = direction[i++];
        for (D& d : p) d.d = direction[i++];
        stage.forward(at<D>(l.data(), p.data()), r);
        double dot = 0;
        for (int e = 0; e < E; ++e) dot += by[static_cast<std::size_t>(e)] * r.score[e].d;
        for (int j = 0; j < X; ++j) dot += by[static_cast<std::size_t>(E + j)] * r.extra[j].d;
        for (int k = 0; k < W; ++k) dot += by[static_cast<std::size_t>(E + X + k)] * r.weight[k].d;
        return dot;
    }
};

/// `entries` of the gradient one by one, and all of it along random directions.
template <class Stage> void exact(const Stage& stage, const setting& s, const numbers& g) {
    double scale = 1;
    for (const double v : g) scale = std::max(scale, std::abs(v));
    CAPTURE(scale);
    const long n = static_cast<long>(g.size()), entries = std::min<long>(n, test::few ? 5 : 25);
    for (long i = 0; i < entries; ++i) {
        const std::size_t at = n <= entries ? static_cast<std::size_t>(i) : static_cast<std::size_t>(uniform(8, 0, n, i) * static_cast<double>(n));
        numbers one(g.size());
        one[at] = 1;
        CHECK(std::abs(g[at] - s.along(stage, one)) <= 1e-12 * scale);
    }
    for (int i = 0; i < 2; ++i) {
        const numbers direction = setting::draw(static_cast<int>(n), 9 + i, 1);
        double dot = 0, size = 1;
        for (std::size_t j = 0; j < g.size(); ++j) dot += direction[j] * g[j], size += std::abs(direction[j] * g[j]);
        CHECK(std::abs(dot - s.along(stage, direction)) <= 1e-12 * std::max(scale, size));
    }
}
template <class Stage> void check_stage(const char* name, const Stage& stage, std::initializer_list<int> experts = {1, 2, 5, 12, 33, 512}) {
    CAPTURE(std::string(name));
    static_assert(!has_adjoint<bare<Stage>, double, row_of_512<double>>);
    for (const int E : experts)
        for (int seed = 1; seed <= (E < 100 && !test::few ? 8 : 1); ++seed) {
            CAPTURE(E);
            CAPTURE(seed);
            const setting s(E, extra_of(stage, E), std::min(E, 2 + 5 * (seed % 3)), detail::learned_of(stage, E), seed);
            exact(stage, s, s.gradient(bare<Stage>{stage}));
        }
}

// ---- stages of a user, in one text for float, double, dual and variable ----
/// Keeps the scores above a threshold.
struct threshold {
    double at = 0.1;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) {
            if (r.score[e] < at) r.score[e] = 0;
        });
    }
};
/// softmax with the largest score, its derivative included, and everything by hand.
struct by_hand {
    void forward(const auto&, auto& r) const {
        using guild::exp;
        const auto top = r.max([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] = exp(r.score[e] - top); });
        const auto total = r.sum([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] /= total; });
    }
};
/// Relative to the largest: here the derivative of the maximum counts.
struct relative {
    void forward(const auto&, auto& r) const {
        const auto top = r.max([&](int e) { return r.score[e] * r.score[e] + 1; });
        r.each([&](int e) { r.score[e] = r.score[e] / top; });
    }
};
/// The usual functions, comparisons and mixed arithmetic.
struct everything {
    void forward(const auto&, auto& r) const {
        using std::max, std::min, std::abs, std::exp, std::log, std::log1p, std::sqrt, std::pow, std::tanh, std::sin, std::atan;
        r.each([&](int e) {
            auto s = r.score[e];
            if (s > 1 || s <= -1.5) s = 0.5f * s + 1;
            s += max(s, -s) * 2 - min(s, s * s);
            s = s < 0.3 ? s : log1p(abs(s)) + 1 / (2 + sqrt(1 + s * s));
            s -= exp(-abs(s)) * tanh(s) - sin(3 * s) / 4;
            s *= pow(1 + s * s, 0.25f);
            r.score[e] = s != 0 && s == s ? log(1.5f + atan(s) * atan(s)) : -s;
        });
        const auto first = r.at(0);
        r.each([&](int e) { r.score[e] = (std::max)(r.score[e], first); });
        for (int k = 0; k < r.n.slots; ++k)
            if (r.weight[k] >= 0.2) r.weight[k] = 1 - r.weight[k];
    }
};
}  // namespace

TEST_CASE("derived adjoint: every map, on scores and on weights") {
    const auto both = [](const char* name, const auto& map, bool of_positive = false) {
        if (!of_positive) check_stage(name, score{map});
        check_stage(name, weigh{map});
    };
    both("softmax", softmax{});
    both("sigmoid", sigmoid{});
    both("unit_sum", unit_sum{1e-9}, true);
    both("times", times{2.5});
    both("sqrt_softplus", sqrt_softplus{});
    both("rectify", rectify{});
    both("soft_cap", soft_cap{1.5});
    both("unit_max", unit_max{0.1}, true);
    both("unit_max, held", unit_max{1e9}, true);
    both("unit_norm", unit_norm{1});
    both("unit_norm, 2", unit_norm{2});
    both("unit_norm, 3", unit_norm{3}, true);
    check_stage("change_logits", change_logits{soft_cap{2}});
}
TEST_CASE("derived adjoint: every stage that chooses, drops or ranks") {
    check_stage("top_k", top_k{});
    check_stage("everyone", everyone{});
    check_stage("positive", positive{});
    check_stage("hash_table", hash_table{});
    check_stage("weigh_one", weigh_one{});
    check_stage("expert_scale", expert_scale{});
    check_stage("random_second", random_second{}, {2, 5, 33});
    check_stage("sparse_mixer", sparse_mixer{});
    check_stage("selection_bias", selection_bias{});
    check_stage("load_penalty", load_penalty{});
    check_stage("group_limit", group_limit{.groups = 3, .keep = 1}, {12, 33});
    check_stage("capacity", capacity{});
    check_stage("joint_shared", joint_shared{.shared = 2, .scale = 1.5});
}
TEST_CASE("derived adjoint: every stage that acts on logits, with learned numbers, extra logits and logits of the layer before") {
    check_stage("router_bias", router_bias{});
    check_stage("gating_residual", gating_residual{}, {1, 2, 5, 12, 33});
    check_stage("learned_noise", learned_noise{});
    check_stage("hierarchy", hierarchy{.groups = 3}, {12, 33});
    check_stage("cosine", cosine{7});
    check_stage("cosine, with a bias", cosine{40, true});
}
TEST_CASE("derived adjoint: stages of a user that compare, take the largest and call functions") {
    check_stage("threshold", threshold{});
    check_stage("by_hand", by_hand{});
    check_stage("relative", relative{});
    check_stage("everything", everything{});
    for (int seed = 1; seed <= 5; ++seed) {  // the softmax of the library has its adjoint by hand
        const setting s(512, 0, 2, 0, seed);
        const numbers own = s.gradient(score{softmax{}}), derived = s.gradient(by_hand{});
        for (std::size_t i = 0; i < own.size(); ++i) CHECK(std::abs(own[i] - derived[i]) <= 1e-13);
    }
}
TEST_CASE("derived adjoint: the same text has the same values in every scalar, and float gradients those of double") {
    const auto same = [](const auto& stage) {
        for (int seed = 1; seed <= 5; ++seed) {
            const setting s(33, 0, 4, 0, seed);
            auto f = s.loaded<float>();
            auto d = s.loaded<double>();
            auto df = s.loaded<dual<float>>();
            stage.forward(token<float>{}, f);
            stage.forward(token<double>{}, d);
            stage.forward(token<dual<float>>{}, df);
            for (int e = 0; e < 33; ++e) {
                CHECK(std::abs(static_cast<double>(f.score[e]) - d.score[e]) <= 1e-5);
                CHECK(std::abs(static_cast<double>(df.score[e].v) - d.score[e]) <= 1e-5);
            }
            using Row = row_of_512<float>;
            row_gradient<Row> g;
            static_cast<Row&>(g) = s.loaded<float>();
            for (int e = 0; e < 33; ++e) g.score[e] = static_cast<float>(s.by[static_cast<std::size_t>(e)]);
            for (int k = 0; k < 4; ++k) g.weight[k] = static_cast<float>(s.by[static_cast<std::size_t>(33 + k)]);
            adjoint(stage, token<float>{}, s.loaded<float>(), f, g);
            const numbers exact_one = s.gradient(stage);
            for (int e = 0; e < 33; ++e) CHECK(std::abs(static_cast<double>(g.score[e]) - exact_one[static_cast<std::size_t>(e)]) <= 1e-4);
        }
    };
    same(threshold{});
    same(by_hand{});
    same(relative{});
    same(everything{});
}
