#include <guild/gate/pipeline.hpp>
#include <guild/gate/published/gates.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>
#include <support/noisy_gate.hpp>

#include <cmath>
#include <vector>

using namespace guild;
using test::row_of;

namespace {
using numbers = std::vector<double>;

/// score += sum of its `count` learned numbers + its first number of state. Its place in the two lists is what is tested.
template <int Count> struct offset {
    static constexpr int learned(int) { return Count; }
    static constexpr int state(int) { return Count + 1; }
    void forward(const auto& t, auto& r) const {
        auto sum = t.learned[0];
        for (int i = 1; i < Count; ++i) sum += t.learned[i];
        r.each([&](int e) { r.score[e] += sum + t.state[0]; });
    }
    void backward(const auto&, const auto& in, const auto&, auto& g) const {
        const auto total = in.sum([&](int e) { return g.score[e]; });
        for (int i = 0; i < Count; ++i) g.learned[i] += total;
    }
};
/// score *= 2
struct times_all {
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] += r.score[e]; });
    }
};
struct more_slots {
    static constexpr int slots(int E, int) { return E; }
    static constexpr int extra(int) { return 3; }
    static constexpr bool fits(int E, int K) { return E != 5 && K != 3; }
    void forward(const auto&, auto&) const {}
};
struct looks {
    static constexpr bool needs_token_id = true;
    void forward(const auto&, auto&) const {}
    void decide(const auto&) const {}
};
/// Another stage without its adjoint.
template <class Stage> struct bare : private Stage {
    static constexpr int extra(int E) requires requires { Stage::extra(E); }
    { return Stage::extra(E); }
    static constexpr int learned(int E) requires requires { Stage::learned(E); }
    { return Stage::learned(E); }
    void forward(const auto& t, auto& r) const { Stage::forward(t, r); }
    constexpr explicit bare(Stage s = {}) : Stage(s) {}
};

// ---- a stage brings its adjoint, and it is taken ----
template <class Stage> constexpr bool own_adjoint = has_adjoint<Stage, double, test::row<double>>&& has_adjoint<Stage, float, test::row<float>>;
static_assert(own_adjoint<score<softmax>> && own_adjoint<score<sigmoid>> && own_adjoint<score<unit_sum>> && own_adjoint<score<times>>);
static_assert(own_adjoint<weigh<softmax>> && own_adjoint<weigh<sigmoid>> && own_adjoint<weigh<unit_sum>> && own_adjoint<weigh<times>>);
static_assert(own_adjoint<top_k> && own_adjoint<selection_bias> && own_adjoint<group_limit> && own_adjoint<noise>);
static_assert(!own_adjoint<more_slots> && !own_adjoint<bare<noise>> && !own_adjoint<bare<top_k>>);

// ---- what the stages ask for ----
using three = pipeline<offset<2>, more_slots, offset<5>>;
static_assert(three{offset<2>{}, more_slots{}, offset<5>{}}.learned(9) == 7 && three{{}, {}, {}}.learned<0, 2>(9) == 2 &&
              three{{}, {}, {}}.learned<2>(9) == 5);
static_assert(three{{}, {}, {}}.state(9) == 9 && three{{}, {}, {}}.state<0, 2>(9) == 3);
static_assert(three{{}, {}, {}}.slots(9, 2) == 9 && three{{}, {}, {}}.extra(9) == 3 && three{{}, {}, {}}.fits(9, 2));
static_assert(!three{{}, {}, {}}.fits(5, 2) && !three{{}, {}, {}}.fits(9, 3));
static_assert(pipeline<top_k>{{}}.slots(9, 2) == 2 && pipeline<top_k>{{}}.extra(9) == 0 && pipeline<top_k>{{}}.learned(9) == 0);
static_assert(three::size == 3 && three::across == 3 && three::across_count == 0 && !three::needs_token_id);
static_assert(pipeline<top_k, looks, more_slots>::across == 1 && pipeline<looks, looks>::across_count == 2 && pipeline<top_k, looks>::needs_token_id);
static_assert(three::scored == 0 && pipeline<score<sigmoid>, score<unit_sum>, top_k, weigh<softmax>>::scored == 2);
static_assert(pipeline<noise, top_k>::scored == 0 && pipeline<top_k, score<softmax>>::scored == 2);

