#include <guild/gate/published/gates.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>
#include <support/gate_row.hpp>
#include <support/magnitudes.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

// Where a weight is finite its derivatives are, over the whole range of numbers: against the same gate in double, where float's range ends, and
// against formulas.

using namespace guild;

namespace {
template <class Stages> struct of {
    Stages list;
    constexpr auto stages() const { return list; }
};
template <class Stages> of(Stages) -> of<Stages>;

/// Stages of a user, without an adjoint: a share as it is written in a paper, of the score and of the weights.
struct own_share {
    static constexpr bool scores = true;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] = 1 / (1 + guild::exp(-r.score[e])); });
    }
};
struct own_damping {
    static constexpr bool logits = true;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] = r.score[e] / (1 + guild::exp(-2 * r.score[e])); });
    }
};
struct own_weight {
    void forward(const auto&, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.weight[k] = tanh(guild::exp(r.weight[k]));
    }
};

constexpr int E = 6;
/// Logits of one token: some of size m among ordinary ones, all near m, all near -m, halves of both signs.
template <class S> std::vector<std::vector<S>> situations(S m, int P) {
    std::vector<std::vector<S>> all(4);
    for (int i = 0; i < P; ++i) {
        const S n = static_cast<S>(normal(3, 0, 0, i));
        all[0].push_back(i % 3 == 1 ? m : n);
        all[1].push_back(m + n);
        all[2].push_back(i % 2 ? m : -m);
        all[3].push_back(n * m);
    }
    for (auto& s : all)
        for (S& x : s)
            if (!is_finite(x)) x = x > 0 ? std::numeric_limits<S>::max() : std::numeric_limits<S>::lowest();
    return all;
}
template <class S, class Gate> struct passed {
    std::vector<S> learned, state, previous, d_weight, d_logit, d_learned, weight;
    std::vector<int> expert;
    bool finite = true;

    passed(const Gate& gate, int K, const std::vector<S>& logit, bool training, double size) {
        const auto s = gate.stages();
        const auto fill = [](std::vector<S>& v, long n, int stream, double by) {
            for (long i = 0; i < n; ++i) v.push_back(static_cast<S>(static_cast<float>(by * normal(4, stream, 0, i))));
        };
        fill(learned, s.learned(E), 1, size), fill(state, s.state(E), 2, 0.1), fill(previous, E, 3, 1);
        test::gate_run<Gate, S> run(gate, E, K, logit, {.seed = 5, .training = training},
                                    {.learned = learned.data(), .state = state.data(), .previous = {previous.data(), 1, E}});
        fill(d_weight, run.W, 4, 1);
        for (int k = 0; k < run.W; ++k) {
            expert.push_back(run.expert(0, k)), weight.push_back(run.weight(0, k));
            finite &= is_finite(weight.back());
        }
        d_learned.resize(learned.size());
        d_logit = run.gradient(d_weight, d_learned.data());
    }
};
/// a is b within rounding, beside the largest of both.
template <class A, class B> bool alike(const std::vector<A>& a, const std::vector<B>& b, double by, double least) {
    double size = least;
    for (const B& x : b) size = std::max(size, std::abs(static_cast<double>(x)));
    for (std::size_t i = 0; i < a.size(); ++i)
        if (const double x = static_cast<double>(b[i]);
            !(std::abs(static_cast<double>(a[i]) - std::clamp(x, -0x1.fffffep127, 0x1.fffffep127)) <= by * size))
            return false;
    return true;
}
template <class S> bool all_finite(const std::vector<S>& v) {
    return std::all_of(v.begin(), v.end(), [](S x) { return is_finite(x); });
}
template <class Gate> void holds(const std::string& name, const Gate& gate, int K, bool training = false, double size = 1) {
    CAPTURE(name);
    const int P = E + gate.stages().extra(E);
    const auto check = [&]<class S>(S m) {
        for (const auto& logit : situations(m, P)) {
            const passed<S, Gate> p(gate, K, logit, training, size);
            if (!p.finite) continue;
            CAPTURE(m);
            CAPTURE(logit[0]);
            CAPTURE(logit[1]);
            CHECK((all_finite(p.d_logit) && all_finite(p.d_learned)));
            if constexpr (std::is_same_v<S, float>) {
                const passed<double, Gate> exact(gate, K, std::vector<double>(logit.begin(), logit.end()), training, size);
                if (exact.expert != p.expert || !alike(p.weight, exact.weight, 1e-5, 1e-2)) continue;  // what float cannot tell apart, or underflows
                CAPTURE(p.d_logit[0]);
                CAPTURE(exact.d_logit[0]);
                CAPTURE(p.d_logit[1]);
                CAPTURE(exact.d_logit[1]);
                CHECK((alike(p.d_logit, exact.d_logit, 1e-3, 1e-2) && alike(p.d_learned, exact.d_learned, 1e-3, 1e-2)));
            }
        }
    };
    test::each_magnitude<float>([&](float m) { check(m); }, 5);
    test::each_step<float>(120, 40, [&](float m) { check(m); });
    test::each_magnitude<double>([&](double m) { check(m); }, 43);
    test::each_step<double>(760, 40, [&](double m) { check(m); });
}
}  // namespace

