#include <properties/cases.hpp>
#include <guild/guild.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

// Balance losses on a routing that is drawn, and the bias update on a load that is drawn.

using namespace property;
using guild::no_expert;

namespace {
guild::scratch memory;

/// A routing of T tokens over E experts on D devices, K chosen: scores that add up to 1, equal loads or any.
struct sight {
    int E, K, D;
    long T;
    std::vector<double> logit, score, weight, raw, router;
    std::vector<int> expert;
    std::vector<int> sequence;
    std::array<bool, 64> pad{};
    guild::batch side;
    static constexpr long H = 3;

    sight(int experts, int top_k, long tokens, int devices) : E(experts), K(top_k), D(devices), T(tokens) {}
    /// Scores of random logits; any distinct K experts for each token; a third of them in another sequence.
    explicit sight(draws& d) : sight(d.integer(1, 12), 1, d.integer(1, 9), 1) {
        K = d.integer(1, E);
        do D = d.integer(1, E);
        while (E % D != 0);
        draw_scores(d);
        for (long t = 0; t < T; ++t) {
            const auto order = d.permutation(E);
            expert.insert(expert.end(), order.begin(), order.begin() + K);
        }
        const int cut = d.integer(0, static_cast<int>(T));
        sequence = {0, cut, static_cast<int>(T)};
        fill(d);
    }
    void draw_scores(draws& d) {
        logit = d.normals(T * E);
        for (long t = 0; t < T; ++t) {
            double sum = 0;
            for (int e = 0; e < E; ++e) sum += std::exp(logit[static_cast<std::size_t>(t * E + e)]);
            for (int e = 0; e < E; ++e) score.push_back(std::exp(logit[static_cast<std::size_t>(t * E + e)]) / sum);
        }
    }
    /// What is still missing.
    void fill(draws& d) {
        for (long i = 0; i < T * K; ++i) weight.push_back(d.real());
        raw = d.normals(T * 2 * E);
        router = d.normals(2 * E * H);
    }
    guild::routing<double> seen() {
        side.sequence = sequence;
        side.padding = {pad.data(), static_cast<std::size_t>(T)};
        return {.experts = E,
                .slots = K,
                .top_k = K,
                .logit = {logit.data(), T, E},
                .score = {score.data(), T, E},
                .weight = {weight.data(), T, K},
                .expert = expert.data(),
                .wanted = expert.data(),
                .side = &side,
                .raw = {raw.data(), T, 2 * E},
                .router = {router.data(), 0, H},
                .hidden = H,
                .memory = &memory};
    }
    template <class Loss> double value(const Loss& loss) { return guild::balance::value(loss, seen()); }
    /// f(loss) for every loss, its weight as given.
    template <class F> void each_loss(double w, F f) const {
        f(guild::expert_loss{.weight = w});
        f(guild::switch_loss{.weight = w});
        f(guild::top_k_balance_loss{.weight = w});
        f(guild::z_loss{.weight = w});
        f(guild::device_loss{.weight = w, .devices = D});
        f(guild::communication_loss{.weight = w, .devices = D, .reach = 1 + D / 2});
        f(guild::sequence_loss{.weight = w});
        f(guild::sequence_loss{.weight = w, .by = guild::counted::realised});
        f(guild::global_batch_loss{.weight = w});
        f(guild::importance_loss{.weight = w, .epsilon = 1e-10});
        f(guild::l1_loss{.weight = w});
        f(guild::l1_loss{.weight = w, .balanced = true});
        f(guild::noisy_load_loss{.weight = w, .epsilon = 1e-10});
        f(guild::mutual_information_loss{.weight = w});
        f(guild::orthogonality_loss{.weight = w});
    }
};
template <class T> std::vector<T> rows_of(const std::vector<T>& v, const std::vector<int>& order, std::size_t size) {
    std::vector<T> p;
    for (const int i : order) p.insert(p.end(), v.begin() + static_cast<long>(size) * i, v.begin() + static_cast<long>(size) * (i + 1));
    return p;
}
bool close(double a, double b, double tolerance = 1e-12) { return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b)); }

