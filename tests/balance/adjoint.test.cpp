#include <guild/balance/adjoint.hpp>
#include <guild/balance/device_losses.hpp>
#include <guild/balance/heterogeneous_loss.hpp>
#include <guild/balance/noisy_load_loss.hpp>
#include <guild/balance/sequence_losses.hpp>
#include <guild/balance/spread_losses.hpp>

#include <doctest/doctest.h>
#include <support/few.hpp>
#include <support/sight.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

using namespace guild;

// What is derived from the value of a loss in one sweep, at sizes of training. At small ones: support/sight.hpp, for every loss.

namespace {
using numbers = std::vector<double>;

/// A batch of T tokens over E experts; some are padding, some slots empty.
struct scene {
    long T, H = 3;
    int E, K = 4, P = 2 * E;
    std::array<numbers, 5> list;  ///< logit, score, weight, raw, router
    std::vector<int> expert;
    std::vector<char> pad;
    batch side;
    mutable scratch memory{};

    scene(long tokens, int experts) : T(tokens), E(experts) {
        const auto draw = [](long n, int stream) {
            numbers v;
            for (long i = 0; i < n; ++i) v.push_back(normal(4, stream, 0, i));
            return v;
        };
        list = {draw(T * E, 0), draw(T * E, 1), draw(T * K, 2), draw(T * P, 3), draw(P * H, 4)};
        for (int l : {1, 2})
            for (double& v : list[static_cast<std::size_t>(l)]) v = std::exp(v) / E;
        for (long i = 0; i < T * K; ++i)
            expert.push_back(i % 11 == 5 ? no_expert : static_cast<int>(uniform(4, 5, 0, i / K) * E + static_cast<double>(i % K)) % E);
        for (long t = 0; t < T; ++t) pad.push_back(t % 13 == 7);
        side = {.padding = {reinterpret_cast<const bool*>(pad.data()), pad.size()}, .training = true};
    }
    template <class S> routing<S> seen(const std::array<std::vector<S>, 5>& n) const {
        return {E,
                K,
                K,
                {n[0].data(), T, E},
                {n[1].data(), T, E},
                {n[2].data(), T, K},
                expert.data(),
                expert.data(),
                &side,
                {n[3].data(), T, P},
                {n[4].data(), 0, H},
                H,
                &memory};
    }
    std::array<numbers, 5> gradient(const auto& loss) const {
        std::array<numbers, 5> g;
        for (std::size_t l = 0; l < 5; ++l) g[l].assign(list[l].size(), 0);
        balance::backward(
            loss, seen(list),
            routing_gradient<double>{{g[0].data(), T, E}, {g[1].data(), T, E}, {g[2].data(), T, K}, {g[3].data(), T, P}, {g[4].data(), 0, H}});
        return g;
    }
    double along(const auto& loss, const std::array<numbers, 5>& direction) const {
        std::array<std::vector<dual<double>>, 5> d;
        for (std::size_t l = 0; l < 5; ++l)
            for (std::size_t i = 0; i < list[l].size(); ++i) d[l].emplace_back(list[l][i], direction[l][i]);
        return balance::value(loss, seen(d)).d;
    }
};
using test::bare;

/// A loss of a user: comparisons, functions, every list.
struct mixed {
    double weight = 1;
    template <class S> S value(const routing<S>& r) const {
        using guild::exp, guild::abs, guild::max;
        S sum(0);
        const auto load = r.template zeros<S>(r.experts);
        r.each([&](long t) {
            for (int e = 0; e < r.experts; ++e) {
                load[static_cast<std::size_t>(e)] += r.score(t, e);
                if (r.logit(t, e) > 0.5) sum += abs(r.logit(t, e) - r.raw(t, e)) / (1 + exp(r.raw(t, r.experts + e)));
            }
            for (int k = 0; k < r.slots; ++k) sum += r.weight(t, k) < 0.1 ? r.weight(t, k) * r.weight(t, k) : 0.1 * r.weight(t, k);
        });
        S most = load[0];
        for (const S& l : load) most = (max)(most, l);
        for (int e = 0; e < r.experts; ++e) most += r.router(0, e, 0) * r.router(0, e, 1) * load[static_cast<std::size_t>(e)];
        return (sum + most * most) * weight / static_cast<double>(r.tokens());
    }
};

struct still {
    double weight = 1;
    template <class S> S value(const routing<S>&) const { return S(3); }
};

template <class Loss> void check_derived(const char* name, const scene& s, const Loss& loss) {
    CAPTURE(std::string(name));
    const auto derived = s.gradient(bare<Loss>{loss});
    double scale = 1e-300;
    for (const auto& g : derived)
        for (const double v : g) scale = std::max(scale, std::abs(v));
    CAPTURE(scale);
    if constexpr (balance::has_adjoint<Loss, double>) {
        const auto own = s.gradient(loss);
        double worst = 0;
        for (std::size_t l = 0; l < 5; ++l)
            for (std::size_t i = 0; i < own[l].size(); ++i) worst = std::max(worst, std::abs(own[l][i] - derived[l][i]));
        CHECK(worst <= 1e-12 * scale);
    }
    for (int one = 0; one < 7; ++one) {  // a number of each list, and random directions through all
        auto direction = s.list;
        double dot = 0, size = scale;
        for (std::size_t l = 0; l < 5; ++l)
            for (std::size_t i = 0; i < direction[l].size(); ++i) {
                const bool chosen = one == static_cast<int>(l) && i == direction[l].size() / 3;
                direction[l][i] = one < 5 ? (chosen ? 1. : 0.) : normal(6, one, static_cast<long>(l), static_cast<long>(i));
                dot += direction[l][i] * derived[l][i];
                size += std::abs(direction[l][i] * derived[l][i]);
            }
        CHECK(std::abs(dot - s.along(loss, direction)) <= 1e-12 * size);
    }
}
}  // namespace