TEST_CASE("saturation: gates that score every expert") {
    holds("softmax", of{pipeline{score{softmax{}}, top_k{}}}, 2);
    holds("softmax of the chosen", of{pipeline{top_k{}, weigh{softmax{}}}}, 2);
    holds("softmax, unit_sum", of{pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}}}, 2);
    holds("softmax, unit_max", of{pipeline{score{softmax{}}, top_k{}, weigh{unit_max{1e-12}}}}, 2);
    for (const double p : {1., 2., 3.5, 40.}) holds("softmax, unit_norm", of{pipeline{score{softmax{}}, top_k{}, weigh{unit_norm{p}}}}, 3);
    holds("sigmoid", of{pipeline{score{sigmoid{}}, top_k{}}}, 2);
    holds("sigmoid of the chosen, times", of{pipeline{top_k{}, weigh{sigmoid{}}, weigh{times{-3}}}}, 2);
    holds("sigmoid, unit_sum", of{pipeline{score{sigmoid{}}, top_k{}, weigh{unit_sum{}}}}, 2);
    holds("sigmoid, unit_sum + 1e-20", of{pipeline{score{sigmoid{}}, top_k{}, weigh{unit_sum{1e-20}}}}, 2);
    holds("sigmoid, unit_max", of{pipeline{score{sigmoid{}}, top_k{}, weigh{unit_max{}}}}, 2);
    holds("sigmoid, unit_norm", of{pipeline{score{sigmoid{}}, top_k{}, weigh{unit_norm{2}}}}, 2);
    holds("sqrt_softplus", of{pipeline{score{sqrt_softplus{}}, top_k{}}}, 2);
    holds("sqrt_softplus, unit_sum", of{pipeline{score{sqrt_softplus{}}, top_k{}, weigh{unit_sum{}}}}, 2);
    holds("rectify", of{pipeline{score{rectify{}}, positive{}}}, 2);
    holds("rectify, unit_norm", of{pipeline{score{rectify{}}, positive{}, weigh{unit_norm{3}}}}, 2);
    holds("soft_cap", of{pipeline{change_logits{soft_cap{1.5}}, score{softmax{}}, everyone{}}}, 2);
}
TEST_CASE("saturation: stages with logits or numbers of their own") {
    holds("router_bias", of{pipeline{router_bias{}, top_k{}, weigh{softmax{}}}}, 2);
    holds("gating_residual", of{pipeline{gating_residual{}, score{softmax{}}, top_k{}}}, 2);
    holds("learned_noise", of{pipeline{learned_noise{0}, top_k{}, weigh{softmax{}}}}, 2, true);
    holds("hierarchy", of{pipeline{hierarchy{3}, everyone{}}}, 2);
    holds("joint_shared", of{pipeline{score{sigmoid{}}, top_k{}, joint_shared{2, 1.5}}}, 2);
    holds("expert_scale", of{pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{}}, expert_scale{}}}, 2);
    holds("load_penalty", of{pipeline{score{softmax{}}, load_penalty{}, top_k{}, weigh{unit_sum{}}}}, 2);
    holds("group_limit", of{pipeline{score{sigmoid{}}, group_limit{.groups = 3, .keep = 2}, top_k{}, weigh{unit_sum{}}}}, 2);
    for (const bool training : {false, true}) {
        holds("sparse_mixer", of{pipeline{sparse_mixer{}}}, 2, training);
        holds("random_second", of{pipeline{score{softmax{}}, top_k{}, random_second{}}}, 2, training);
        holds("sampled_second", of{pipeline{score{softmax{}}, top_k{}, sampled_second{}}}, 2, training);
    }
    for (const double size : {0., 1e-30, 1e-12, 1., 1e15, 1e25, 1e37}) {
        holds("cosine", of{pipeline{cosine{4, false}, score{softmax{}}, top_k{}}}, 2, false, size);
        holds("cosine with bias", of{pipeline{cosine{9, true}, score{softmax{}}, top_k{}}}, 2, false, size);
    }
}
TEST_CASE("saturation: a user's stages, whose adjoint is derived") {
    holds("own_share", of{pipeline{own_share{}, top_k{}}}, 2);
    holds("own_share, unit_sum", of{pipeline{own_share{}, top_k{}, weigh{unit_sum{}}}}, 2);
    holds("own_damping", of{pipeline{own_damping{}, score{softmax{}}, top_k{}}}, 2);
    holds("own_weight", of{pipeline{top_k{}, own_weight{}}}, 2);
}

