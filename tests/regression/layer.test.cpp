#include <support/products.hpp>
#include <support/outcome.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

// Faults that layers of other libraries were shipped with, one test each, by their symptom.

namespace {
using guild::config;
using reference = guild::backend::reference;
constexpr float no_number = std::numeric_limits<float>::quiet_NaN();

constexpr config numbers{
    .hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true};
/// Everything that backward touches: bias, groups, shared experts, losses.
struct full : guild::model<numbers, guild::deepseek_v3_gate{.groups = 4, .keep = 2}, guild::bias_balance{}, guild::residual::plain,
                           guild::expert_loss{.weight = 0.1}, guild::z_loss{.weight = 0.1}> {};
struct bounded_gate {
    guild::capacity bound{1.25};
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
};
struct bounded : guild::model<numbers, bounded_gate{}, guild::residual::plain> {};
struct closed : guild::model<numbers, bounded_gate{{1, guild::rounding::up, guild::priority::choice, 0, 0}}, guild::residual::complement> {};
/// Switch with an exaggerated jitter.
struct jittered : guild::model<config{.hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 1},
                               guild::switch_capacity_gate{.factor = 8, .jitter = 0.5}> {};
struct input_weighed : guild::model<config{.hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 1}, guild::llama4_gate{}> {};
struct output_weighed_gate {
    constexpr auto stages() const { return guild::llama4_gate{}.stages(); }
};
struct output_weighed : guild::model<config{.hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 1}, output_weighed_gate{}> {};
struct zero_experts : guild::model<config{.hidden = 12, .expert_hidden = 10, .routed_experts = 4, .top_k = 3}, guild::longcat_gate{.scale = 2},
                                   guild::passive{.zero = 4}> {};
/// A gate that chooses whatever expert it is told.
struct told_gate {
    struct tells : guild::takes_score {
        int expert = 0;
        constexpr explicit tells(int e) : expert(e) {}
        void forward(const auto&, auto& r) const {
            for (int k = 0; k < r.n.slots; ++k) r.expert[k] = expert + k;
            for (int k = 0; k < r.n.slots; ++k) r.weight[k] = 1;
        }
    };
    int expert = 0;
    constexpr auto stages() const { return guild::pipeline{tells{expert}}; }
};

/// Ranges of one element, from the last to the first.
struct backwards {
    template <class F> void run(long n, F&& f) const {
        for (long i = n - 1; i >= 0; --i) f(i, i + 1);
    }
};
template <class Model, class Format = float, class Backend = guild::backend::eigen<>>
using outcome = test::outcome<guild::layer<Model, Format, Backend>>;

template <class S> guild::view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }
template <class S> bool finite(const test::matrix<S>& m) {
    for (long r = 0; r < m.rows(); ++r)
        for (long c = 0; c < m.cols(); ++c)
            if (!std::isfinite(m(r, c))) return false;
    return true;
}
template <class O> bool same_results(const O& a, const O& b) {
    return test::same_bits(a.y, b.y) && test::same_bits(a.inferred, b.inferred) && test::same_bits(a.dx, b.dx) && a.loss == b.loss &&
           test::same_gradients(a.gradient, b.gradient);
}
/// SwiGLU expert e for one token, in plain loops.
template <class W> std::vector<double> expert(const W& w, long e, const std::vector<double>& x) {
    const long H = w.model.config.hidden, F = w.model.config.expert_hidden;
    std::vector<double> y(x.size());
    for (long f = 0; f < F; ++f) {
        double gate = 0, up = 0;
        for (long h = 0; h < H; ++h) {
            gate += w.experts.gate[static_cast<std::size_t>((e * F + f) * H + h)] * x[static_cast<std::size_t>(h)];
            up += w.experts.up[static_cast<std::size_t>((e * F + f) * H + h)] * x[static_cast<std::size_t>(h)];
        }
        for (long h = 0; h < H; ++h)
            y[static_cast<std::size_t>(h)] += w.experts.down[static_cast<std::size_t>((e * H + h) * F + f)] * gate / (1 + std::exp(-gate)) * up;
    }
    return y;
}
}  // namespace