TEST_CASE("derived adjoint of a loss: every loss, far above 4096 logits") {
    const scene wide(test::few ? 40 : 100, 512), tall(test::few ? 300 : 2000, 16);
    for (const scene* s : {&wide, &tall}) {
        CAPTURE(s->E);
        check_derived("expert_loss", *s, expert_loss{.weight = 0.5});
        check_derived("switch_loss", *s, switch_loss{.weight = 0.5});
        check_derived("top_k_balance_loss", *s, top_k_balance_loss{.weight = 0.5});
        check_derived("z_loss", *s, z_loss{.weight = 0.5});
        check_derived("sequence_loss", *s, sequence_loss{.weight = 0.5});
        check_derived("global_batch_loss", *s, global_batch_loss{.weight = 0.5});
        check_derived("device_loss", *s, device_loss{.weight = 0.5, .devices = 4});
        check_derived("communication_loss", *s, communication_loss{.weight = 0.5, .devices = 4, .reach = 2});
        check_derived("importance_loss", *s, importance_loss{.weight = 0.5});
        check_derived("l1_loss", *s, l1_loss{.weight = 0.5, .balanced = true});
        check_derived("noisy_load_loss", *s, noisy_load_loss{.weight = 0.5});
        check_derived("mutual_information_loss", *s, mutual_information_loss{.weight = 0.5});
        check_derived("orthogonality_loss", *s, orthogonality_loss{.weight = 0.5});
        check_derived("heterogeneous_loss", *s, heterogeneous_loss{.weight = 0.5});
        check_derived("mixed", *s, mixed{.weight = 0.5});
    }
}
TEST_CASE("derived adjoint of a loss: a constant has none") {
    const scene s(10, 4);
    for (const auto& g : s.gradient(still{})) CHECK(std::all_of(g.begin(), g.end(), [](double v) { return v == 0; }));
}
