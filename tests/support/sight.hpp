#pragma once
#include <guild/balance/adjoint.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <array>
#include <cmath>
#include <vector>

namespace test {

/// What a balance loss is shown, drawn by a seed: logits, scores, weights and the router are independent numbers; some tokens are padding, some
/// slots holes, and of what was wanted some was dropped.
struct sight {
    using numbers = std::vector<double>;
    dice d;
    int E, X, K, W;
    long T, H;
    std::array<bool, 32> pad{};
    std::vector<int> expert, wanted, bound{0};
    std::array<numbers, 5> list;  ///< logit [T, E], score [T, E], weight [T, W], raw [T, E + X], router [E + X, H]
    guild::batch side;

    explicit sight(unsigned long long seed, bool extra = false, bool training = false)
        : d{seed}, E(d.number(0, 2, 8)), X(extra ? E : d.number(1, 0, 2)) {
        K = d.number(2, 1, E);
        W = d.chance(3, 0.3) ? E : K;
        T = d.number(4, 0, 20);
        H = d.number(5, 1, 5);
        const double all = d.chance(6, 0.05) ? 1 : d.chance(6, 0.5) ? 0.25 : 0;
        for (long t = 0; t < T; ++t) pad[static_cast<std::size_t>(t)] = d.chance(7, all, t);
        for (long t = 0; t < T; ++t) {
            const bool lost = d.chance(8, 0.1, t);
            for (int k = 0; k < W; ++k) {
                const bool hole = padded(t) || d.chance(9, W == K ? 0.1 : 0.5, t * W + k);
                wanted.push_back(hole ? guild::no_expert : (static_cast<int>(d.uniform(10, t) * E) + k) % E);
                expert.push_back(lost || d.chance(11, 0.1, t * W + k) ? guild::no_expert : wanted.back());
            }
        }
        while (bound.back() < T)
            bound.push_back(std::min(static_cast<int>(T), bound.back() + static_cast<int>(7 * d.uniform(12, static_cast<long>(bound.size())))));
        if (T == 0) bound.push_back(0);
        list = {d.normals(13, T * E, 2), d.normals(14, T * E), d.normals(15, T * W), d.normals(16, T * (E + X), 2), d.normals(17, (E + X) * H)};
        for (double& s : list[1]) s = std::exp(s);
        for (double& w : list[2]) w = std::exp(w);
        side = {.padding = {pad.data(), static_cast<std::size_t>(T)}, .training = training};
        if (d.chance(18, 0.8)) side.sequence = bound;
    }
    sight(const sight&) = delete;

    template <class S> guild::routing<S> seen(const std::array<std::vector<S>, 5>& n) const {
        static guild::scratch memory;
        return {E,
                W,
                K,
                {n[0].data(), T, E},
                {n[1].data(), T, E},
                {n[2].data(), T, W},
                expert.data(),
                wanted.data(),
                &side,
                {n[3].data(), T, E + X},
                {n[4].data(), 0, H},
                H,
                &memory};
    }
    template <class Loss> double value(const Loss& loss) const { return guild::balance::value(loss, seen(list)); }
    bool padded(long t) const { return pad[static_cast<std::size_t>(t)]; }
    double tokens(long begin, long end) const {
        double n = 0;
        for (long t = begin; t < end; ++t) n += !padded(t);
        return n;
    }
    double tokens() const { return tokens(0, T); }
    double logit(long t, int e) const { return list[0][static_cast<std::size_t>(t * E + e)]; }
    double score(long t, int e) const { return list[1][static_cast<std::size_t>(t * E + e)]; }
    double weight(long t, int k) const { return list[2][static_cast<std::size_t>(t * W + k)]; }
    double raw(long t, int i) const { return list[3][static_cast<std::size_t>(t * (E + X) + i)]; }
    double router(int e, long h) const { return list[4][static_cast<std::size_t>(e * H + h)]; }
    int asked(long t, int k) const { return wanted[static_cast<std::size_t>(t * W + k)]; }
    int given(long t, int k) const { return expert[static_cast<std::size_t>(t * W + k)]; }
    /// How often e was asked for by tokens of [begin, end).
    double requests(int e, long begin, long end) const {
        double n = 0;
        for (long t = begin; t < end; ++t)
            for (int k = 0; k < W; ++k) n += !padded(t) && asked(t, k) == e;
        return n;
    }
    double requests(int e) const { return requests(e, 0, T); }
    double mean_score(int e) const {
        double sum = 0;
        for (long t = 0; t < T; ++t) sum += padded(t) ? 0 : score(t, e) / tokens();
        return sum;
    }
    double probability(long t, int e) const {
        double mass = 0;
        for (int i = 0; i < E; ++i) mass += std::exp(logit(t, i));
        return std::exp(logit(t, e)) / mass;
    }
};

/// Another loss without its adjoint.
template <class Loss> struct bare {
    Loss loss;
    double weight = loss.weight;
    template <class S> S value(const guild::routing<S>& r) const { return loss.value(r); }
};

/// The adjoint of the loss, and the one derived of its value, add what dual numbers say of `value` to what was there.
template <class Loss> void exact_gradient(const Loss& loss, const sight& s) {
    std::array<std::vector<guild::dual<double>>, 5> lifted;
    for (std::size_t l = 0; l < 5; ++l) lifted[l].assign(s.list[l].begin(), s.list[l].end());
    std::array<std::vector<double>, 5> expected, own, derived;
    double scale = 1;
    for (const double w : s.list[4]) scale = std::max(scale, 1 / std::abs(w));  // what a cosine of the router's rows turns by
    for (std::size_t l = 0; l < 5; ++l) {
        for (auto& number : lifted[l]) {
            number.d = 1;
            expected[l].push_back(guild::balance::value(loss, s.seen(lifted)).d);
            scale = std::max(scale, std::abs(expected[l].back()));
            number.d = 0;
        }
        own[l].assign(s.list[l].size(), 0.5);
        derived[l] = own[l];
    }
    const auto to = [&](auto& g) {
        return guild::routing_gradient<double>{
            {g[0].data(), s.T, s.E}, {g[1].data(), s.T, s.E}, {g[2].data(), s.T, s.W}, {g[3].data(), s.T, s.E + s.X}, {g[4].data(), 0, s.H}};
    };
    guild::balance::backward(loss, s.seen(s.list), to(own));
    guild::balance::backward(bare<Loss>{loss}, s.seen(s.list), to(derived));
    for (std::size_t l = 0; l < 5; ++l)
        for (std::size_t i = 0; i < expected[l].size(); ++i) {
            CAPTURE(l);
            CAPTURE(i);
            CHECK(std::abs(own[l][i] - 0.5 - expected[l][i]) <= 1e-12 * scale);
            CHECK(std::abs(derived[l][i] - 0.5 - expected[l][i]) <= 1e-12 * scale);
        }
}

/// For thirty sights: `loss(sight)` has the value `expected(sight, loss)` and an exact gradient, and without tokens
/// it is 0 and has none.
template <class Draw, class Expected> void check_loss(Draw loss, Expected expected, bool extra = false) {
    constexpr int sights = 30;
    long empty = 0;
    for (unsigned long long seed = 1; seed <= sights; ++seed) {
        CAPTURE(seed);
        const sight s(seed, extra, seed % 4 != 0);
        const auto one = loss(s);
        empty += s.tokens() == 0;
        if (s.tokens() == 0) CHECK(s.value(one) == 0);
        else CHECK(s.value(one) == doctest::Approx(expected(s, one)).epsilon(1e-12));
        exact_gradient(one, s);
    }
    CHECK(empty >= sights / 25);
}

}  // namespace test
