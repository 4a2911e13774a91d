#include <support/gradient.hpp>
#include <support/policies.hpp>

#include <guild/gate/stage/capacity.hpp>

// MoE++: experts that blend x with a vector, logits that go from layer to layer, a loss and a capacity by kind; gradients through three
// layers in a row, and a plain transcription.

namespace {
using namespace guild;

constexpr config small{.hidden = 4, .expert_hidden = 3, .routed_experts = 3, .top_k = 2};
constexpr passive kinds{.zero = 1, .identity = 1, .constant = 1, .blend = 2};
constexpr heterogeneous_loss loss{.weight = 0.5, .ratio = 0.6, .zero_computation = 5};

struct blended : model<small, kinds, moe_plus_plus_first_gate{}, loss> {};
struct blended_input : model<small, kinds, test::llama4_gate{}, residual::complement> {};

struct bounded_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, heterogeneous_capacity{5, 1.4, 0.6}}; }
};
struct bounded : model<small, kinds, bounded_gate{}, loss, residual::plain> {};

struct first_layer : model<small, kinds, moe_plus_plus_first_gate{}, loss, residual::plain> {};
struct next_layer : model<small, kinds, moe_plus_plus_gate{}, loss, z_loss{.weight = 0.3}, residual::plain> {};
struct first_without_loss : model<small, kinds, moe_plus_plus_first_gate{}, residual::plain> {};
struct next_without_loss : model<small, kinds, moe_plus_plus_gate{}, residual::plain> {};

/// Looks back without an adjoint of its own, after a stage that has one.
struct looks_back {
    static constexpr bool logits = true, needs_previous = true;
    static constexpr int learned(int experts) { return experts; }
    void forward(const auto& t, auto& r) const {
        using guild::tanh;
        r.each([&](int e) { r.score[e] += t.learned[e] * tanh(t.previous[e]); });
    }
};
struct back_gate {
    constexpr auto stages() const { return pipeline{router_bias{}, gating_residual{}, looks_back{}, score{sigmoid{}}, top_k{}}; }
};
struct back_layer : model<small, kinds, back_gate{}, loss, residual::plain> {};

/// Three layers in a row: the sum of dy y and of their losses.
template <class First, class Next, class S> struct chain {
    weights<First, S> w1;
    weights<Next, S> w2, w3;
    long T;
    batch side;
    std::vector<S> x, y1 = x, y2 = x, y3 = x, g1, g2, g3;
    std::vector<double> dy;
    tape<S> tape1{}, tape2{}, tape3{};

    chain(long n, const batch& b)
        : T(n), side(b), x(numbers<S>(n * 4, 1)), g1(static_cast<std::size_t>(n * 8)), g2(g1), g3(g1), dy(numbers<double>(n * 4, 2)) {
        const auto fill = [](auto& to, const auto& from) {
            each_tensor([](const char*, auto& t, const auto& f) { t.assign(f.begin(), f.end()); }, to, from);
        };
        fill(w1, random_weights<First, double>(3));
        fill(w2, random_weights<Next, double>(4));
        fill(w3, random_weights<Next, double>(5));
        for (std::size_t i = 0; i < dy.size(); ++i)
            if (gate::padded(b, static_cast<long>(i) / 4)) dy[i] = 0;  // as it counts
    }
    template <class R> static std::vector<R> numbers(long n, int stream) {
        std::vector<R> v;
        for (long i = 0; i < n; ++i) v.push_back(normal(21, stream, 0, i));
        return v;
    }
    view<S> wide(std::vector<S>& v) { return {v.data(), T, 4}; }
    view<S> logits(std::vector<S>& v) { return {v.data(), T, 8}; }
    template <class W> static auto on(const W& w) { return layer<std::remove_cvref_t<decltype(w.model)>, S, backend::reference>(w); }

    S operator()() {
        tape1.passed.own = logits(g1);
        tape2.passed.previous = logits(g1), tape2.passed.own = logits(g2);
        tape3.passed.previous = logits(g2), tape3.passed.own = logits(g3);
        on(w1).forward(wide(x), wide(y1), tape1, side);
        on(w2).forward(wide(y1), wide(y2), tape2, side);
        on(w3).forward(wide(y2), wide(y3), tape3, side);
        S sum = on(w1).loss(tape1) + on(w2).loss(tape2) + on(w3).loss(tape3);
        for (std::size_t i = 0; i < y3.size(); ++i) sum += S(dy[i]) * y3[i];
        return sum;
    }
    template <class F> void each(F f) {
        f("x", x);
        for_tensors(w1, f), for_tensors(w2, f), for_tensors(w3, f);
    }
    static void for_tensors(auto& w, auto& f) {
        each_tensor([&](const char* name, auto& t) { f(name, t); }, w);
    }
    /// In the order of `each`.
    std::vector<std::vector<double>> gradient() {
        weights<First, double> d1;
        weights<Next, double> d2, d3;
        std::vector<double> dx(x.size(), std::nan("")), dy1(dx), dy2(dx), dg1(g1.size(), std::nan("")), dg2(dg1);
        tape3.passed.d_previous = logits(dg2), tape2.passed.d_own = logits(dg2);
        tape2.passed.d_previous = logits(dg1), tape1.passed.d_own = logits(dg1);
        on(w3).backward(wide(dy), wide(dy2), d3, tape3);
        on(w2).backward(wide(dy2), wide(dy1), d2, tape2);
        on(w1).backward(wide(dy1), wide(dx), d1, tape1);
        std::vector<std::vector<double>> all{dx};
        const auto keep = [&](const char*, auto& t) { all.push_back(t); };
        for_tensors(d1, keep), for_tensors(d2, keep), for_tensors(d3, keep);
        return all;
    }
};

