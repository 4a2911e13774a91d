#include <guild/balance/adjoint.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/schedule.hpp>
#include <guild/layer.hpp>
#include <guild/core/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace guild;

namespace {
/// A loss without an adjoint of its own.
struct sum_of_squares {
    double weight = 2;
    template <class S> S value(const routing<S>& r) const {
        S sum(0);
        r.each([&](long t) {
            for (int e = 0; e < r.experts; ++e) sum += r.logit(t, e) * r.logit(t, e);
        });
        return sum * S(static_cast<real_t<S>>(weight));
    }
};

template <class Loss> constexpr bool brings_adjoint = requires(const Loss& l, const routing<double>& r, const routing_gradient<double>& g) {
    l.backward(r, g);
};

/// The value of a loss, then its gradient by the logits, of four tokens and three experts at a step.
template <class Loss> std::vector<double> seen(const Loss& loss, long step) {
    scratch memory;
    std::vector<double> logit, d_logit(12), d_score(12), d_weight(4);
    for (long i = 0; i < 12; ++i) logit.push_back(normal(3, 0, 0, i));
    const std::vector<double> weight(4, 1);
    const std::vector<int> expert{0, 1, 2, 0};
    const batch side{.step = step};
    const routing<double> r{.experts = 3,
                            .slots = 1,
                            .top_k = 1,
                            .logit = {logit.data(), 4, 3},
                            .score = {logit.data(), 4, 3},
                            .weight = {weight.data(), 4, 1},
                            .expert = expert.data(),
                            .wanted = expert.data(),
                            .side = &side,
                            .raw = {logit.data(), 4, 3},
                            .memory = &memory};
    std::vector<double> d_raw(12);
    const routing_gradient<double> g{{d_logit.data(), 4, 3}, {d_score.data(), 4, 3}, {d_weight.data(), 4, 1}, {d_raw.data(), 4, 3}};
    std::vector<double> all{balance::value(loss, r)};
    balance::backward(loss, r, g);
    all.insert(all.end(), d_logit.begin(), d_logit.end());
    all.insert(all.end(), d_score.begin(), d_score.end());
    return all;
}
}  // namespace

TEST_CASE("schedules: by hand") {
    CHECK(constant_schedule{}.factor(0) == 1);
    CHECK(constant_schedule{}.factor(1'000'000) == 1);
    const warm_up up{.steps = 8};
    CHECK(up.factor(-1) == 0);
    CHECK(up.factor(0) == 0);
    CHECK(up.factor(2) == 0.25);
    CHECK(up.factor(8) == 1);
    CHECK(up.factor(9) == 1);
    CHECK(warm_up{.steps = 0}.factor(0) == 1);
    const cosine_decay down{.steps = 12, .end = 0.2};
    CHECK(down.factor(0) == 1);
    CHECK(std::abs(down.factor(4) - (0.2 + 0.8 * 0.75)) < 1e-15);
    CHECK(std::abs(down.factor(6) - 0.6) < 1e-15);
    CHECK(std::abs(down.factor(8) - (0.2 + 0.8 * 0.25)) < 1e-15);
    CHECK(down.factor(12) == 0.2);
    CHECK(down.factor(50) == 0.2);
    CHECK(cosine_decay{.steps = 0}.factor(0) == 0);
    const step_decay stop{.steps = 5, .end = 0.1};
    for (const long step : {-1L, 0L, 4L}) CHECK(stop.factor(step) == 1);
    for (const long step : {5L, 6L, 1L << 40}) CHECK(stop.factor(step) == 0.1);
    CHECK(step_decay{}.end == 0);
    CHECK(!step_decay{.end = 1e308 * 10}.valid());
}
TEST_CASE("scheduled: the loss of the weight of that step, value and gradient") {
    for (const long step : {0, 1, 3, 4, 9}) {
        CAPTURE(step);
        const warm_up up{.steps = 4};
        const double now = up.factor(step);
        CHECK(seen(scheduled{z_loss{.weight = 0.5}, up}, step) == seen(z_loss{.weight = 0.5 * now}, step));
        CHECK(seen(scheduled{expert_loss{.weight = 0.5}, up}, step) == seen(expert_loss{.weight = 0.5 * now}, step));
        CHECK(seen(scheduled{sum_of_squares{}, up}, step) == seen(sum_of_squares{.weight = 2 * now}, step));  // derived adjoint
        CHECK(seen(scheduled{z_loss{}, constant_schedule{}}, step) == seen(z_loss{}, step));
    }
    CHECK(scheduled{z_loss{.weight = 0.5}, warm_up{}}.weight == 0.5);
    CHECK(brings_adjoint<scheduled<z_loss, warm_up>>);
    CHECK(!brings_adjoint<scheduled<sum_of_squares, warm_up>>);
}

