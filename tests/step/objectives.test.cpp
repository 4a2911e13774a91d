#include <guild/backend/host.hpp>
#include <guild/layer.hpp>
#include <guild/step/objectives.hpp>
#include <guild/weights/random.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace guild;

namespace {
/// The K best with capacity, so that slots are empty and tokens without an expert.
struct crowded_gate {
    constexpr auto stages() const { return pipeline{top_k{}, weigh{softmax{}}, capacity{0.8, rounding::down}}; }
};
template <class Gate> using mixture = dynamic_model<Gate, swiglu, plain_shared, 24>;

unsigned long long seed = 0;
double random(int stream, long i) { return normal(seed, stream, 0, i); }
int number(int stream, int least, int most) { return least + static_cast<int>(uniform(seed, stream, 1, 0) * (most - least + 1)); }

/// A mixture and a batch of it, drawn by `seed`.
template <class Gate, class S> struct scene {
    long T = number(1, 0, 7), H = number(2, 1, 5);
    mixture<Gate> m;
    weights<mixture<Gate>, S> w;
    long W;
    bool pad[8];
    std::vector<S> x, y, target;
    batch side;
    tape<S> tp;

    explicit scene(double distance)
        : m(numbers()), w(random_weights<mixture<Gate>, S>(seed, m)), W(m.extent().slots), x(size()), y(size()), target(size()) {
        for (long t = 0; t < T; ++t) pad[t] = uniform(seed, 3, t, 0) < 0.2;
        side.padding = {pad, static_cast<std::size_t>(T)};
        for (std::size_t i = 0; i < size(); ++i) {
            x[i] = S(random(4, static_cast<long>(i)));
            target[i] = S(distance * random(5, static_cast<long>(i)));
        }
    }
    scene(const scene&) = delete;
    mixture<Gate> numbers() const {
        const int E = number(6, 1, 5);
        return {
            .config = {.hidden = static_cast<int>(H), .expert_hidden = 3, .routed_experts = E, .top_k = number(7, 1, E), .expert_bias = E % 2 == 0}};
    }
    std::size_t size() const { return static_cast<std::size_t>(T * H); }
    auto layer() const { return guild::layer<mixture<Gate>, S, backend::reference>(w); }
    void forward() { layer().forward({x.data(), T, H}, {y.data(), T, H}, tp, side); }
    view<const S> wanted() const { return {target.data(), T, H}; }
    /// Weight of slot i, and where its expert's row is; null if the slot is empty.
    const S* row(long i) const {
        for (long r = 0; r < tp.plan.rows; ++r)
            if (tp.plan.slot[r] == i) return tp.rows.data() + r * H;
        return nullptr;
    }
    S likeliness(long i) const {
        S far(0);
        for (long h = 0; h < H; ++h) {
            const S off = target[static_cast<std::size_t>(i / W * H + h)] - row(i)[h];
            far += off * off;
        }
        return tp.gate.choice.weight[i] * guild::exp(S(-0.5) * far);
    }
    S evidence(long t) const {
        S sum(0);
        for (long i = t * W; i < (t + 1) * W; ++i)
            if (row(i)) sum += likeliness(i);
        return sum;
    }
    bool routed(long t) const {
        for (long i = t * W; i < (t + 1) * W; ++i)
            if (row(i)) return true;
        return false;
    }
    /// Equation 1.3 as it stands.
    S competition() {
        forward();
        S sum(0);
        for (long t = 0; t < T; ++t)
            if (routed(t)) sum -= guild::log(evidence(t));
        return sum;
    }
    /// Equation 1.1 as it stands.
    S cooperation() {
        forward();
        S sum(0);
        for (std::size_t i = 0; i < size(); ++i) sum += (target[i] - y[i]) * (target[i] - y[i]);
        return sum;
    }
    /// f(numbers) for x and each tensor.
    void each(auto f) {
        f(x);
        each_tensor([&](const char*, auto& t) { f(t); }, w);
    }
};

/// Derivative of `objective` along a random direction through x and all weights, by dual numbers, against that of `gradient`.
template <class Gate>
void same_slope(scene<Gate, double>& s, const std::vector<double>& dx, weights<mixture<Gate>, double>& grad, double distance, auto objective) {
    scene<Gate, dual<double>> along(distance);
    std::vector<const std::vector<double>*> own{&dx};
    each_tensor([&](const char*, auto& t) { own.push_back(&t); }, grad);
    for (int direction = 0; direction < 3; ++direction) {
        double expected = 0, length = 0;
        std::size_t tensor = 0;
        along.each([&](auto& t) {
            const auto& g = *own[tensor++];
            REQUIRE(g.size() == t.size());
            for (std::size_t i = 0; i < t.size(); ++i) {
                t[i].d = random(100 + 10 * direction + static_cast<int>(tensor), static_cast<long>(i));
                expected += t[i].d * g[i];
                length += std::abs(t[i].d * g[i]);
            }
        });
        const double found = objective(along).d;
        CAPTURE(found);
        CAPTURE(expected);
        CHECK(std::abs(found - expected) <= 1e-12 * (1 + length));
    }
    CHECK(std::equal(s.x.begin(), s.x.end(), along.x.begin(), [](double a, dual<double> b) { return a == b.v; }));
}

template <class Gate> void competes() {
    long empty = 0, idle = 0;
    for (seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const double distance = seed % 3 == 0 ? 3 : 0.7;
        scene<Gate, double> s(distance);
        const double expected = s.competition();
        std::vector<double> posterior(static_cast<std::size_t>(s.T * s.W), 9), dx(s.size()), same(s.size());
        const double found = mixture_likelihood(s.wanted(), s.tp, {posterior.data(), s.T, s.W});
        CHECK(found == doctest::Approx(expected).epsilon(1e-12));
        for (long t = 0; t < s.T; ++t) {
            double sum = 0;
            for (long i = t * s.W; i < (t + 1) * s.W; ++i) {
                const double h = posterior.data()[i], d = s.tp.d_weight[i];
                sum += h;
                empty += s.row(i) == nullptr;
                if (!s.row(i)) CHECK((h == 0 && d == 0));
                else CHECK(h == doctest::Approx(s.likeliness(i) / s.evidence(t)).epsilon(1e-12));
            }
            idle += !s.routed(t);
            CHECK(sum == doctest::Approx(s.routed(t) ? 1 : 0).epsilon(1e-14));
        }
        weights<mixture<Gate>, double> grad(s.m), again(s.m);
        s.layer().backward({dx.data(), s.T, s.H}, grad, s.tp);
        same_slope(s, dx, grad, distance, [](auto& along) { return along.competition(); });
        same_slope(s, dx, grad, distance, [](auto& along) {
            along.forward();
            return mixture_likelihood(along.wanted(), along.tp);
        });
        CHECK(mixture_likelihood(s.wanted(), s.tp) == found);  // what the tape held of a gradient does not matter
        s.layer().backward({same.data(), s.T, s.H}, again, s.tp);
        CHECK(same == dx);
    }
    CHECK(empty > 0);
    CHECK(idle > 0);
}
}  // namespace