/// Tokens in random order of which every expert gets equally many, K of E experts each.
void equal_loads(sight& s, draws& d) {
    const auto token = d.permutation(static_cast<int>(s.T)), name = d.permutation(s.E);
    s.expert.clear();
    for (long t = 0; t < s.T; ++t)
        for (int k = 0; k < s.K; ++k) s.expert.push_back(name[static_cast<std::size_t>((token[static_cast<std::size_t>(t)] + k) % s.E)]);
}
}  // namespace

TEST_CASE("equal loads cost the stated value, whatever the softmax scores") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12);
        sight s(E, d.integer(1, E), long{E} * d.integer(1, 3), 1);
        do s.D = d.integer(1, E);
        while (E % s.D != 0);
        s.draw_scores(d);
        equal_loads(s, d);
        s.fill(d);
        const double w = 0.1 + d.real();
        bool good = close(s.value(guild::expert_loss{w}), w) && close(s.value(guild::switch_loss{w}), w) &&
                    close(s.value(guild::device_loss{w, s.D}), w) && close(s.value(guild::global_batch_loss{w}), w) &&
                    close(s.value(guild::sequence_loss{w, guild::counted::realised}), w) && close(s.value(guild::top_k_balance_loss{w}), w * s.K);
        std::fill(s.weight.begin(), s.weight.end(), d.real() + 0.1);
        good = good && close(s.value(guild::importance_loss{w}), 0) && close(s.value(guild::noisy_load_loss{w}), 0);
        REQUIRE(good);
    });
}

TEST_CASE("uniform scores cost the stated value, whatever the loads") {
    for_cases([](draws& d) {
        sight s(d);
        std::fill(s.score.begin(), s.score.end(), 1.0 / s.E);
        std::fill(s.logit.begin(), s.logit.end(), d.normal());
        const double w = 0.1 + d.real();
        REQUIRE(close(s.value(guild::expert_loss{w}), w));
        REQUIRE(close(s.value(guild::switch_loss{w}), w));
        REQUIRE(close(s.value(guild::device_loss{w, s.D}), w));
        REQUIRE(close(s.value(guild::global_batch_loss{w}), w));
        REQUIRE(close(s.value(guild::sequence_loss{w}), w));
        REQUIRE(close(s.value(guild::sequence_loss{w, guild::counted::realised}), w));
        REQUIRE(close(s.value(guild::top_k_balance_loss{w}), w * s.K));
        REQUIRE(std::abs(s.value(guild::mutual_information_loss{w})) <= 1e-13);
        std::fill(s.logit.begin(), s.logit.end(), 0.0);
        REQUIRE(close(s.value(guild::z_loss{w}), w * std::log(s.E) * std::log(s.E)));
    });
}

TEST_CASE("where scores follow the loads, balance losses are smallest at equal loads and there alone") {
    for_cases([](draws& d) {
        sight s(d);
        s.sequence.clear();
        std::vector<double> count(static_cast<std::size_t>(s.E)), first(count);
        for (std::size_t i = 0; i < s.expert.size(); ++i) {
            ++count[static_cast<std::size_t>(s.expert[i])];
            if (i % static_cast<std::size_t>(s.K) == 0) ++first[static_cast<std::size_t>(s.expert[i])];
        }
        const auto follow = [&](const std::vector<double>& load) {
            const double total = std::accumulate(load.begin(), load.end(), 0.0);
            for (std::size_t i = 0; i < s.score.size(); ++i) {
                s.score[i] = load[i % load.size()] / total;
                s.logit[i] = s.score[i] > 0 ? std::log(s.score[i]) : -1000;
            }
            return std::all_of(load.begin(), load.end(), [&](double l) { return l == load[0]; });
        };
        const auto least = [](bool equal, double value, double at_equal) { return equal ? close(value, at_equal) : value > at_equal * (1 + 1e-9); };
        const bool equal = follow(count);
        REQUIRE(least(equal, s.value(guild::expert_loss{1}), 1));
        REQUIRE(least(equal, s.value(guild::global_batch_loss{1}), 1));
        REQUIRE(least(equal, s.value(guild::sequence_loss{1, guild::counted::realised}), 1));
        REQUIRE(least(equal, s.value(guild::top_k_balance_loss{1}), s.K));
        std::vector<double> on_device(static_cast<std::size_t>(s.D));
        for (std::size_t e = 0; e < count.size(); ++e) on_device[e / (count.size() / on_device.size())] += count[e];
        const bool even = std::all_of(on_device.begin(), on_device.end(), [&](double l) { return l == on_device[0]; });
        REQUIRE(least(even, s.value(guild::device_loss{1, s.D}), 1));
        const bool first_equal = follow(first);
        REQUIRE(least(first_equal, s.value(guild::switch_loss{1}), 1));
    });
}

