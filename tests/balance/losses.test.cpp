#include <guild/balance/adjoint.hpp>
#include <guild/balance/losses.hpp>
#include <guild/core/random.hpp>

#include <doctest/doctest.h>
#include <support/sight.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

using namespace guild;

namespace {
scratch memory;

using numbers = std::vector<double>;

/// What a loss is shown: T tokens, E experts and X extra logits, K of W slots used; some tokens are padding, some choices dropped.
struct sight {
    int E = 6, X = 2, W = 3, K = 3;
    long T = 11;
    std::array<bool, 16> pad{};
    std::vector<int> expert, wanted;
    numbers logit, score, weight;
    batch side;

    sight() {
        pad[2] = pad[9] = true;
        side.padding = {pad.data(), static_cast<std::size_t>(T)};
        for (long i = 0; i < T * (E + X); ++i) logit.push_back(2 * normal(6, 0, 0, i));
        for (long i = 0; i < T * E; ++i) score.push_back(uniform(6, 1, 0, i));
        for (long i = 0; i < T * W; ++i) weight.push_back(uniform(6, 2, 0, i));
        for (long t = 0; t < T; ++t)
            for (int k = 0; k < W; ++k) {
                const int e = pad[static_cast<std::size_t>(t)] || (t == 4 && k == 2) ? no_expert : static_cast<int>((t * t + 2 * k) % E);
                wanted.push_back(e);
                expert.push_back(t == 5 ? no_expert : e);  // all dropped: the losses look at what was wanted
            }
    }
    sight(const sight&) = delete;
    template <class S = double> routing<S> seen(const std::vector<S>& l, const std::vector<S>& s, const std::vector<S>& w) const {
        return {E, W, K, {l.data(), T, E + X}, {s.data(), T, E}, {w.data(), T, W}, expert.data(), wanted.data(), &side, {}, {}, 0, &memory};
    }
    routing<double> seen() const { return seen<double>(logit, score, weight); }
    bool padded(long t) const { return pad[static_cast<std::size_t>(t)]; }
    double tokens() const {
        double n = 0;
        for (long t = 0; t < T; ++t) n += !padded(t);
        return n;
    }
    /// sum_i f_i P_i with f_i from the chosen slots of each token.
    double load_times_score(const std::function<double(int, int)>& count_of_slot) const {
        double sum = 0;
        for (int e = 0; e < E; ++e) {
            double f = 0, P = 0;
            for (long t = 0; t < T; ++t) {
                for (int k = 0; k < W; ++k)
                    if (wanted[static_cast<std::size_t>(t * W + k)] == e) f += count_of_slot(e, k);
                if (!padded(t)) P += score[static_cast<std::size_t>(t * E + e)] / tokens();
            }
            sum += f * P;
        }
        return sum;
    }
};
bool close(const numbers& a, const numbers& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::abs(a[i] - b[i]) <= 1e-14 * (1 + std::abs(b[i])))) return false;
    return a.size() == b.size();
}
struct gradient {
    numbers logit, score, weight;
    explicit gradient(const sight& s, double start = 0)
        : logit(s.logit.size(), start), score(s.score.size(), start), weight(s.weight.size(), start) {}
    routing_gradient<double> to(const sight& s) { return {{logit.data(), s.T, s.E + s.X}, {score.data(), s.T, s.E}, {weight.data(), s.T, s.W}}; }
};
template <class Loss> gradient by_duals(const Loss& loss, const sight& s) {
    std::vector<dual<double>> l(s.logit.begin(), s.logit.end()), c(s.score.begin(), s.score.end()), w(s.weight.begin(), s.weight.end());
    const auto each = [&](auto& in) {
        numbers d;
        for (auto& number : in) {
            number.d = 1;
            d.push_back(loss.value(s.seen<dual<double>>(l, c, w)).d);
            number.d = 0;
        }
        return d;
    };
    gradient g(s);
    g.logit = each(l);
    g.score = each(c);
    g.weight = each(w);
    return g;
}
/// Another loss without its adjoint.
template <class Loss> struct bare {
    Loss loss;
    double weight = loss.weight;
    template <class S> S value(const routing<S>& r) const { return loss.value(r); }
};
template <class Loss> void exact_gradient(const Loss& loss) {
    const sight s;
    const gradient expected = by_duals(loss, s);
    for (const double start : {0., 1.}) {
        gradient own(s, start), derived(s, start), sum(s, start);
        for (auto list : {&gradient::logit, &gradient::score, &gradient::weight})
            for (std::size_t i = 0; i < (sum.*list).size(); ++i) (sum.*list)[i] += (expected.*list)[i];
        balance::backward(loss, s.seen(), own.to(s));
        balance::backward(bare<Loss>{loss}, s.seen(), derived.to(s));
        for (auto list : {&gradient::logit, &gradient::score, &gradient::weight}) {
            CHECK(close(own.*list, sum.*list));
            CHECK(close(derived.*list, sum.*list));
        }
    }
}
/// A loss on equal scores and counts, T a multiple of E.
template <class Loss> double at_uniform(const Loss& loss, int E, int K) {
    const long T = 5 * E;
    numbers score(static_cast<std::size_t>(T * E), 1. / E), weight(static_cast<std::size_t>(T * K));
    std::vector<int> expert;
    for (long i = 0; i < T * K; ++i) expert.push_back(static_cast<int>((i / K + i % K) % E));
    const batch side;
    const view<const double> scores(score.data(), T, E);
    return loss.value(routing<double>{E, K, K, scores, scores, {weight.data(), T, K}, expert.data(), expert.data(), &side, {}, {}, 0, &memory});
}
}  // namespace