TEST_CASE("an expert without tokens gets the gradient of the step before, or garbage") {
    auto w = guild::random_weights<full>(1);
    std::fill(w.state.begin(), w.state.end(), 0.f);
    w.state[3] = w.state[6] = -100;  // never chosen
    const guild::layer layer(w);
    const outcome<full> fresh(layer, test::first_tokens(5));
    REQUIRE(layer.load(fresh.tape).count[3] == 0);
    for (const auto* t : {&fresh.gradient.experts.gate, &fresh.gradient.experts.up, &fresh.gradient.experts.down, &fresh.gradient.experts.gate_bias,
                          &fresh.gradient.experts.up_bias, &fresh.gradient.experts.down_bias}) {
        const std::size_t size = t->size() / 8;
        for (const std::size_t e : {3u, 6u})
            for (std::size_t i = e * size; i < (e + 1) * size; ++i) CHECK((*t)[i] == 0);
        CHECK(std::any_of(t->begin(), t->end(), [](float g) { return g != 0; }));
    }
}

TEST_CASE("the second step is NaN because memory is dirty") {
    const auto w = guild::random_weights<full>(1);
    const guild::layer layer(w);
    const outcome<full> fresh(layer, test::first_tokens(5));
    outcome<full> used(layer, test::first_tokens(5));
    for (int step = 0; step < 3; ++step) {
        test::matrix<float> sick(40, 12), out(40, 12), d(40, 12);  // NaN
        guild::weights<full> lost;
        layer.forward(sick, out, used.workspace);
        layer.forward(sick, out, used.tape);
        layer.loss(used.tape);
        layer.backward(sick, d, lost, used.tape);
        used.y.fill(no_number);
        used.inferred.fill(no_number);
        used.dx.fill(no_number);
        guild::zero(used.gradient);
        used.run(layer);
        CHECK(same_results(used, fresh));
        CHECK(finite(used.dx));
    }
}

TEST_CASE("an empty batch crashes") {
    const auto w = guild::random_weights<full>(1);
    const guild::layer layer(w);
    const auto check = [](const auto& l, auto gradient) {
        guild::workspace<float> ws;
        guild::tape<float> tape;
        const guild::view<float> nothing(nullptr, 0, 12);
        l.forward(nothing, nothing, ws);
        l.forward(nothing, nothing, tape);
        CHECK(l.loss(tape) == 0);
        l.backward(nothing, nothing, gradient, tape);
        guild::each_tensor([](const char*, const auto& t) { CHECK(std::all_of(t.begin(), t.end(), [](float g) { return g == 0; })); }, gradient);
        CHECK(l.load(tape).total == 0);
        CHECK(l.load(ws).max_violation() == 0);
    };
    check(layer, guild::weights<full>{});
    check(guild::layer<full, float, reference>(w), guild::weights<full>{});
    const auto b = guild::random_weights<bounded>(1);
    check(guild::layer(b), guild::weights<bounded>{});
    auto state = w;
    guild::rebalance(state, {.count = std::vector<long>(8), .total = 0});
    CHECK(state.state == w.state);
    // and a batch of nothing but padding
    const bool padding[] = {true, true, true};
    const outcome<full> o(layer, test::first_tokens(3), {.padding = padding});
    CHECK(o.loss == 0);
    CHECK(finite(o.y));
    CHECK(finite(o.dx));
    CHECK(layer.load(o.tape).total == 0);
}

TEST_CASE("a batch of one token goes another way and rounds differently") {
    const auto w = guild::random_weights<full>(1);
    const guild::layer layer(w);
    const outcome<full> all(layer, test::first_tokens(33));
    for (const long t : {0L, 7L, 32L}) {
        const outcome<full> one(layer, {t});
        CHECK(test::same_bits(row(one.y, 0), row(all.y, t)));
        CHECK(test::same_bits(row(one.inferred, 0), row(all.y, t)));
    }
}