template <class First, class Next> void check_chain(long T, const batch& side = {}) {
    CAPTURE(T);
    chain<First, Next, double> plain(T, side);
    chain<First, Next, dual<double>> dual(T, side);
    plain();
    const auto exact = plain.gradient();
    double scale = 0;
    for (const auto& t : exact)
        for (const double g : t) scale = std::max(scale, std::abs(g));
    std::size_t tensor = 0;
    dual.each([&](const char* name, auto& t) {
        CAPTURE(std::string(name));
        CAPTURE(tensor);
        double worst = 0;
        REQUIRE(t.size() == exact[tensor].size());
        for (std::size_t i = 0; i < t.size(); ++i) {
            t[i].d = 1;
            test::detail::widen(worst, exact[tensor][i], dual().d);
            t[i].d = 0;
        }
        CHECK(worst <= 1e-12 * scale);
        ++tensor;
    });
}

// ---- written out ----
using list = std::vector<double>;
double dot(const double* a, const double* b, long n) {
    double s = 0;
    for (long i = 0; i < n; ++i) s += a[i] * b[i];
    return s;
}
/// One layer on one token: x [4], the logits of the layer before (or none) -> y with the residual; logits and probabilities.
template <class Model> list token_by_hand(const weights<Model, double>& w, const list& x, const list& before, list& logit, list& p) {
    const long H = 4, F = 3, E = 8;
    logit.clear(), p.clear();
    double sum = 0;
    for (long e = 0; e < E; ++e) {
        logit.push_back(dot(&w.router[static_cast<std::size_t>(e * H)], x.data(), H));
        if (!before.empty()) logit.back() += dot(&w.learned[static_cast<std::size_t>(e * E)], before.data(), E);
        sum += std::exp(logit.back());
    }
    for (const double l : logit) p.push_back(std::exp(l) / sum);
    list y = x, rest = p;
    for (int k = 0; k < 2; ++k) {
        const long e = std::max_element(rest.begin(), rest.end()) - rest.begin();
        const double weight = p[static_cast<std::size_t>(e)];
        rest[static_cast<std::size_t>(e)] = -1;
        list out(4);
        if (e < 3) {
            for (long f = 0; f < F; ++f) {
                const double g = dot(&w.experts.gate[static_cast<std::size_t>((e * F + f) * H)], x.data(), H);
                const double a = g / (1 + std::exp(-g)) * dot(&w.experts.up[static_cast<std::size_t>((e * F + f) * H)], x.data(), H);
                for (long h = 0; h < H; ++h) out[static_cast<std::size_t>(h)] += a * w.experts.down[static_cast<std::size_t>((e * H + h) * F + f)];
            }
        } else if (e == 4) {
            out = x;
        } else if (e == 5) {
            for (std::size_t h = 0; h < 4; ++h) out[h] = w.constant[h];
        } else if (e > 5) {
            const double* const own = &w.constant[static_cast<std::size_t>(4 + 12 * (e - 6))];
            const double a = std::exp(dot(own, x.data(), H)), b = std::exp(dot(own + 4, x.data(), H));
            for (std::size_t h = 0; h < 4; ++h) out[h] = a / (a + b) * x[h] + b / (a + b) * own[8 + h];
        }
        for (std::size_t h = 0; h < 4; ++h) y[h] += weight * out[h];
    }
    return y;
}
}  // namespace

TEST_CASE_TEMPLATE("gradients of experts that blend", Model, blended, blended_input, bounded) {
    const bool padding[] = {false, false, true, false, false, false, true, false, false, false, false, false};
    for (const long T : {0, 1, 12}) test::check_gradients<Model>(T);
    test::check_gradients<Model>(12, {.padding = padding});
}

TEST_CASE_TEMPLATE("gradients through three layers that pass their logits on", Pair, std::pair<first_layer, next_layer>,
                   std::pair<first_without_loss, next_without_loss>, std::pair<first_layer, back_layer>) {
    const bool padding[] = {false, true, false, false, false};
    for (const long T : {0, 1, 5}) check_chain<typename Pair::first_type, typename Pair::second_type>(T);
    check_chain<typename Pair::first_type, typename Pair::second_type>(5, {.padding = padding});
}