TEST_CASE("communication costs the stated value where every token reaches as many devices and all are reached equally") {
    for_cases([](draws& d) {
        const int D = d.integer(1, 4), size = d.integer(1, 3), M = d.integer(1, D);
        sight s(D * size, M * d.integer(1, size), long{D} * d.integer(1, 2), D);
        s.draw_scores(d);
        const auto device = d.permutation(D);
        for (long t = 0; t < s.T; ++t)
            for (int k = 0; k < s.K; ++k)  // K / M experts on each of M devices
                s.expert.push_back(device[static_cast<std::size_t>((t + k % M) % D)] * size + k / M);
        s.fill(d);
        const double w = 0.1 + d.real();
        REQUIRE(close(s.value(guild::communication_loss{w, D, M}), w));
        if (M < D) REQUIRE(close(s.value(guild::communication_loss{w, D, D}), w * M / D));  // who may reach more and does not pays less
    });
}

TEST_CASE("losses are not negative, and mutual information lies between -log E and 0") {
    for_cases([](draws& d) {
        sight s(d);
        for (double& l : s.logit) l *= 5;
        s.side.training = d.chance(0.5);
        bool good = true;
        s.each_loss(1, [&]<class Loss>(const Loss& loss) {
            const double value = s.value(loss);
            if constexpr (std::is_same_v<Loss, guild::mutual_information_loss>) good = good && value <= 1e-12 && value >= -std::log(s.E) - 1e-12;
            else good = good && value >= 0;
        });
        REQUIRE(good);
    });
}

TEST_CASE("a loss is proportional to its weight") {
    for_cases([](draws& d) {
        sight s(d);
        s.side.training = d.chance(0.5);
        const double factor = 5 * d.normal();
        std::vector<double> one, other;
        s.each_loss(1, [&](const auto& loss) { one.push_back(factor * s.value(loss)); });
        s.each_loss(factor, [&](const auto& loss) { other.push_back(s.value(loss)); });
        bool good = true;
        for (std::size_t i = 0; i < one.size(); ++i) good = good && close(one[i], other[i]);
        REQUIRE(good);
    });
}

TEST_CASE("a loss does not depend on the order of the tokens of one sequence") {
    for_cases([](draws& d) {
        sight s(d);
        s.sequence.clear();
        s.side.training = d.chance(0.5);
        std::vector<double> before, after;
        s.each_loss(1, [&](const auto& loss) { before.push_back(s.value(loss)); });
        const auto order = d.permutation(static_cast<int>(s.T));
        const auto E = static_cast<std::size_t>(s.E), K = static_cast<std::size_t>(s.K);
        s.logit = rows_of(s.logit, order, E);
        s.score = rows_of(s.score, order, E);
        s.weight = rows_of(s.weight, order, K);
        s.expert = rows_of(s.expert, order, K);
        s.raw = rows_of(s.raw, order, 2 * E);
        s.each_loss(1, [&](const auto& loss) { after.push_back(s.value(loss)); });
        bool good = true;
        for (std::size_t i = 0; i < before.size(); ++i) good = good && close(after[i], before[i]);
        REQUIRE(good);
    });
}

