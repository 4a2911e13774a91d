#include <support/products.hpp>
#include <support/outcome.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

// Faults of balance losses and of the bias update that were shipped elsewhere, one test each, by their symptom.

namespace {
using guild::config;
constexpr config numbers{.hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 2};

struct costly : guild::model<numbers, guild::qwen3_gate{}, guild::expert_loss{.weight = 0.5}, guild::top_k_balance_loss{.weight = 0.25},
                             guild::z_loss{.weight = 0.125}> {};
struct balanced : guild::model<numbers, guild::deepseek_v3_gate{.groups = 2, .keep = 2}, guild::bias_balance{.rate = 0.5}> {};
struct in_sequence : guild::model<numbers, guild::qwen3_gate{}, guild::sequence_loss{.weight = 1}> {};
struct over_batch : guild::model<numbers, guild::qwen3_gate{}, guild::expert_loss{.weight = 1}> {};

template <class Model, class S = float> using outcome_of = test::outcome<guild::layer<Model, S>>;
using outcome = outcome_of<costly, double>;

std::vector<double> all(const guild::weights<costly, double>& w) {
    std::vector<double> v;
    guild::each_tensor([&](const char*, const auto& t) { v.insert(v.end(), t.begin(), t.end()); }, w);
    return v;
}
double far(const std::vector<double>& a, const std::vector<double>& b) {
    test::deviation d;
    for (std::size_t i = 0; i < b.size(); ++i) d.add(a[i], b[i]);
    return d.relative();
}
/// The three losses of `costly` for the tokens t with counts(t), from the logits of the router.
template <class F> double by_hand(const outcome& o, F counts) {
    double T = 0, rows[8] = {}, mean[8] = {}, z = 0;
    for (long t = 0; t < o.x.rows(); ++t) T += counts(t);
    for (long t = 0; t < o.x.rows(); ++t) {
        if (!counts(t)) continue;
        double sum = 0;
        for (long e = 0; e < 8; ++e) sum += std::exp(o.tape.logits[t * 8 + e]);
        for (long e = 0; e < 8; ++e) mean[e] += std::exp(o.tape.logits[t * 8 + e]) / sum / T;
        z += std::log(sum) * std::log(sum) / T;
        for (long k = 0; k < 2; ++k) ++rows[o.tape.gate.choice.expert[2 * t + k]];
    }
    double share = 0;
    for (int e = 0; e < 8; ++e) share += 8 * rows[e] / (2 * T) * mean[e];
    return 0.5 * share + 0.25 * 2 * share + 0.125 * z;
}
}  // namespace

TEST_CASE("a loss reads weights or probabilities where it should read raw logits") {
    const auto w = guild::random_weights<costly, double>(1);
    const outcome o(guild::layer<costly, double>(w), test::first_tokens(11));
    CHECK(o.loss == doctest::Approx(by_hand(o, [](long) { return true; })).epsilon(1e-13));
}

TEST_CASE("padding tokens take part in the balance loss") {
    const auto w = guild::random_weights<costly, double>(1);
    bool padding[11] = {};
    padding[2] = padding[3] = padding[10] = true;
    const guild::layer layer(w);
    const outcome o(layer, test::first_tokens(11), {.padding = padding});
    CHECK(o.loss == doctest::Approx(by_hand(o, [&](long t) { return !padding[t]; })).epsilon(1e-13));
    const outcome none(layer, {0, 1, 4, 5, 6, 7, 8, 9});
    CHECK(o.loss == doctest::Approx(none.loss).epsilon(1e-14));
    CHECK(far(o.gradient.router, none.gradient.router) <= 1e-14);
}

TEST_CASE("a loss is counted twice when a step is recomputed or asked for it again") {
    const auto w = guild::random_weights<costly, double>(1);
    const guild::layer layer(w);
    outcome o(layer, test::first_tokens(11));
    CHECK(layer.loss(o.tape) == o.loss);
    CHECK(layer.loss(o.tape) == o.loss);
    const auto once = all(o.gradient);

    guild::zero(o.gradient);  // forward again, as a checkpoint does; the loss is not asked for
    layer.forward(o.x, o.y, o.tape);
    layer.forward(o.x, o.y, o.tape);
    layer.backward(o.dy, o.dx, o.gradient, o.tape);
    CHECK(all(o.gradient) == once);
    CHECK(layer.loss(o.tape) == o.loss);

    layer.backward(o.dy, o.dx, o.gradient, o.tape);  // two steps that accumulate: twice, and no more
    auto twice = once;
    for (double& g : twice) g *= 2;
    CHECK(far(all(o.gradient), twice) <= 1e-14);
}

