#include <guild/balance/adjoint.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/schedule.hpp>
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
