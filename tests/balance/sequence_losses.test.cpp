#include <guild/balance/sequence_losses.hpp>

#include <support/sight.hpp>

#include <algorithm>

using namespace guild;
using test::sight;

namespace {
/// f(begin, end) for the sequences that have tokens; how many these are.
double each_sequence(const sight& s, auto f) {
    const std::vector<int> whole{0, static_cast<int>(s.T)}, &bound = s.side.sequence.empty() ? whole : s.bound;
    double n = 0;
    for (std::size_t b = 0; b + 1 < bound.size(); ++b)
        if (s.tokens(bound[b], bound[b + 1]) > 0) {
            f(bound[b], bound[b + 1]);
            ++n;
        }
    return n;
}
/// Whether e is among the K largest scores of a token.
bool among_best(const sight& s, long t, int e) {
    int better = 0;
    for (int i = 0; i < s.E; ++i) better += s.score(t, i) > s.score(t, e) || (s.score(t, i) == s.score(t, e) && i < e);
    return better < s.K;
}
}  // namespace

TEST_CASE("sequence_loss: DeepSeek-V3, equations 17 to 20, in each sequence, by the best scores or by what was asked") {
    for (const counted by : {counted::unbiased, counted::realised})
        test::check_loss([&](const sight& s) { return sequence_loss{.weight = s.d.uniform(31, 0), .by = by}; },
                         [&](const sight& s, const sequence_loss& loss) {
                             double sum = 0;
                             const double n = each_sequence(s, [&](long begin, long end) {
                                 const double T = s.tokens(begin, end);
                                 for (int e = 0; e < s.E; ++e) {
                                     double f = 0, P = 0;
                                     for (long t = begin; t < end; ++t) {
                                         if (s.padded(t)) continue;
                                         double mass = 0;
                                         for (int i = 0; i < s.E; ++i) mass += s.score(t, i);
                                         P += s.score(t, e) / mass / T;
                                         f += s.E / (s.K * T) * among_best(s, t, e);
                                     }
                                     if (by == counted::realised) f = s.E / (s.K * T) * s.requests(e, begin, end);
                                     sum += f * P;
                                 }
                             });
                             return loss.weight * sum / n;
                         });
}
TEST_CASE("sequence_loss: a token whose scores all underflow adds nothing") {
    const double score[] = {0, 0, 0.5, 0.25};
    const int expert[] = {0, 0};
    const batch side;
    scratch memory;
    double d[4] = {};
    const routing<double> r{2, 1, 1, {score, 2, 2}, {score, 2, 2}, {score, 2, 1}, expert, expert, &side, {}, {}, 0, &memory};
    CHECK(balance::value(sequence_loss{.weight = 1}, r) == doctest::Approx(2. / 3).epsilon(1e-15));
    balance::backward(sequence_loss{.weight = 1}, r, routing_gradient<double>{{d, 2, 2}, {d, 2, 2}, {}});
    CHECK((d[0] == 0 && d[1] == 0));
}
TEST_CASE("global_batch_loss: loads of the whole batch, scores of each of its parts. arXiv:2501.11873, equations 4 to 6") {
    test::check_loss([](const sight& s) { return global_batch_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const sight& s, const global_batch_loss& loss) {
                         double sum = 0;
                         const double n = each_sequence(s, [&](long begin, long end) {
                             for (int e = 0; e < s.E; ++e) {
                                 double P = 0;
                                 for (long t = begin; t < end; ++t) P += s.padded(t) ? 0 : s.score(t, e) / s.tokens(begin, end);
                                 sum += s.E / (s.K * s.tokens()) * s.requests(e) * P;
                             }
                         });
                         return loss.weight * sum / n;
                     });
}