TEST_CASE("a loss depends on whether somebody asked for its value") {
    const auto w = guild::random_weights<costly, double>(1);
    const guild::layer layer(w);
    outcome o(layer, test::first_tokens(11));
    guild::weights<costly, double> gradient;
    guild::tape<double> tape;
    layer.forward(o.x, o.y, tape);
    layer.backward(o.dy, o.dx, gradient, tape);
    CHECK(all(gradient) == all(o.gradient));
}

TEST_CASE("two micro-batches do not give the gradient of their sum") {
    // each has losses of its own: those of a batch are means over its tokens, so equal halves are averaged
    const auto w = guild::random_weights<costly, double>(1);
    const guild::layer layer(w);
    outcome first(layer, {0, 1, 2, 3}), second(layer, {4, 5, 6, 7});
    guild::weights<costly, double> sum;
    layer.backward(first.dy, first.dx, sum, first.tape);
    layer.backward(second.dy, second.dx, sum, second.tape);
    auto expected = all(first.gradient);
    const auto other = all(second.gradient);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += other[i];
    CHECK(far(all(sum), expected) <= 1e-14);
}

TEST_CASE("a loss over the batch is taken for one in each sequence, or the other way round") {
    const auto w = guild::random_weights<in_sequence, double>(1);
    guild::weights<over_batch, double> v;
    v.router = w.router;
    v.experts = w.experts;
    const int bounds[] = {0, 4, 12};
    const guild::layer sequences(w);
    const guild::layer batch(v);
    using in = test::outcome<guild::layer<in_sequence, double>>;
    using over = test::outcome<guild::layer<over_batch, double>>;
    const in whole(sequences, test::first_tokens(12)), cut(sequences, test::first_tokens(12), {.sequence = bounds});
    const over all_at_once(batch, test::first_tokens(12)), marked(batch, test::first_tokens(12), {.sequence = bounds});
    CHECK(whole.loss == doctest::Approx(all_at_once.loss).epsilon(1e-14));
    CHECK(marked.loss == all_at_once.loss);
    const in first(sequences, {0, 1, 2, 3}), second(sequences, {4, 5, 6, 7, 8, 9, 10, 11});
    CHECK(cut.loss == doctest::Approx((first.loss + second.loss) / 2).epsilon(1e-14));
    CHECK(std::abs(cut.loss - whole.loss) > 1e-3);
}

TEST_CASE("counts kept in a float lose tokens and turn the bias the wrong way") {
    const long big = 1L << 24;  // the first integer whose successor is no float
    const auto signs = [](std::vector<long> load) {
        std::vector<float> state(load.size());
        guild::bias_balance{.rate = 1}.update(load.data(), std::accumulate(load.begin(), load.end(), 0L), state.data(),
                                              static_cast<int>(load.size()));
        return state;
    };
    CHECK(signs({big, big + 1}) == std::vector<float>{1, -1});
    CHECK(signs({big + 1, big, big + 2}) == std::vector<float>{0, 1, -1});
    CHECK(signs({40 * big, 40 * big + 1, 40 * big, 40 * big}) == std::vector<float>{1, -1, 1, 1});
    CHECK(signs({257, 256}) == std::vector<float>{-1, 1});  // the same for bf16
    CHECK(signs({big, big, big}) == std::vector<float>{0, 0, 0});
}

