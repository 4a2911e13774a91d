#include <guild/balance/spread_losses.hpp>

#include <support/sight.hpp>

#include <cmath>

using namespace guild;
using test::sight;

TEST_CASE("mutual_information_loss: entropy of the mean less the mean of entropies, of the softmax") {
    test::check_loss([](const sight& s) { return mutual_information_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const sight& s, const mutual_information_loss& loss) {
                         double joint = 0, each = 0;
                         for (int e = 0; e < s.E; ++e) {
                             double mean = 0;
                             for (long t = 0; t < s.T; ++t) {
                                 if (s.padded(t)) continue;
                                 const double p = s.probability(t, e);
                                 mean += p / s.tokens();
                                 each -= p * std::log(p) / s.tokens();
                             }
                             joint -= mean * std::log(mean);
                         }
                         return loss.weight * (each - joint);
                     });
}
TEST_CASE("mutual_information_loss: at most log E; probabilities that underflow are 0") {
    scratch memory;
    const batch side;
    const double sure[] = {0, -9000, -9000, -9000, 0, -9000, -9000, -9000, 0}, even[9] = {};
    const int none[] = {no_expert, no_expert, no_expert};
    for (const auto& [logit, tokens, expected] : {std::tuple{sure, 3L, -std::log(3)}, {sure, 1L, 0.}, {sure, 2L, -std::log(2)}, {even, 3L, 0.}}) {
        double d[9] = {};
        const view<const double> l{logit, tokens, 3};
        const routing<double> r{3, 1, 1, l, l, {logit, tokens, 1}, none, none, &side, {}, {}, 0, &memory};
        CHECK(balance::value(mutual_information_loss{.weight = 1}, r) == doctest::Approx(expected).epsilon(1e-14));
        balance::backward(mutual_information_loss{.weight = 1}, r, routing_gradient<double>{{d, tokens, 3}, {d, tokens, 3}, {}});
        for (const double g : d) CHECK(std::abs(g) < 1e-15);
    }
}
TEST_CASE("orthogonality_loss: squared cosines of the rows of the router, pair by pair") {
    test::check_loss([](const sight& s) { return orthogonality_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const sight& s, const orthogonality_loss& loss) {
                         double sum = 0;
                         for (int a = 0; a < s.E; ++a)
                             for (int b = a + 1; b < s.E; ++b) {
                                 double ab = 0, aa = 0, bb = 0;
                                 for (long h = 0; h < s.H; ++h) {
                                     ab += s.router(a, h) * s.router(b, h);
                                     aa += s.router(a, h) * s.router(a, h);
                                     bb += s.router(b, h) * s.router(b, h);
                                 }
                                 sum += std::pow(ab / std::sqrt(aa * bb), 2);
                             }
                         return loss.weight * sum;
                     });
}
TEST_CASE("orthogonality_loss: 0 with orthogonal rows; a row of zeros has no angle") {
    scratch memory;
    const batch side;
    const double logit[3] = {}, rows[] = {1, 1, 2, -2, 0, 0};
    double d[6] = {};
    const int none[] = {no_expert};
    const view<const double> l{logit, 1, 3};
    const routing<double> r{3, 1, 1, l, l, {logit, 1, 1}, none, none, &side, l, {rows, 0, 2}, 2, &memory};
    CHECK(balance::value(orthogonality_loss{.weight = 1}, r) == 0);
    balance::backward(orthogonality_loss{.weight = 1}, r, routing_gradient<double>{{}, {}, {}, {}, {d, 0, 2}});
    for (const double g : d) CHECK(g == 0);
}