/// The gradient of sum(d_weight weight) by logits, extra logits and learned numbers, from the pipeline's adjoint.
struct gradient {
    numbers score, extra, learned;
};
struct setting {
    numbers logit, extra, d_weight, learned, state;
    numbers d_score{};
    token<double> at() const { return {.index = 3, .position = 11, .training = true, .seed = 5, .learned = learned.data(), .state = state.data()}; }
};
template <class S> test::row<S> loaded(const setting& s) {
    auto r = row_of<S>(s.logit, static_cast<int>(s.d_weight.size()));
    r.n.extra = static_cast<int>(s.extra.size());
    for (int i = 0; i < r.n.extra; ++i) r.extra[i] = S(s.extra[static_cast<std::size_t>(i)]);
    return r;
}
template <class Pipeline> gradient by_adjoint(const Pipeline& stages, const setting& s) {
    row_gradient<test::row<double>> g;
    static_cast<test::row<double>&>(g) = row_of<double>(numbers(s.logit.size()), static_cast<int>(s.d_weight.size()));
    g.n.extra = static_cast<int>(s.extra.size());
    for (int i = 0; i < g.n.extra; ++i) g.extra[i] = 0;
    for (int k = 0; k < g.n.slots; ++k) g.weight[k] = s.d_weight[static_cast<std::size_t>(k)];
    numbers learned(s.learned.size(), 7.);  // to be added to
    g.learned = learned.data();
    stages.backward(s.at(), loaded<double>(s), g, s.d_score.empty() ? nullptr : s.d_score.data());
    CHECK(g.learned == learned.data());
    for (double& l : learned) l -= 7;
    return {{g.score.part, g.score.part + s.logit.size()}, {g.extra.part, g.extra.part + s.extra.size()}, learned};
}
/// The same from its forward, by dual numbers: the referee.
template <class Pipeline> gradient by_duals(const Pipeline& stages, const setting& s) {
    std::vector<dual<double>> learned(s.learned.begin(), s.learned.end());
    const auto along = [&](auto seed) {
        auto r = loaded<dual<double>>(s);
        seed(r);
        token<dual<double>> t{.index = 3, .position = 11, .training = true, .seed = 5, .learned = learned.data(), .state = s.state.data()};
        double sum = 0;
        auto scored = r;
        stages.template forward<0, Pipeline::scored>(t, scored);
        for (std::size_t e = 0; e < s.d_score.size(); ++e) sum += s.d_score[e] * scored.score[static_cast<int>(e)].d;
        stages.forward(t, r);
        for (std::size_t k = 0; k < s.d_weight.size(); ++k) sum += s.d_weight[k] * r.weight[k].d;
        return sum;
    };
    gradient g;
    for (std::size_t e = 0; e < s.logit.size(); ++e) g.score.push_back(along([&](auto& r) { r.score[static_cast<int>(e)].d = 1; }));
    for (std::size_t i = 0; i < s.extra.size(); ++i) g.extra.push_back(along([&](auto& r) { r.extra[static_cast<int>(i)].d = 1; }));
    for (auto& l : learned) {
        l.d = 1;
        g.learned.push_back(along([](auto&) {}));
        l.d = 0;
    }
    return g;
}
bool close(const numbers& a, const numbers& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::abs(a[i] - b[i]) <= 1e-14 * (1 + std::abs(b[i])))) return false;
    return a.size() == b.size();
}
bool close(const gradient& a, const gradient& b) { return close(a.score, b.score) && close(a.extra, b.extra) && close(a.learned, b.learned); }