TEST_CASE("padding is in no loss and gets no gradient, whatever it holds") {
    for_cases([](draws& d) {
        sight s(d);
        s.side.training = d.chance(0.5);
        const auto padded = d.flags(0.4);
        for (long t = 0; t < s.T; ++t) {
            if (!padded[static_cast<std::size_t>(t)]) continue;
            s.pad[static_cast<std::size_t>(t)] = true;
            std::fill_n(s.expert.begin() + t * s.K, s.K, no_expert);
            std::fill_n(s.weight.begin() + t * s.K, s.K, 0.0);
        }
        std::vector<double> before, after;
        s.each_loss(1, [&](const auto& loss) { before.push_back(s.value(loss)); });
        for (long t = 0; t < s.T; ++t)
            for (int e = 0; e < s.E && s.pad[static_cast<std::size_t>(t)]; ++e) {
                const auto i = static_cast<std::size_t>(t * s.E + e);
                s.logit[i] = s.score[i] = s.raw[2 * i] = s.raw[2 * i + 1] = std::numeric_limits<double>::quiet_NaN();
            }
        bool clean = true;
        s.each_loss(1, [&](const auto& loss) {
            after.push_back(s.value(loss));
            std::vector<double> logit(s.logit.size()), score(logit), weight(s.weight.size()), raw(s.raw.size()), router(s.router.size());
            guild::balance::backward(loss, s.seen(),
                                     guild::routing_gradient<double>{{logit.data(), s.T, s.E},
                                                                     {score.data(), s.T, s.E},
                                                                     {weight.data(), s.T, s.K},
                                                                     {raw.data(), s.T, 2 * s.E},
                                                                     {router.data(), 0, s.H}});
            for (long t = 0; t < s.T; ++t) {
                if (!s.pad[static_cast<std::size_t>(t)]) continue;
                const auto zero = [&](const std::vector<double>& g, long width) {
                    return std::all_of(g.begin() + t * width, g.begin() + (t + 1) * width, [](double v) { return v == 0; });
                };
                clean = clean && zero(logit, s.E) && zero(score, s.E) && zero(weight, s.K) && zero(raw, 2 * s.E);
            }
        });
        REQUIRE(clean);
        REQUIRE(std::equal(before.begin(), before.end(), after.begin(), [](double a, double b) { return close(a, b, 1e-14); }));
    });
}

TEST_CASE("the bias update pushes every expert towards the mean, by the same step") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12);
        std::vector<long> load;
        const long common = d.chance(0.5) ? 0 : 1L << d.integer(20, 58);  // means that no floating-point number can tell from the loads
        for (int e = 0; e < E; ++e) load.push_back(common + d.integer(0, 3));
        const long total = std::accumulate(load.begin(), load.end(), 0L);
        const double rate = d.real();
        const auto before = d.normals(E);
        auto state = before;
        guild::bias_balance{rate}.update(load.data(), total, state.data(), E);
        bool good = true;
        for (std::size_t e = 0; e < load.size(); ++e) {
            const long above = load[e] * E - total;
            const double expected = above > 0 ? before[e] - rate : above < 0 ? before[e] + rate : before[e];
            good = good && state[e] == expected;
        }
        REQUIRE(good);
    });
}

TEST_CASE("loads of batches add up, and their measures lie in their ranges") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12);
        guild::load sum, one;
        for (int batch = d.integer(1, 3); batch > 0; --batch) {
            one = {};
            for (int e = 0; e < E; ++e) one.count.push_back(d.integer(0, 5)), one.total += one.count.back();
            sum += one;
        }
        REQUIRE(std::accumulate(sum.count.begin(), sum.count.end(), 0L) == sum.total);
        REQUIRE(sum.entropy() >= -1e-12);
        REQUIRE(sum.entropy() <= std::log2(E) + 1e-12);
        REQUIRE(sum.max_violation() >= -1e-12);
        REQUIRE(sum.max_violation() <= E - 1 + 1e-12);
        const bool even = std::all_of(sum.count.begin(), sum.count.end(), [&](long c) { return c == sum.count[0]; });
        if (sum.total > 0) REQUIRE(even == (sum.max_violation() < 1e-9));
        if (sum.total > 0) REQUIRE(even == (sum.entropy() > std::log2(E) - 1e-9));
    });
}
