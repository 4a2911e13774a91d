#include "../initialise.hpp"
#include "../optimiser.hpp"

#include <doctest/doctest.h>

using namespace language_model;

namespace {

const guild::thread_pool pool{2};
const threads team{pool};

}  // namespace

TEST_CASE("the learning rate rises in a line, falls in half a cosine, and the rise does not depend on the length of the run") {
    const schedule s{.rate = 2, .warm_up = 4, .last = 0.1};
    CHECK(s.at(0, 100) == doctest::Approx(0.5));
    CHECK(s.at(3, 100) == doctest::Approx(2));
    CHECK(s.at(3, 0) == doctest::Approx(2));
    CHECK(s.at(4, 104) == doctest::Approx(2));
    CHECK(s.at(54, 104) == doctest::Approx(1.1));
    CHECK(s.at(104, 104) == doctest::Approx(0.2));
}

TEST_CASE("AdamW against the formulas, two steps, a matrix that decays and a vector that does not") {
    std::vector<double> w{1, -2, 3}, g{0.3, -0.4, 1.2}, v{5}, gv{0};  // length of the gradient: 1.3
    parameters<double> weights, gradient;
    weights.add("m", w.data(), 1, 3), weights.add("v", v.data(), 0, 1);
    gradient.add("m", g.data(), 1, 3), gradient.add("v", gv.data(), 0, 1);
    adamw<double> optimiser(weights);
    std::vector<double> expected = w, mean(3), square(3);
    for (int t = 1; t <= 2; ++t) {
        CHECK(optimiser.step(team, weights, gradient, 0.01) == doctest::Approx(1.3));
        for (std::size_t i = 0; i < 3; ++i) {
            const double d = g[i] / 1.3;  // clipped to length 1
            mean[i] = 0.9 * mean[i] + 0.1 * d;
            square[i] = 0.95 * square[i] + 0.05 * d * d;
            expected[i] *= 1 - 0.01 * 0.1;
            expected[i] -= 0.01 * mean[i] / (1 - std::pow(0.9, t)) / (std::sqrt(square[i] / (1 - std::pow(0.95, t))) + 1e-8);
            CHECK(w[i] == doctest::Approx(expected[i]).epsilon(1e-12));
        }
        CHECK(v[0] == 5);  // neither gradient nor decay
    }
}

TEST_CASE("AdamW finds the bottom of a bowl, with tensors that are no multiple of anything") {
    std::vector<double> w(131, 1), g(131);
    parameters<double> weights, gradient;
    weights.add("m", w.data(), 1, 131);
    gradient.add("m", g.data(), 1, 131);
    adamw<double> optimiser(weights);
    optimiser.decay = 0;
    const auto bottom = [](std::size_t i) { return static_cast<double>(i) / 131; };
    for (int step = 0; step < 2000; ++step) {
        for (std::size_t i = 0; i < w.size(); ++i) g[i] = (w[i] - bottom(i));
        optimiser.step(team, weights, gradient, 0.02 * (1 - step / 2000.0));
    }
    for (std::size_t i = 0; i < w.size(); ++i) CHECK(w[i] == doctest::Approx(bottom(i)).epsilon(1e-3));
}

TEST_CASE("first weights: gains 1, matrices with the variance stated, another seed other numbers") {
    std::vector<float> a(40000), b(40000), gain(8);
    parameters<float> p, q;
    p.add("a.q_proj.weight", a.data(), 400, 100), p.add("model.norm.weight", gain.data(), 0, 8);
    q.add("a.q_proj.weight", b.data(), 400, 100);
    initialise(p, 4, false, 1);
    initialise(q, 4, false, 1);
    CHECK(a == b);
    initialise(q, 4, false, 2);
    CHECK(a != b);
    double sum = 0, square = 0;
    for (const float x : a) sum += static_cast<double>(x), square += static_cast<double>(x) * static_cast<double>(x);
    CHECK(std::abs(sum / 40000) < 0.002);
    CHECK(square / 400 == doctest::Approx(1).epsilon(0.01));  // variance 1 / 100
    for (const float x : gain) CHECK(x == 1);
}