TEST_CASE("two runs of one batch differ in the last bits") {
    const auto w = guild::random_weights<full>(1);
    const guild::layer layer(w);
    const outcome<full> first(layer, test::first_tokens(33));
    for (int run = 0; run < 3; ++run) CHECK(same_results(outcome<full>(layer, test::first_tokens(33)), first));
    using other = guild::backend::eigen<backwards>;
    const outcome<full, float, other> turned(guild::layer<full, float, other>(w), test::first_tokens(33));  // and none of them in its order
    CHECK(test::same_bits(turned.y, first.y));
    CHECK(test::same_bits(turned.inferred, first.y));
    CHECK(test::same_bits(turned.dx, first.dx));
    CHECK(test::same_gradients(turned.gradient, first.gradient));
}

TEST_CASE("a dropped token loses its shared experts or its residual, or is scaled") {
    const auto w = guild::random_weights<closed>(1);  // a capacity of no rows: everything is dropped
    auto shared = w;
    std::fill(shared.experts.down.begin(), shared.experts.down.end(), no_number);  // nobody reads them
    std::fill(shared.router.begin(), shared.router.end(), 0.f);
    const guild::layer layer(w), other(shared);
    const outcome<closed> o(layer, test::first_tokens(9)), p(other, test::first_tokens(9));
    CHECK(layer.load(o.tape).total == 0);
    CHECK(same_results(o, p));
    CHECK(finite(o.y));
    CHECK(std::all_of(o.gradient.router.begin(), o.gradient.router.end(), [](float g) { return g == 0; }));
    CHECK(std::any_of(o.gradient.shared.up.begin(), o.gradient.shared.up.end(), [](float g) { return g != 0; }));

    // without shared experts nothing but x is left
    struct bare : guild::model<config{.hidden = 12, .expert_hidden = 10, .routed_experts = 8, .top_k = 2},
                               bounded_gate{{1, guild::rounding::up, guild::priority::choice, 0, 0}}, guild::residual::plain> {};
    const auto b = guild::random_weights<bare>(1);
    const outcome<bare> q(guild::layer<bare>(b), test::first_tokens(9));
    CHECK(test::same_bits(q.y, q.x));
    CHECK(test::same_bits(q.inferred, q.x));
    CHECK(test::same_bits(q.dx, q.dy));
}

TEST_CASE("padding fills the experts, and tokens are dropped for it") {
    const auto w = guild::random_weights<bounded>(1);
    const guild::layer layer(w);
    bool padding[24] = {};
    for (int t = 0; t < 16; ++t) padding[t] = true;  // in front
    const outcome<bounded> all(layer, test::first_tokens(24), {.padding = padding});
    std::vector<long> rest;
    for (long t = 16; t < 24; ++t) rest.push_back(t);
    const outcome<bounded> alone(layer, rest);
    CHECK(layer.load(all.tape).count == layer.load(alone.tape).count);
    for (long t = 16; t < 24; ++t) CHECK(test::same_bits(row(all.y, t), row(alone.y, t - 16)));
}

TEST_CASE("jitter changes what the experts read") {
    const auto w = guild::random_weights<jittered, double>(1);
    const guild::layer layer(w);
    outcome<jittered, double> o(layer, test::first_tokens(16), {.seed = 5, .training = true});
    double far = 0, moved = 0;
    for (long t = 0; t < 16; ++t) {
        std::vector<double> x;
        for (long h = 0; h < 12; ++h) {
            x.push_back(2 * guild::uniform(8, 0, t, h) - (h > 0));
            CHECK(o.x(t, h) == x.back());  // x itself is as it was
        }
        const auto y = expert(w, o.tape.gate.choice.expert[t], x);
        for (long h = 0; h < 12; ++h) far = std::max(far, std::abs(o.y(t, h) - o.tape.gate.choice.weight[t] * y[static_cast<std::size_t>(h)]));
        for (long e = 0; e < 8; ++e) {
            double logit = 0;
            for (long h = 0; h < 12; ++h) logit += w.router[static_cast<std::size_t>(e * 12 + h)] * x[static_cast<std::size_t>(h)];
            moved = std::max(moved, std::abs(o.tape.logits[t * 8 + e] - logit));
        }
    }
    CHECK(far <= 1e-14);
    CHECK(moved > 0.1);  // what the router reads did change
}