namespace {
using wide = long double;
/// A map of each number by itself: y = f(v) and its slope.
template <class S, class Map> void one_by_one(const std::string& name, const Map& map, wide (*slope)(wide)) {
    CAPTURE(name);
    const auto at = [&](S v) {
        auto in = test::row_of<S>(std::vector<S>{v}, 1), out = in;
        map.forward(experts_of{out});
        if (!is_finite(out.score[0])) return;
        auto g = in;
        g.score[0] = S(1);
        map.backward(experts_of{in}, experts_of{out}, experts_of{g});
        const wide exact = slope(v);
        CAPTURE(v);
        CAPTURE(g.score[0]);
        CAPTURE(static_cast<double>(exact));
        CHECK((is_finite(g.score[0]) && std::abs(g.score[0] - exact) <= 8 * std::numeric_limits<S>::epsilon() * (1 + std::abs(exact))));
    };
    test::each_magnitude<S>(at);
    test::each_step<S>(std::is_same_v<S, float> ? 120 : 760, 997, at);
}
wide share(wide x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
}  // namespace

TEST_CASE_TEMPLATE("saturation: maps of one number", S, float, double) {
    one_by_one<S>("sigmoid", sigmoid{}, [](wide v) { return share(v) * share(-v); });
    one_by_one<S>("sqrt_softplus", sqrt_softplus{}, [](wide v) {
        return v < -80 ? std::exp(v / 2) / 2 : share(v) / (2 * std::sqrt(v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v))));
    });
    one_by_one<S>("rectify", rectify{}, [](wide v) { return wide(v > 0); });
    one_by_one<S>("soft_cap", soft_cap{3}, [](wide v) { return 1 / std::cosh(v / 3) / std::cosh(v / 3); });
    one_by_one<S>("times", times{0.75}, [](wide) { return 0.75L; });
}
TEST_CASE_TEMPLATE("saturation: unit_norm of numbers of any size", S, float, double) {
    test::each_magnitude<S>([](S m) {
        if (m <= 0 || m > std::numeric_limits<S>::max() / 4 || m < std::numeric_limits<S>::min()) return;
        auto in = test::row_of<S>(std::vector<S>{m, m}, 1), out = in;
        unit_norm{2}.forward(experts_of{out});
        CHECK(out.score[0] == doctest::Approx(std::sqrt(0.5)).epsilon(1e-6));
        CHECK(out.score[1] == doctest::Approx(std::sqrt(0.5)).epsilon(1e-6));
    });
}

TEST_CASE_TEMPLATE("saturation: rms_input of numbers of any size", S, float, double) {
    const token<S> t{};
    for (const double epsilon : {1e-6, 0., 1e-30})
        test::each_magnitude<S>([&](S m) {
            if (m == 0 && epsilon == 0) return;
            const S x[] = {m, -m / 2, m / 4}, v[] = {S(1), S(2), S(0.5)}, by[] = {S(1), S(-1), S(2)};
            S out[3], dx[3]{}, dv[3]{};
            const rms_input in{epsilon};
            in.forward(t, x, 3, v, out);
            in.backward(t, x, 3, v, by, dx, dv);
            // By hand, of u = x / sqrt(mean(x^2) + epsilon).
            const wide mean = (wide(x[0]) * x[0] + wide(x[1]) * x[1] + wide(x[2]) * x[2]) / 3 + wide(static_cast<S>(epsilon)),
                       n = 1 / std::sqrt(mean);
            wide dot = 0;
            for (int h = 0; h < 3; ++h) dot += by[h] * v[h] * (x[h] * n) / 3;
            CAPTURE(m);
            CAPTURE(epsilon);
            constexpr wide most = std::numeric_limits<S>::max();
            for (int h = 0; h < 3; ++h) {
                const wide u = x[h] * n, exact = std::clamp((by[h] * v[h] - dot * u) * n / std::sqrt(3.L), -most, most);
                const wide eps = 16 * std::numeric_limits<S>::epsilon();
                const bool tiny = std::abs(m) < std::numeric_limits<S>::min() * 8;  // a quarter of it has few bits
                CHECK((is_finite(out[h]) && std::abs(out[h] - u * v[h] / std::sqrt(3.L)) <= (tiny ? 1 : eps)));
                CHECK((is_finite(dv[h]) && std::abs(dv[h] - by[h] * u / std::sqrt(3.L)) <= (tiny ? 1 : eps)));
                CHECK(is_finite(dx[h]));
                if (!tiny) CHECK(std::abs(dx[h] - exact) <= eps * 4 * std::min(n, most));
            }
        });
    const S zero[] = {S(0), S(0)}, one[] = {S(1), S(1)};
    S out[2], dx[2]{}, dv[2]{};
    rms_input{0}.forward(t, zero, 2, one, out);
    rms_input{0}.backward(t, zero, 2, one, one, dx, dv);
    CHECK((out[0] == 0 && dx[0] == 0 && dv[0] == 0));
}
