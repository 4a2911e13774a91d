#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <cmath>

namespace {
using guild::config;
using reference = guild::backend::reference;

struct tiny : guild::model<config{.hidden = 6, .expert_hidden = 5, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true},
                           guild::deepseek_v3_gate{.groups = 3, .keep = 2, .scale = 1.5}, guild::bias_balance{.rate = 0.25},
                           guild::switch_loss{.weight = 2}, guild::z_loss{.weight = 3}> {};
struct input_weighed : guild::model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, test::llama4_gate{},
                                    guild::passive{.identity = 1, .constant = 1}> {};
struct crowded : guild::model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, test::capacity_gate{.most = 3}> {};

// From a temporary a layer would dangle.
static_assert(!std::is_constructible_v<guild::layer<tiny>, guild::weights<tiny>>);
static_assert(std::is_constructible_v<guild::layer<tiny>, const guild::weights<tiny>&>);
static_assert(std::is_same_v<decltype(guild::layer(std::declval<const guild::weights<tiny, guild::bf16>&>())), guild::layer<tiny, guild::bf16>>);
static_assert(std::is_same_v<guild::layer<tiny, guild::bf16>::gradients, guild::weights<tiny, float>>);
}  // namespace

TEST_CASE("inspect shows one token's row after every stage") {
    const auto w = guild::random_weights<tiny, double>(1);
    const guild::layer layer(w);
    test::outcome o(layer, test::first_tokens(9));
    for (const long t : {0L, 4L, 8L}) {
        const auto seen = layer.inspect(o.tape, t);
        REQUIRE(seen.size() == 7);  // logits, sigmoid, bias, groups, top_k, unit_sum, times
        for (std::size_t e = 0; e < 6; ++e) {
            const double logit = o.tape.logits[t * 6 + static_cast<long>(e)];
            CHECK(seen[0].score[e] == logit);
            CHECK(seen[0].bias[e] == 0);
            CHECK(seen[1].score[e] == doctest::Approx(1 / (1 + std::exp(-logit))).epsilon(1e-15));
            CHECK(seen[1].bias[e] == 0);
            CHECK(seen[2].bias[e] == w.state[e]);
            CHECK(seen[6].score[e] == seen[1].score[e]);
        }
        int closed = 0;
        for (const double b : seen[3].bias) closed += std::isinf(b) ? 1 : 0;
        CHECK(closed == 2);  // one group of two
        CHECK(seen[3].expert == std::vector<int>{guild::no_expert, guild::no_expert});
        for (std::size_t k = 0; k < 2; ++k) {
            CHECK(seen[4].weight[k] == seen[1].score[static_cast<std::size_t>(seen[4].expert[k])]);
            CHECK(seen[5].weight[k] == doctest::Approx(seen[4].weight[k] / (seen[4].weight[0] + seen[4].weight[1])).epsilon(1e-15));
            CHECK(seen[6].weight[k] == 1.5 * seen[5].weight[k]);
            CHECK(seen[6].expert[k] == o.tape.gate.choice.expert[t * 2 + static_cast<long>(k)]);
            CHECK(seen[6].weight[k] == o.tape.gate.choice.weight[t * 2 + static_cast<long>(k)]);
        }
    }
}

TEST_CASE("inspect shows what a stage across tokens decided") {
    const auto w = guild::random_weights<crowded>(1);
    const guild::layer layer(w);
    test::outcome o(layer, test::first_tokens(9));
    long dropped = 0;
    for (long t = 0; t < 9; ++t) {
        const auto seen = layer.inspect(o.tape, t);
        REQUIRE(seen.size() == 5);
        for (std::size_t k = 0; k < 2; ++k) {
            CHECK(seen[2].expert[k] >= 0);
            CHECK(seen[4].expert[k] == o.tape.gate.choice.expert[t * 2 + static_cast<long>(k)]);
            dropped += seen[4].expert[k] == guild::no_expert ? 1 : 0;
        }
    }
    CHECK(dropped == 18 - layer.load(o.tape).total);
    CHECK(dropped >= 6);
}

TEST_CASE("load counts the rows of every expert, padding and dropped rows left out") {
    const auto w = guild::random_weights<crowded>(1);
    const guild::layer layer(w);
    const bool padding[] = {false, true, false, false, true, false, false};
    test::outcome o(layer, test::first_tokens(7), {.padding = padding});
    std::vector<long> count(4);
    long total = 0;
    for (long i = 0; i < 14; ++i)
        if (const int e = o.tape.gate.choice.expert[i]; e != guild::no_expert) ++count[static_cast<std::size_t>(e)], ++total;
    CHECK(layer.load(o.tape).count == count);
    CHECK(layer.load(o.tape).total == total);
    CHECK(layer.load(o.workspace).count == count);
    CHECK(total <= 10);

    layer.forward({o.x.all().data, 0, 5}, {o.y.all().data, 0, 5}, o.workspace);
    CHECK(layer.load(o.workspace).count == std::vector<long>(4));
    CHECK(layer.load(o.workspace).total == 0);
}