TEST_CASE("jitter stays on in evaluation, or is the same for every step") {
    const auto w = guild::random_weights<jittered>(1);
    const guild::layer layer(w);
    const outcome<jittered> plain(layer, test::first_tokens(16), {.seed = 5}), other(layer, test::first_tokens(16), {.seed = 6});
    CHECK(same_results(plain, other));
    const outcome<jittered> one(layer, test::first_tokens(16), {.seed = 5, .training = true}),
        two(layer, test::first_tokens(16), {.seed = 6, .training = true});
    CHECK(!test::same_bits(one.y, plain.y));
    CHECK(!test::same_bits(one.y, two.y));
    const outcome<jittered> again(layer, test::first_tokens(16), {.seed = 5, .training = true});
    CHECK(same_results(again, one));  // recomputed for a checkpoint: the same draws
    const outcome<jittered> later(layer, test::first_tokens(16), {.first = 16, .seed = 5, .training = true});
    CHECK(!test::same_bits(later.y, one.y));
}

TEST_CASE("the weight is applied after the expert where the model has it before") {
    const auto w = guild::random_weights<input_weighed, double>(1);
    guild::weights<output_weighed, double> v;
    v.router = w.router;
    v.experts = w.experts;
    const outcome<input_weighed, double> before(guild::layer<input_weighed, double>(w), test::first_tokens(7));
    const outcome<output_weighed, double> after(guild::layer<output_weighed, double>(v), test::first_tokens(7));
    for (long t = 0; t < 7; ++t) {
        std::vector<double> x, scaled;
        const int e = before.tape.gate.choice.expert[t];
        const double weight = before.tape.gate.choice.weight[t];
        for (long h = 0; h < 12; ++h) x.push_back(before.x(t, h)), scaled.push_back(weight * before.x(t, h));
        const auto in = expert(w, e, scaled), out = expert(w, e, x);
        for (long h = 0; h < 12; ++h) {
            CHECK(before.y(t, h) == doctest::Approx(in[static_cast<std::size_t>(h)]).epsilon(1e-12));
            CHECK(after.y(t, h) == doctest::Approx(weight * out[static_cast<std::size_t>(h)]).epsilon(1e-12));
        }
    }
    CHECK(!test::same_bits(before.y, after.y));
}

TEST_CASE("the share of a zero expert goes to the others") {
    const auto w = guild::random_weights<zero_experts, double>(1);
    const outcome<zero_experts, double> o(guild::layer<zero_experts, double>(w), test::first_tokens(20));
    int zeros = 0;
    for (long t = 0; t < 20; ++t) {
        std::vector<double> y(12);
        double sum = 0;
        for (long e = 0; e < 8; ++e) sum += std::exp(o.tape.logits[t * 8 + e]);
        for (long k = 0; k < 3; ++k) {
            const int e = o.tape.gate.choice.expert[3 * t + k];
            const double weight = 2 * std::exp(o.tape.logits[t * 8 + e]) / sum;
            CHECK(o.tape.gate.choice.weight[3 * t + k] == doctest::Approx(weight).epsilon(1e-13));
            zeros += e >= 4;
            if (e >= 4) continue;
            const auto one = expert(w, e, {o.x.all().row(t), o.x.all().row(t) + 12});
            for (std::size_t h = 0; h < 12; ++h) y[h] += weight * one[h];
        }
        for (std::size_t h = 0; h < 12; ++h) CHECK(o.y(t, static_cast<long>(h)) == doctest::Approx(y[h]).epsilon(1e-12));
    }
    CHECK(zeros >= 10);
}

TEST_CASE("an expert id that does not exist reaches memory that is not there") {
    using model = guild::dynamic_model<told_gate, guild::swiglu, guild::plain_shared, 8>;
    for (const int expert : {-5, -2, 7, 8, 1 << 30}) {
        const model m{.config = {.hidden = 4, .expert_hidden = 4, .routed_experts = 8, .top_k = 2}, .gate = {expert}};
        const auto w = guild::random_weights<model, float>(1, m);
        const guild::layer<model, float, reference> layer(w);
        test::matrix<float> x(3, 4), y(3, 4);
        x.random(1);
        guild::workspace<float> ws;
        CHECK_THROWS_AS(layer.forward(x, y, ws), guild::argument_error);
        CHECK(std::isnan(y(0, 0)));
        CHECK_THROWS_AS(layer.load(ws), guild::argument_error);
    }
}