numbers random(int n, int stream) {
    numbers v;
    for (int i = 0; i < n; ++i) v.push_back(normal(9, stream, 0, i));
    return v;
}
/// Numbers of the sizes that the stages ask for.
template <class Pipeline> setting some(const Pipeline& stages, int E, int K) {
    return {random(E, 0), random(stages.extra(E), 1), random(stages.slots(E, K), 2), random(stages.learned(E), 3), random(stages.state(E), 4)};
}
}  // namespace

TEST_CASE("pipeline: every stage gets its own learned numbers and state, forward and backward") {
    const pipeline stages{offset<2>{}, offset<3>{}, times_all{}, top_k{}};
    setting s = some(stages, 4, 2);
    s.learned = {1, 2, 10, 20, 30};
    s.state = {100, 0, 0, 1000, 0, 0, 0};
    auto r = loaded<double>(s);
    stages.forward(s.at(), r);
    for (int e = 0; e < 4; ++e) CHECK(r.score[e] == doctest::Approx(2 * (s.logit[static_cast<std::size_t>(e)] + 3 + 100 + 60 + 1000)));
    const gradient g = by_adjoint(stages, s);
    CHECK(close(g.learned, numbers(5, 2 * (s.d_weight[0] + s.d_weight[1]))));
    CHECK(close(g, by_duals(stages, s)));
}
TEST_CASE("pipeline: the gradient by the scores enters where the losses read them") {
    const pipeline stages{score{sigmoid{}}, score{unit_sum{}}, top_k{}, weigh{times{3}}};
    setting s = some(stages, 6, 2);
    s.d_score = random(6, 7);
    CHECK(close(by_adjoint(stages, s), by_duals(stages, s)));
    const pipeline raw{top_k{}, weigh{softmax{}}};  // no score stage: by the logits themselves
    CHECK(close(by_adjoint(raw, s), by_duals(raw, s)));
    setting without = s;
    without.d_score.clear();
    gradient sum = by_adjoint(raw, without);
    for (std::size_t e = 0; e < 6; ++e) sum.score[e] += s.d_score[e];
    CHECK(close(sum, by_adjoint(raw, s)));
}
TEST_CASE("pipeline: written adjoints, derived ones and dual numbers agree") {
    const auto all = [](const auto& own, const auto& derived, int E, int K) {
        setting s = some(own, E, K);
        const gradient expected = by_duals(own, s);
        CHECK(close(by_adjoint(own, s), expected));
        CHECK(close(by_adjoint(derived, s), expected));
        s.d_score = random(E, 8);
        CHECK(close(by_adjoint(own, s), by_duals(own, s)));
        CHECK(close(by_adjoint(derived, s), by_duals(own, s)));
    };
    for (const int E : {2, 5, 12}) {
        all(noisy_gate{}.stages(), pipeline{bare<noise>{}, bare<top_k>{}, bare<weigh<softmax>>{weigh{softmax{}}}}, E, 2);
        all(deepseek_moe_gate{}.stages(), pipeline{score{softmax{}}, bare<top_k>{}}, E, E);
    }
}
TEST_CASE("pipeline: the adjoint of every published gate") {
    const auto exact = [](const auto& gate, int E, int K) {
        const auto stages = gate.stages();
        setting s = some(stages, E, K);
        CHECK(close(by_adjoint(stages, s), by_duals(stages, s)));
        s.d_score = random(E, 8);
        CHECK(close(by_adjoint(stages, s), by_duals(stages, s)));
    };
    exact(deepseek_moe_gate{}, 12, 3);
    exact(deepseek_v2_gate{.groups = 4, .keep = 2}, 12, 3);
    exact(deepseek_v2_lite_gate{.scale = 1.5}, 12, 3);
    exact(deepseek_v3_gate{.groups = 4, .keep = 2}, 12, 3);
    exact(mixtral_gate{}, 12, 3);
    exact(qwen3_gate{}, 12, 3);
    exact(gshard_gate{}, 12, 2);
    exact(switch_gate{}, 12, 1);
    exact(deepseek_v3_gate{.groups = 1, .keep = 1}, 12, 12);
}
