#include <guild/balance/adjoint.hpp>
#include <guild/balance/device_losses.hpp>
#include <guild/balance/heterogeneous_loss.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/noisy_load_loss.hpp>
#include <guild/balance/sequence_losses.hpp>
#include <guild/balance/spread_losses.hpp>
#include <guild/balance/weight_losses.hpp>
#include <guild/core/random.hpp>

#include <doctest/doctest.h>
#include <support/magnitudes.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

// Where a loss is finite its gradient is, over the whole range of what it reads: against double, where float's range ends.

using namespace guild;

namespace {
constexpr int E = 4, K = 2;
constexpr long T = 3, H = 3;
constexpr int wanted[] = {0, 1, 2, 1, 3, 0};

/// What a loss reads, ordinary numbers but for list `which`, of size m; and what it gives.
template <class S> struct seen {
    std::array<std::vector<S>, 5> n, g;  // logit, score, weight, raw, router
    S value = 0;

    template <class Loss> seen(const Loss& loss, std::size_t which, double m, int how) {
        static scratch memory;
        const long size[] = {T * E, T * E, T * K, T * 2 * E, 2 * E * H};
        for (std::size_t l = 0; l < 5; ++l) {
            for (long i = 0; i < size[l]; ++i) {
                double x = normal(7, static_cast<int>(l), 0, i);
                if (l == 1 || l == 2) x = std::exp(x);
                const double sign = l == 1 || l == 2 || m > 0 ? 1 : -1;
                if (l == which) x = how == 0 ? m * x : how == 1 ? (i % 3 == 1 ? m : x) : how == 2 ? m : sign * std::abs(m) * (i % 2 ? 1 : 0.5) + x;
                if (l == 1 || l == 2) x = std::abs(x);
                n[l].push_back(static_cast<S>(static_cast<float>(std::clamp(x, -0x1.fffffep127, 0x1.fffffep127))));
            }
            g[l].assign(n[l].size(), S(0));
        }
        const batch side{.training = true};
        const routing<S> r{E,      K,      K,     {n[0].data(), T, E},     {n[1].data(), T, E}, {n[2].data(), T, K},
                           wanted, wanted, &side, {n[3].data(), T, 2 * E}, {n[4].data(), 0, H}, H,
                           &memory};
        value = balance::value(loss, r);
        balance::backward(
            loss, r,
            routing_gradient<S>{{g[0].data(), T, E}, {g[1].data(), T, E}, {g[2].data(), T, K}, {g[3].data(), T, 2 * E}, {g[4].data(), 0, H}});
    }
};
template <class Loss> void holds(const std::string& name, const Loss& loss) {
    CAPTURE(name);
    for (std::size_t which = 0; which < 5; ++which)
        test::each_magnitude<float>(
            [&](float m) {
                for (int how = 0; how < 4; ++how) {
                    const seen<float> f(loss, which, static_cast<double>(m), how);
                    if (!is_finite(f.value)) continue;
                    const seen<double> d(loss, which, static_cast<double>(m), how);
                    const bool same = std::abs(static_cast<double>(f.value) - d.value) <= 1e-4 * std::abs(d.value);
                    CAPTURE(which);
                    CAPTURE(m);
                    CAPTURE(how);
                    bool finite = true, near = true, in_range = true;
                    for (std::size_t l = 0; l < 5; ++l) {
                        double most = 1e-3;
                        for (const double x : d.g[l]) most = std::max(most, std::abs(x));
                        in_range &= most < 1e37;
                        for (std::size_t i = 0; i < f.g[l].size(); ++i) {
                            finite &= is_finite(f.g[l][i]) && is_finite(d.g[l][i]);
                            near &= std::abs(static_cast<double>(f.g[l][i]) - std::clamp(d.g[l][i], -0x1.fffffep127, 0x1.fffffep127)) <= 2e-3 * most;
                        }
                    }
                    CHECK(finite);
                    if (same && in_range) CHECK(near);
                }
            },
            3);
}
}  // namespace

TEST_CASE("saturation: losses of logits") {
    holds("z_loss", z_loss{});
    holds("top_k_balance_loss", top_k_balance_loss{});
    holds("mutual_information_loss", mutual_information_loss{});
    holds("noisy_load_loss", noisy_load_loss{});
    holds("noisy_load_loss without floor", noisy_load_loss{.noise = {0}});
}
TEST_CASE("saturation: losses of scores and weights") {
    holds("expert_loss", expert_loss{});
    holds("switch_loss", switch_loss{});
    holds("sequence_loss", sequence_loss{});
    holds("global_batch_loss", global_batch_loss{});
    holds("device_loss", device_loss{.devices = 2});
    holds("communication_loss", communication_loss{.devices = 2, .reach = 1});
    holds("heterogeneous_loss", heterogeneous_loss{});
    holds("importance_loss", importance_loss{});
    holds("importance_loss as published code has it", importance_loss{.unbiased = true, .epsilon = 1e-10});
    holds("l1_loss", l1_loss{.weight = 1});
    holds("l1_loss, balanced", l1_loss{.weight = 1, .balanced = true});
}
TEST_CASE("saturation: losses of the router") { holds("orthogonality_loss", orthogonality_loss{.weight = 1}); }

TEST_CASE("top_k_balance_loss: an exactly even load has gradient 0, in float too") {
    static scratch memory;
    constexpr int experts = 7;
    constexpr long tokens = 49;  // whose probabilities sum to 1 only within rounding
    std::vector<float> logit, score(tokens * experts), weight(tokens), g(tokens * experts), unused(tokens * experts);
    std::vector<int> even;
    for (long i = 0; i < tokens * experts; ++i) logit.push_back(static_cast<float>(2 * normal(8, 0, 0, i)));
    for (int t = 0; t < tokens; ++t) even.push_back(t % experts);
    const batch side{};
    const routing<float> r{experts,
                           1,
                           1,
                           {logit.data(), tokens, experts},
                           {score.data(), tokens, experts},
                           {weight.data(), tokens, 1},
                           even.data(),
                           even.data(),
                           &side,
                           {},
                           {},
                           0,
                           &memory};
    balance::backward(top_k_balance_loss{.weight = 1e6}, r,
                      routing_gradient<float>{{g.data(), tokens, experts}, {unused.data(), tokens, experts}, {unused.data(), tokens, 1}});
    for (const float x : g) CHECK(x == 0);
}
TEST_CASE_TEMPLATE("noisy_load_loss: noise that has underflowed gives a finite gradient", S, float, double) {
    for (const double noise : {-1e2, -1e4, -1e30})
        for (int how = 0; how < 4; ++how) {
            const seen<S> s(noisy_load_loss{.noise = {0}}, 3, noise, how);
            CHECK(is_finite(s.value));
            for (const auto& list : s.g)
                for (const S x : list) CHECK(is_finite(x));
        }
}