TEST_CASE("token ids outside the vocabulary read beyond the table, and an empty table too") {
    using model = guild::dynamic_model<guild::hash_gate, guild::swiglu, guild::plain_shared, 8>;
    const model m{.config = {.hidden = 4, .expert_hidden = 4, .routed_experts = 8, .top_k = 2}};
    auto w = guild::random_weights<model, float>(1, m);
    w.table = {0, 1, 2, 3, 7, 6};
    const guild::layer<model, float, reference> layer(w);
    test::matrix<float> x(2, 4), y(2, 4);
    x.random(1);
    guild::workspace<float> ws;
    const auto forward = [&](int first, int second) {
        const int id[] = {first, second};
        layer.forward(x, y, ws, {.token_id = id});
    };
    CHECK_NOTHROW(forward(0, 2));
    CHECK(ws.gate.choice.expert[2] == 7);
    // By the text: what a read beyond the table finds is refused too, later.
    const auto refused = [&](int second, const std::string& text) { CHECK_THROWS_WITH_AS(forward(0, second), text.c_str(), guild::argument_error); };
    const auto beyond = [](int id, int rows) {
        return "guild::batch: token_id holds " + std::to_string(id) + ", expected ids below the " + std::to_string(rows) +
               " rows of the gate's table";
    };
    for (const int bad : {-1, 3, 4, 1 << 30, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) refused(bad, beyond(bad, 3));
    CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), "guild::batch: token_id is not given, which this gate needs for 2 tokens", guild::argument_error);
    for (const int bad : {-1, 8, 0, std::numeric_limits<int>::max()})
        for (const std::size_t at : {std::size_t(4), std::size_t(5)}) {  // the last row, whose other expert is one of 6 and 7
            const auto good = w.table;
            w.table[at] = bad == 0 ? w.table[9 - at] : bad;
            const int found = at == 4 && bad == 0 ? 6 : w.table[at];
            refused(2, "guild::layer: the gate's table gives token id 2 the expert " + std::to_string(found) + ", expected distinct experts below 8");
            w.table = good;
        }
    w.table.pop_back();  // the last row is not whole
    refused(2, beyond(2, 2));
    w.table.clear();
    refused(0, beyond(0, 0));
}

TEST_CASE("a router stored in half precision chooses other experts") {
    static_assert(std::is_same_v<decltype(guild::weights<full, guild::bf16>::router), std::vector<float>>);
    static_assert(std::is_same_v<decltype(guild::weights<full, guild::bf16>::state), std::vector<float>>);
    const auto w = guild::random_weights<full>(1);
    const auto half = guild::random_weights<full, guild::bf16>(1);
    const outcome<full> a(guild::layer<full>(w), test::first_tokens(50));
    const outcome<full, guild::bf16> b(guild::layer<full, guild::bf16>(half), test::first_tokens(50));
    for (long i = 0; i < 100; ++i) {
        CHECK(a.tape.gate.choice.expert[i] == b.tape.gate.choice.expert[i]);
        CHECK(a.tape.gate.choice.weight[i] == b.tape.gate.choice.weight[i]);
    }
    CHECK(!test::same_bits(a.y, b.y));
}

TEST_CASE("choosing every expert is an edge case") {
    // it is the dense mixture
    using model = guild::dynamic_model<guild::deepseek_moe_gate, guild::swiglu, guild::plain_shared, 8>;
    using dense = guild::dynamic_model<guild::dense_gate, guild::swiglu, guild::plain_shared, 8>;
    for (const int E : {1, 2, 7, 8}) {
        const config c{.hidden = 4, .expert_hidden = 3, .routed_experts = E, .top_k = E};
        const auto w = guild::random_weights<model, double>(1, model{.config = c});
        const auto v = guild::random_weights<dense, double>(1, dense{.config = c});
        const outcome<model, double, reference> a(guild::layer<model, double, reference>(w), test::first_tokens(6));
        const outcome<dense, double, reference> b(guild::layer<dense, double, reference>(v), test::first_tokens(6));
        CHECK(test::apart(a.y, b.y) <= 1e-14);
        CHECK(test::apart(a.dx, b.dx) <= 1e-13);
    }
}