TEST_CASE("expert_loss: DeepSeekMoE, equations 12 to 14, without the padding") {
    const sight s;
    const double expected = s.load_times_score([&](int, int) { return s.E / (s.K * s.tokens()); });
    CHECK(expert_loss{.weight = 1}.value(s.seen()) == doctest::Approx(expected).epsilon(1e-14));
    CHECK(expert_loss{.weight = 0.003}.value(s.seen()) == doctest::Approx(0.003 * expected).epsilon(1e-14));
    exact_gradient(expert_loss{.weight = 0.7});
    for (const int E : {1, 4, 9})
        for (int K = 1; K <= E; K += 2) CHECK(at_uniform(expert_loss{.weight = 0.25}, E, K) == doctest::Approx(0.25));
}
TEST_CASE("switch_loss: Switch Transformer, equations 4 to 6, first choices") {
    const sight s;
    const double expected = s.load_times_score([&](int, int k) { return k == 0 ? s.E / s.tokens() : 0; });
    CHECK(switch_loss{.weight = 1}.value(s.seen()) == doctest::Approx(expected).epsilon(1e-14));
    CHECK(switch_loss{}.value(s.seen()) == doctest::Approx(0.01 * expected).epsilon(1e-14));
    exact_gradient(switch_loss{.weight = 0.7});
    CHECK(at_uniform(switch_loss{.weight = 1}, 8, 1) == doctest::Approx(1));
    CHECK(at_uniform(switch_loss{.weight = 1}, 8, 3) == doctest::Approx(1));
}
TEST_CASE("balance: scores that follow an uneven load cost more than uniform ones") {
    // softmax scores p, and of the tokens a share p_i goes to expert i: E sum p_i^2, least where all are equal
    for (const double skew : {0., 0.1, 0.5, 1.}) {
        numbers score;
        std::vector<int> expert;
        const batch side;
        const double heavy = 0.25 + 0.75 * skew, light = (1 - heavy) / 3;
        for (int t = 0; t < 400; ++t) {
            for (int e = 0; e < 4; ++e) score.push_back(e == 0 ? heavy : light);
            expert.push_back(t < 400 * heavy ? 0 : 1 + t % 3);
        }
        const numbers weight(400);
        const view<const double> scores(score.data(), 400, 4);
        const routing<double> r{4, 1, 1, scores, scores, {weight.data(), 400, 1}, expert.data(), expert.data(), &side, {}, {}, 0, &memory};
        const double expected = 4 * (heavy * heavy + 3 * light * light);
        CHECK(expert_loss{.weight = 1}.value(r) == doctest::Approx(expected).epsilon(1e-3));
        CHECK(switch_loss{.weight = 1}.value(r) == doctest::Approx(expected).epsilon(1e-3));
        CHECK((skew == 0 || expected > 1.001));
    }
}
TEST_CASE("z_loss: the mean square of the logarithm of the partition function") {
    const sight s;
    double expected = 0;
    for (long t = 0; t < s.T; ++t) {
        double sum = 0;
        for (int e = 0; e < s.E; ++e) sum += std::exp(s.logit[static_cast<std::size_t>(t * (s.E + s.X) + e)]);
        if (!s.padded(t)) expected += std::log(sum) * std::log(sum) / s.tokens();
    }
    CHECK(z_loss{.weight = 1}.value(s.seen()) == doctest::Approx(expected).epsilon(1e-14));
    exact_gradient(z_loss{.weight = 0.7});

    const batch side;  // logits far beyond what exp can hold
    const double logit[] = {1000, 1000, 0, -2000, -2000, -2001};
    double d[6] = {};
    const routing<double> r{3, 1, 1, {logit, 2, 3}, {logit, 2, 3}, {}, nullptr, nullptr, &side, {}, {}, 0, &memory};
    const double z0 = 1000 + std::log(2.), z1 = -2000 + std::log(2 + std::exp(-1.));
    CHECK(z_loss{.weight = 1}.value(r) == doctest::Approx((z0 * z0 + z1 * z1) / 2).epsilon(1e-14));
    balance::backward(z_loss{.weight = 1}, r, routing_gradient<double>{{d, 2, 3}, {}, {}});
    CHECK(d[0] == doctest::Approx(z0 / 2));
    CHECK(d[2] == 0);
    CHECK(d[3] + d[4] + d[5] == doctest::Approx(z1));
}
TEST_CASE("balance: without tokens every loss is 0 and has no gradient") {
    bool all[] = {true, true};
    const batch padded{.padding = all}, none;
    const double numbers_of[] = {1, 2, 3, 4};
    const int holes[] = {no_expert, no_expert};
    double d[4] = {};
    for (const long T : {0L, 2L}) {
        const batch& side = T == 0 ? none : padded;
        const routing<double> r{2, 1, 1, {numbers_of, T, 2}, {numbers_of, T, 2}, {numbers_of, T, 1}, holes, holes, &side, {}, {}, 0, &memory};
        const routing_gradient<double> g{{d, T, 2}, {d, T, 2}, {d, T, 1}};
        const auto check = [&](const auto& loss) {
            CHECK(loss.value(r) == 0);
            loss.backward(r, g);
            CHECK(std::all_of(d, d + 4, [](double v) { return v == 0; }));
        };
        check(expert_loss{});
        check(switch_loss{});
        check(z_loss{});
    }
}
TEST_CASE("top_k_balance_loss: Hugging Face's, of the softmax of all logits, counts that sum to K; and the others on random batches") {
    test::check_loss([](const test::sight& s) { return top_k_balance_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const test::sight& s, const top_k_balance_loss& loss) {
                         double sum = 0;
                         for (int e = 0; e < s.E; ++e) {
                             double P = 0;
                             for (long t = 0; t < s.T; ++t) P += s.padded(t) ? 0 : s.probability(t, e) / s.tokens();
                             sum += s.requests(e) / s.tokens() * P;
                         }
                         return loss.weight * s.E * sum;
                     });
    test::check_loss([](const test::sight& s) { return expert_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const test::sight& s, const expert_loss& loss) {
                         double sum = 0;
                         for (int e = 0; e < s.E; ++e) sum += s.E / (s.K * s.tokens()) * s.requests(e) * s.mean_score(e);
                         return loss.weight * sum;
                     });
    test::check_loss([](const test::sight& s) { return switch_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const test::sight& s, const switch_loss& loss) {
                         double sum = 0;
                         for (int e = 0; e < s.E; ++e) {
                             double f = 0;
                             for (long t = 0; t < s.T; ++t) f += s.asked(t, 0) == e ? 1 / s.tokens() : 0;
                             sum += f * s.mean_score(e);
                         }
                         return loss.weight * s.E * sum;
                     });
    test::check_loss([](const test::sight& s) { return z_loss{.weight = s.d.uniform(31, 0)}; },
                     [](const test::sight& s, const z_loss& loss) {
                         double sum = 0;
                         for (long t = 0; t < s.T; ++t) {
                             double mass = 0;
                             for (int e = 0; e < s.E; ++e) mass += std::exp(s.logit(t, e));
                             sum += s.padded(t) ? 0 : std::pow(std::log(mass), 2) / s.tokens();
                         }
                         return loss.weight * sum;
                     });
}