TEST_CASE("loss is the sum of the model's losses, each times its weight") {
    const auto w = guild::random_weights<tiny, double>(1);
    const guild::layer layer(w);
    test::outcome o(layer, test::first_tokens(9));
    double first[6] = {}, mean[6] = {}, z = 0;
    for (long t = 0; t < 9; ++t) {
        double sum = 0;
        first[o.tape.gate.choice.expert[t * 2]] += 1. / 9;
        for (long e = 0; e < 6; ++e) {
            const double logit = o.tape.logits[t * 6 + e];
            mean[e] += 1 / (1 + std::exp(-logit)) / 9;
            sum += std::exp(logit);
        }
        z += std::log(sum) * std::log(sum) / 9;
    }
    double balance = 0;
    for (int e = 0; e < 6; ++e) balance += 6 * first[e] * mean[e];
    CHECK(layer.loss(o.tape) == doctest::Approx(2 * balance + 3 * z).epsilon(1e-14));

    const bool padding[] = {true, true};
    for (const long T : {0L, 2L}) {
        test::outcome none(layer, test::first_tokens(T), {.padding = {padding, static_cast<std::size_t>(T)}});
        CHECK(layer.loss(none.tape) == 0);
    }
}

TEST_CASE("rebalance moves the bias towards the experts that had less than the mean") {
    auto w = guild::random_weights<tiny>(1);
    std::fill(w.state.begin(), w.state.end(), 0.f);
    guild::rebalance(w, {.count = {3, 2, 0, 4, 3, 6}, .total = 18});
    CHECK(w.state == std::vector<float>{0, 0.25f, 0.25f, -0.25f, 0, -0.25f});

    using model = test::gated_model<>;
    const test::shape s{.config = {.hidden = 3, .expert_hidden = 2, .routed_experts = 3, .top_k = 1, .shared_experts = 1}};
    auto d = s.weights<float>(s.model<model>());
    const auto before = d.state;
    guild::rebalance(d, {.count = {2, 1, 0}, .total = 3});
    CHECK(d.state == std::vector<float>{before[0] - 1e-3f, before[1], before[2] + 1e-3f});
}

TEST_CASE("a layer sees its weights change: a moving bias evens the load") {
    auto w = guild::random_weights<tiny>(1);
    const guild::layer layer(w);
    test::matrix<float> x(600, 6), y(600, 6);
    x.random(4);
    guild::workspace<float> ws;
    layer.forward(x, y, ws);
    const double before = layer.load(ws).max_violation();
    double after = before;
    for (int step = 0; step < 200; ++step) {
        const guild::load load = layer.load(ws);
        guild::bias_balance{.rate = 0.005}.update(load.count.data(), load.total, w.state.data(), 6);
        layer.forward(x, y, ws);
        after = layer.load(ws).max_violation();
    }
    CHECK(before > 0.3);
    CHECK(after < 0.1);
}

TEST_CASE("backward from the gradients by rows and weights: dx and gradients are added to") {
    const auto w = guild::random_weights<input_weighed, double>(1);
    const guild::layer layer(w, reference{});
    test::outcome o(layer, test::first_tokens(7));
    // What backward(dy, ...) makes of dy without shared experts and residual: d_rows = dy, d_weight = 0, since the weight is on the input.
    guild::weights<input_weighed, double> gradient(w.model);
    test::matrix<double> dx(7, 5);
    dx.fill(1);
    const long R = layer.load(o.tape).total;
    const auto d_rows = o.tape.d_rows.shape(R, 5), d_weight = o.tape.d_weight.shape(7, 2);
    for (long r = 0; r < R; ++r)
        for (long h = 0; h < 5; ++h) d_rows(r, h) = o.dy(o.tape.plan.token[r], h);
    for (long i = 0; i < 14; ++i) d_weight.data[i] = 0;
    layer.backward(dx, gradient, o.tape);
    for (long t = 0; t < 7; ++t)
        for (long h = 0; h < 5; ++h) CHECK(dx(t, h) - 1 == doctest::Approx(o.dx(t, h)).epsilon(1e-12));
    CHECK(test::same_gradients(gradient, o.gradient));
}

TEST_CASE("backward from the gradients by rows and weights is the derivative of any function of them") {
    // sum over rows of c row^2 / 2 + sum over slots of weight^3, which no dy can express.
    auto w = guild::random_weights<tiny, double>(2);
    const guild::layer layer(w, reference{});
    test::matrix<double> x(5, 6), y(5, 6), dx(5, 6);
    x.random(3);
    dx.fill(0);
    guild::tape<double> tape;
    const auto value = [&] {
        layer.forward(x, y, tape);
        double sum = layer.loss(tape);
        for (long i = 0; i < tape.plan.rows * 6; ++i) sum += static_cast<double>(i % 5) * tape.rows[i] * tape.rows[i] / 2;
        for (long i = 0; i < 10; ++i) sum += std::pow(tape.gate.choice.weight[i], 3);
        return sum;
    };
    value();
    guild::weights<tiny, double> gradient(w.model);
    tape.d_rows.shape(tape.plan.rows, 6);
    tape.d_weight.shape(5, 2);
    for (long i = 0; i < tape.plan.rows * 6; ++i) tape.d_rows[i] = static_cast<double>(i % 5) * tape.rows[i];
    for (long i = 0; i < 10; ++i) tape.d_weight[i] = 3 * std::pow(tape.gate.choice.weight[i], 2);
    layer.backward(dx, gradient, tape);
    const auto slope = [&](double& at) {
        const double middle = at, step = 1e-5;
        at = middle + step;
        const double above = value();
        at = middle - step;
        const double below = value();
        at = middle;
        return (above - below) / (2 * step);
    };
    for (long t = 0; t < 5; ++t)
        for (long h = 0; h < 6; ++h) CHECK(std::abs(dx(t, h) - slope(x(t, h))) < 1e-7);
    auto& down = w.experts.down;
    for (std::size_t i = 0; i < down.size(); i += 7) CHECK(std::abs(gradient.experts.down[i] - slope(down[i])) < 1e-7);
}