TEST_CASE("the bias moves once per micro-batch, or again when a step is recomputed") {
    auto w = guild::random_weights<balanced>(1);
    const auto before = w.state;
    const guild::layer layer(w);
    guild::load load;
    for (const auto& tokens : {std::vector<long>{0, 1, 2}, std::vector<long>{3, 4, 5, 6}}) {
        outcome_of<balanced> o(layer, tokens, {.training = true});
        o.run(layer, {.training = true});
        load += layer.load(o.tape);
    }
    CHECK(w.state == before);  // a layer never moves it
    CHECK(load.total == 14);
    guild::rebalance(w, load);
    for (std::size_t e = 0; e < 8; ++e) {
        const long above = load.count[e] * 8 - load.total;
        CHECK(w.state[e] == before[e] + (above > 0 ? -0.5f : above < 0 ? 0.5f : 0.f));
    }
}

TEST_CASE("the balance of an epoch is that of its last batch") {
    auto w = guild::random_weights<balanced>(1);
    const guild::layer layer(w);
    guild::load sum;
    const outcome_of<balanced> a(layer, {0, 1, 2}), b(layer, {3, 4, 5, 6}), both(layer, {0, 1, 2, 3, 4, 5, 6});
    sum += layer.load(a.tape);
    sum += layer.load(b.tape);
    CHECK(sum.count == layer.load(both.tape).count);
    CHECK(sum.total == layer.load(both.tape).total);
    CHECK(sum.max_violation() == layer.load(both.tape).max_violation());
}

TEST_CASE("the selection bias gets a gradient, or a loss sees it") {
    auto w = guild::random_weights<balanced>(1);
    const guild::layer layer(w);
    const outcome_of<balanced> o(layer, test::first_tokens(9));
    CHECK(std::all_of(o.gradient.state.begin(), o.gradient.state.end(), [](float g) { return g == 0; }));

    struct ranked
        : guild::model<numbers, guild::deepseek_v3_gate{.groups = 1, .keep = 1}, guild::sequence_loss{.weight = 1}, guild::z_loss{.weight = 1}> {};
    auto v = guild::random_weights<ranked, double>(1);
    const guild::layer other(v);
    const outcome_of<ranked, double> before(other, test::first_tokens(9));
    v.state[5] += 5;
    const outcome_of<ranked, double> after(other, test::first_tokens(9));
    CHECK(after.loss == before.loss);  // as published: the K best of the scores alone
    for (long t = 0; t < 9; ++t) CHECK(after.tape.gate.choice.expert[2 * t] == 5);
    CHECK(!test::same_bits(after.y, before.y));
}

TEST_CASE("the load of dropped rows is what stayed, and the balance loss sees what was asked") {
    struct bounded_gate {
        guild::capacity bound{1, guild::rounding::up, guild::priority::choice, 0, 1};
        constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
    };
    struct dropping : guild::model<numbers, bounded_gate{}, guild::expert_loss{.weight = 1}> {};
    struct keeping : guild::model<numbers, guild::deepseek_moe_gate{}, guild::expert_loss{.weight = 1}> {};
    const auto w = guild::random_weights<dropping, double>(1);
    guild::weights<keeping, double> v;
    v.router = w.router;
    v.experts = w.experts;
    const guild::layer drops(w);
    const guild::layer keeps(v);
    const outcome_of<dropping, double> a(drops, test::first_tokens(20));
    const outcome_of<keeping, double> b(keeps, test::first_tokens(20));
    CHECK(a.loss == doctest::Approx(b.loss).epsilon(1e-14));
    CHECK(drops.load(a.tape).total <= 8);
    CHECK(keeps.load(b.tape).total == 40);
}

TEST_CASE("a loss of scores that all underflow is NaN") {
    struct cold : guild::model<numbers, guild::deepseek_v3_gate{.groups = 1, .keep = 1}, guild::sequence_loss{.weight = 1},
                               guild::expert_loss{.weight = 1}, guild::z_loss{.weight = 1}> {};
    auto w = guild::random_weights<cold>(1);
    std::fill(w.router.begin(), w.router.end(), 0.f);
    for (std::size_t e = 0; e < 8; ++e) w.router[12 * e] = -1e6f;  // x(t, 0) is positive
    const outcome_of<cold> o(guild::layer<cold>(w), test::first_tokens(9));
    CHECK(std::isfinite(o.loss));
    double sum = 0;
    for (const float g : o.gradient.router) sum += g;
    for (long t = 0; t < 9; ++t) sum += o.y(t, 0) + o.dx(t, 0);
    CHECK(std::isfinite(sum));
}
