#include <guild/balance/weight_losses.hpp>

#include <support/sight.hpp>

#include <cmath>

using namespace guild;
using test::sight;

TEST_CASE("importance_loss: the squared coefficient of variation of the sums of weights. Shazeer et al. 2017, equations 6 and 7") {
    test::check_loss(
        [](const sight& s) {
            return importance_loss{.weight = s.d.uniform(31, 0), .unbiased = s.d.chance(32, 0.5), .epsilon = s.d.chance(33, 0.5) ? 0 : 1e-3};
        },
        [](const sight& s, const importance_loss& loss) {
            std::vector<double> importance(static_cast<std::size_t>(s.E));
            for (long t = 0; t < s.T; ++t)
                for (int k = 0; k < s.W; ++k)
                    if (s.given(t, k) != no_expert) importance[static_cast<std::size_t>(s.given(t, k))] += s.weight(t, k);
            double mean = 0, variance = 0;
            for (const double i : importance) mean += i / s.E;
            for (const double i : importance) variance += (i - mean) * (i - mean) / (loss.unbiased ? s.E - 1 : s.E);
            return mean == 0 ? 0 : loss.weight * variance / (mean * mean + loss.epsilon);
        });
}
TEST_CASE("l1_loss: the mean sum of a token's weights, or each times the load of its expert. ReMoE, equations 7 to 11") {
    test::check_loss([](const sight& s) { return l1_loss{.weight = s.d.uniform(31, 0), .balanced = s.d.chance(32, 0.5)}; },
                     [](const sight& s, const l1_loss& loss) {
                         double sum = 0;
                         for (int e = 0; e < s.E; ++e) {
                             double f = 0, total = 0;
                             for (long t = 0; t < s.T; ++t)
                                 for (int k = 0; k < s.W; ++k)
                                     if (s.given(t, k) == e) {
                                         f += s.E / (s.K * s.tokens());
                                         total += s.weight(t, k);
                                     }
                             sum += (loss.balanced ? f : 1) * total / s.tokens();
                         }
                         return loss.weight * sum;
                     });
}
TEST_CASE("adapted_l1: lambda moves towards the target sparsity. ReMoE, equation 8") {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const int E = d.number(0, 1, 12), K = d.number(1, 1, E);
        const long T = d.number(2, 1, 30), active = seed % 5 == 0 ? T * K : d.number(3, 0, static_cast<int>(T) * E);
        const double lambda = d.uniform(4, 0), alpha = 1 + d.uniform(5, 0);
        // sparsity is the share of idle pairs of token and expert
        const long idle = T * E - active, target = T * (E - K);
        const double sign = target > idle ? 1 : target < idle ? -1 : 0;
        CHECK(adapted_l1(lambda, active, T, E, K, alpha) == doctest::Approx(lambda * std::pow(alpha, sign)).epsilon(1e-14));
    }
    CHECK(adapted_l1(0.5, 0, 0, 4, 2) == 0.5);
    CHECK(adapted_l1(1, 9, 4, 4, 2) == 1.2);
}