namespace {
constexpr config few{.hidden = 4, .expert_hidden = 4, .routed_experts = 3, .top_k = 1};
constexpr deepseek_v3_gate one_group{.groups = 1, .keep = 1};
/// Leaves the step in every state.
struct tells_step {
    using moves = selection_bias;
    static void update(const long*, long, auto* state, int E, long step) {
        for (int e = 0; e < E; ++e) state[e] = static_cast<float>(step);
    }
};
/// Goes by the step where there is one.
struct tells_step_or_less : tells_step {
    static void update(const long*, long, auto* state, int E, long step = -1) { tells_step::update(nullptr, 0, state, E, step); }
};
template <auto Balancer> struct balanced : model<few, one_group, Balancer> {};
/// The states after a batch of the loads 5, 0 and 1 at a step.
template <auto Balancer, class... Step> std::vector<float> moved(Step... step) {
    weights<balanced<Balancer>> w;
    w.state = {1, -1, 0.25f};
    rebalance(w, {.count = {5, 0, 1}, .total = 6}, step...);
    return w.state;
}
}  // namespace

TEST_CASE("scheduled: a balancer of the rate of that step") {
    for (const long step : {0L, 3L, 4L, 5L, 1000L}) {
        CAPTURE(step);
        constexpr double fast = 0x1p-3, slow = 0x1p-6;
        const auto expected = step < 4 ? moved<bias_balance{.rate = fast}>() : moved<bias_balance{.rate = slow}>();
        CHECK(moved<scheduled{bias_balance{.rate = fast}, step_decay{.steps = 4, .end = slow / fast}}>(step) == expected);
        const auto stopped = step < 4 ? moved<proportional_bias_balance{.rate = fast}>() : std::vector{1.f, -1.f, 0.25f};
        CHECK(moved<scheduled{proportional_bias_balance{.rate = fast}, step_decay{.steps = 4}}>(step) == stopped);
    }
    CHECK(moved<scheduled{bias_balance{.rate = 0.5}, warm_up{.steps = 2}}>(1) == moved<bias_balance{.rate = 0.25}>());
    static_assert(balancer_policy<scheduled<bias_balance, step_decay>> && !loss_policy<scheduled<bias_balance, step_decay>>);
    static_assert(std::is_same_v<scheduled<bias_balance, step_decay>::moves, selection_bias>);
    CHECK(!scheduled{bias_balance{.rate = 1e308 * 10}, warm_up{}}.valid());
    CHECK(!scheduled{bias_balance{}, step_decay{.end = 1e308 * 10}}.valid());
}
TEST_CASE("rebalance gives the step to a balancer that asks for it") {
    CHECK(moved<tells_step{}>(7L) == std::vector{7.f, 7.f, 7.f});
    CHECK(moved<tells_step_or_less{}>(7L) == std::vector{7.f, 7.f, 7.f});
    CHECK(moved<bias_balance{.rate = 0.5}>(7L) == moved<bias_balance{.rate = 0.5}>());
    static_assert(balancer_policy<tells_step> && !detail::moved_by_load<tells_step>);
}