TEST_CASE("MoE++ written out: three layers, their logits and their losses") {
    chain<first_layer, next_without_loss, double> c(30, {});
    c();
    double P[8] = {}, count[8] = {};
    int seen[8] = {};
    for (long t = 0; t < c.T; ++t) {
        list x(c.x.begin() + t * 4, c.x.begin() + t * 4 + 4), none, a, b, d, p;
        list y = token_by_hand(c.w1, x, none, a, p);
        for (std::size_t e = 0; e < 8; ++e) P[e] += p[e] / 30;
        for (long k = 0; k < 2; ++k) count[c.tape1.gate.choice.expert[2 * t + k]] += 1;
        y = token_by_hand(c.w2, y, a, b, p);
        y = token_by_hand(c.w3, y, b, d, p);
        for (long k = 0; k < 2; ++k) ++seen[c.tape3.gate.choice.expert[2 * t + k]];
        for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(c.y3[static_cast<std::size_t>(t * 4) + i] - y[i]) < 1e-12);
        for (std::size_t e = 0; e < 8; ++e) {
            CHECK(std::abs(c.g1[static_cast<std::size_t>(t * 8) + e] - a[e]) < 1e-13);
            CHECK(std::abs(c.g2[static_cast<std::size_t>(t * 8) + e] - b[e]) < 1e-12);
            CHECK(std::abs(c.g3[static_cast<std::size_t>(t * 8) + e] - d[e]) < 1e-12);
        }
    }
    for (const int n : seen) CHECK(n > 0);  // every kind was there
    double sum = 0;
    for (int e = 0; e < 8; ++e) sum += (e < 3 ? 1 : 0.6) * count[e] / 30 * P[e];
    CHECK(std::abs(c.on(c.w1).loss(c.tape1) - 0.5 * sum) < 1e-14);
}

TEST_CASE("heterogeneous_capacity: rooms by kind, in order of choice") {
    // ratio N + Z = 0.5 x 2 + 3 = 4: 8 tokens at factor 1 give 1 row to the feed-forward experts, 2 to the others
    const heterogeneous_capacity c{3, 1, 0.5};
    CHECK(c.room(8, 0, 5) == 1);
    CHECK(c.room(8, 1, 5) == 1);
    CHECK(c.room(8, 2, 5) == 2);
    CHECK(c.room(8, 4, 5) == 2);
    CHECK(c.room(9, 0, 5) == 2);  // up
    CHECK(c.room(9, 2, 5) == 3);
    CHECK(heterogeneous_capacity{0, 1, 0.75}.room(8, 0, 4) == 2);
    int expert[] = {0, 2, 0, 2, 1, 2, 2, 0, 3, 1, no_expert, 2, 4, 3, 4, 4};
    buffer<long> counters;
    buffer<rank<double>> ranks;
    const double weight[16] = {}, score[40] = {};
    const batch side;
    c.decide(crowd<double>{8, 5, 2, score, weight, expert, &side, &counters, &ranks});
    const int kept[] = {0, 2, no_expert, no_expert, 1, no_expert, 2, no_expert, 3, no_expert, no_expert, no_expert, 4, 3, 4, no_expert};
    for (int i = 0; i < 16; ++i) CHECK(expert[i] == kept[i]);
    CHECK(c.fits(5, 2));
    CHECK(!c.fits(2, 2));
    CHECK(!heterogeneous_capacity{1, 1, 0}.fits(5, 2));
}

TEST_CASE("logits that are passed on: what does not fit is refused, and what is not asked for is not written") {
    const auto w = random_weights<next_layer, double>(3);
    const layer<next_layer, double, backend::reference> l(w);
    std::vector<double> x(8, 0.5), y(8, -7), g(16, 1), dx(8);
    tape<double> tp;
    const auto forward = [&] { l.forward({x.data(), 2, 4}, {y.data(), 2, 4}, tp); };
    CHECK_THROWS_WITH_AS(forward(), "guild::layer: passed.previous is [0, 0], expected [2, 8]", shape_error);
    tp.passed.previous = {g.data(), 2, 7};
    CHECK_THROWS_WITH_AS(forward(), "guild::layer: passed.previous is [2, 7], expected [2, 8]", shape_error);
    tp.passed.previous = {g.data(), 2, 8};
    tp.passed.own = {g.data(), 1, 8};
    CHECK_THROWS_WITH_AS(forward(), "guild::layer: passed.own is [1, 8], expected [2, 8]", shape_error);
    tp.passed.own = {g.data(), 2, 8};
    CHECK_THROWS_WITH_AS(forward(), "guild::layer: passed.own and passed.previous overlap, expected separate memory", argument_error);
    CHECK(y == std::vector<double>(8, -7));
    tp.passed.own = {};
    forward();
    CHECK(g == std::vector<double>(16, 1));
    weights<next_layer, double> grad;
    const auto backward = [&] { l.backward({y.data(), 2, 4}, {dx.data(), 2, 4}, grad, tp); };
    tp.passed.d_own = {g.data(), 2, 6};
    CHECK_THROWS_WITH_AS(backward(), "guild::layer: passed.d_own is [2, 6], expected [2, 8]", shape_error);
    tp.passed.d_own = {};
    tp.passed.d_previous = {g.data(), 3, 8};
    CHECK_THROWS_WITH_AS(backward(), "guild::layer: passed.d_previous is [3, 8], expected [2, 8]", shape_error);
    tp.passed.d_previous = {};
    backward();
}