TEST_CASE("mixture_likelihood: equation 1.3 of the dense mixture, its gradients and posteriors") { competes<dense_gate>(); }
TEST_CASE("mixture_likelihood: with empty slots and tokens without an expert") { competes<crowded_gate>(); }

TEST_CASE("blend_error: equation 1.1 and its gradients") {
    for (seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        scene<dense_gate, double> s(2);
        const double expected = s.cooperation();
        std::vector<double> dy(s.size(), 9), dx(s.size());
        const view<double> by(dy.data(), s.T, s.H), y(s.y.data(), s.T, s.H);
        CHECK(blend_error(s.wanted(), y, by) == doctest::Approx(expected).epsilon(1e-14));
        weights<mixture<dense_gate>, double> grad(s.m);
        s.layer().backward(by, {dx.data(), s.T, s.H}, grad, s.tp);
        same_slope(s, dx, grad, 2, [](auto& along) { return along.cooperation(); });
    }
}
TEST_CASE("mixture objectives: padded tokens may hold anything, and count as if they were not there") {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    for (seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        scene<crowded_gate, double> all(2);
        const auto h = static_cast<std::size_t>(all.H);
        std::vector<double> x, target;
        for (std::size_t t = 0; t < static_cast<std::size_t>(all.T); ++t)
            for (std::size_t i = t * h; i < (t + 1) * h; ++i) {
                if (all.pad[t]) all.x[i] = all.target[i] = nan;
                else x.push_back(all.x[i]), target.push_back(all.target[i]);
            }
        all.forward();
        const long n = static_cast<long>(x.size()) / all.H;
        std::vector<double> y(x.size()), dy(all.size(), 9), some_dy(x.size(), 9), dx(all.size()), some_dx(x.size());
        tape<double> tp;
        all.layer().forward({x.data(), n, all.H}, {y.data(), n, all.H}, tp);
        CHECK(blend_error(all.wanted(), {all.y.data(), all.T, all.H}, view<double>(dy.data(), all.T, all.H), all.side.padding) ==
              blend_error({target.data(), n, all.H}, {y.data(), n, all.H}, view<double>(some_dy.data(), n, all.H)));
        for (std::size_t t = 0, i = 0; t < static_cast<std::size_t>(all.T); ++t)
            for (std::size_t k = t * h; k < (t + 1) * h; ++k) CHECK(dy[k] == (all.pad[t] ? 0 : some_dy[i++]));
        CHECK(mixture_likelihood(all.wanted(), all.tp) == mixture_likelihood({target.data(), n, all.H}, tp));
        weights<mixture<crowded_gate>, double> grad(all.m), some_grad(all.m);
        all.layer().backward({dx.data(), all.T, all.H}, grad, all.tp);
        all.layer().backward({some_dx.data(), n, all.H}, some_grad, tp);
        each_tensor([](const char* name, const auto& a, const auto& b) { CHECK_MESSAGE(a == b, name); }, grad, some_grad);
        for (std::size_t t = 0, i = 0; t < static_cast<std::size_t>(all.T); ++t)
            for (std::size_t k = t * h; k < (t + 1) * h; ++k) CHECK(dx[k] == (all.pad[t] ? 0 : some_dx[i++]));
    }
    const bool one[1] = {};
    double x[6] = {}, dy[6];
    CHECK_THROWS_AS(blend_error({x, 3, 2}, {x, 3, 2}, view<double>{dy, 3, 2}, one), shape_error);
}
TEST_CASE("mixture_likelihood: no NaN and finite gradients at any distance, and with weights that underflow") {
    for (seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        for (const double distance : {1e3, 1e6, 1e15, 1e19, 1e25}) {
            CAPTURE(distance);
            scene<dense_gate, float> s(distance);
            for (float& r : s.w.router) r *= seed % 2 ? 1e4f : 1.f;
            s.forward();
            std::vector<float> posterior(static_cast<std::size_t>(s.T * s.W)), dx(s.size());
            const float found = mixture_likelihood(s.wanted(), s.tp, {posterior.data(), s.T, s.W});
            CHECK(found == found);  // a sum of tokens may be infinite
            for (long t = 0; t < s.T; ++t) {
                float sum = 0;
                for (long k = 0; k < s.W; ++k) sum += posterior.data()[t * s.W + k];
                CHECK(sum == doctest::Approx(s.pad[t] ? 0 : 1).epsilon(1e-5));
            }
            weights<mixture<dense_gate>, float> grad(s.m);
            s.layer().backward({dx.data(), s.T, s.H}, grad, s.tp);
            for (const float d : dx) CHECK(std::isfinite(d));
            each_tensor([](const char*, auto& t) { CHECK(std::all_of(t.begin(), t.end(), [](float d) { return std::isfinite(d); })); }, grad);
        }
    }
}
TEST_CASE("mixture_likelihood: equal experts, one weight, no tokens") {
    seed = 4;
    // two experts that return 0: sum p exp(-|target|^2 / 2) is exp(-|target|^2 / 2), whatever the weights
    mixture<dense_gate> m{.config = {.hidden = 2, .expert_hidden = 1, .routed_experts = 2, .top_k = 1}};
    auto w = random_weights<mixture<dense_gate>, double>(1, m);
    std::fill(w.experts.down.begin(), w.experts.down.end(), 0.0);
    const layer<mixture<dense_gate>, double, backend::reference> l{w};
    const double x[] = {1, 2, -1, 0.5}, target[] = {3, 4, 0, 1};
    double y[4], posterior[4];
    tape<double> tp;
    l.forward({x, 2, 2}, {y, 2, 2}, tp);
    CHECK(mixture_likelihood({target, 2, 2}, tp, {posterior, 2, 2}) == doctest::Approx(12.5 + 0.5).epsilon(1e-15));
    for (long i = 0; i < 4; ++i) {
        CHECK(posterior[i] == doctest::Approx(tp.gate.choice.weight[i]).epsilon(1e-15));
        CHECK(tp.d_weight[i] == doctest::Approx(-1).epsilon(1e-15));
    }
    l.forward({x, 0, 2}, {y, 0, 2}, tp);
    CHECK(mixture_likelihood({target, 0, 2}, tp) == 0);
}
TEST_CASE("mixture objectives: wrong arguments are named") {
    mixture<dense_gate> m{.config = {.hidden = 2, .expert_hidden = 1, .routed_experts = 2, .top_k = 1}};
    const auto w = random_weights<mixture<dense_gate>, double>(1, m);
    const layer<mixture<dense_gate>, double, backend::reference> l{w};
    double x[6] = {}, y[6], other[6] = {};
    tape<double> tp;
    CHECK_THROWS_AS(mixture_likelihood({other, 3, 2}, tp), argument_error);  // no forward yet
    l.forward({x, 3, 2}, {y, 3, 2}, tp);
    CHECK_NOTHROW(mixture_likelihood({other, 3, 2}, tp));
    CHECK_THROWS_AS(mixture_likelihood({other, 2, 2}, tp), shape_error);
    CHECK_THROWS_AS(mixture_likelihood({other, 3, 1}, tp), shape_error);
    CHECK_THROWS_AS(mixture_likelihood({nullptr, 3, 2}, tp), argument_error);
    CHECK_THROWS_AS(mixture_likelihood({other, 3, 2}, tp, {y, 3, 1}), shape_error);
    CHECK_THROWS_AS(mixture_likelihood({other, 3, 2}, tp, {other, 3, 2}), argument_error);
    CHECK_NOTHROW(blend_error({other, 3, 2}, {y, 3, 2}, view<double>{x, 3, 2}));
    CHECK_THROWS_AS(blend_error({other, 3, 2}, {y, 2, 2}, view<double>{x, 3, 2}), shape_error);
    CHECK_THROWS_AS(blend_error({other, 3, 2}, {y, 3, 2}, view<double>{x, 3, 1}), shape_error);
    CHECK_THROWS_AS(blend_error({other, 3, 2}, {y, 3, 2}, view<double>{other, 3, 2}), argument_error);
}
TEST_CASE("mixture_likelihood: a gate that weighs shared experts too has no gradient by these, whatever the tape went through before") {
    using shared_mixture = mixture<inkling_gate>;
    const shared_mixture m{.config = {.hidden = 3, .expert_hidden = 2, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, .gate = {.shared = 1}};
    const auto w = random_weights<shared_mixture, double>(1, m);
    const layer<shared_mixture, double, backend::reference> l{w};
    double x[15], y[15], target[15], dx[2][15] = {};
    for (int i = 0; i < 15; ++i) {
        x[i] = normal(1, 0, 0, i);
        target[i] = normal(1, 1, 0, i);
    }
    tape<double> fresh, used;
    weights<shared_mixture, double> ignored(m), first(m), second(m);
    l.forward({x, 5, 3}, {y, 5, 3}, used);
    l.backward({target, 5, 3}, {dx[0], 5, 3}, ignored, used);
    std::fill_n(dx[0], 15, 0.0);
    const auto learn = [&](tape<double>& tp, double* by, auto& grad) {
        l.forward({x, 5, 3}, {y, 5, 3}, tp);
        mixture_likelihood({target, 5, 3}, tp);
        l.backward({by, 5, 3}, grad, tp);
    };
    learn(fresh, dx[0], first);
    learn(used, dx[1], second);
    CHECK(std::equal(dx[0], dx[0] + 15, dx[1]));
    CHECK(first.router == second.router);
}
