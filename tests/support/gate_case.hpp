#pragma once
#include <guild/backend/host.hpp>
#include <guild/gate/run.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

/// As much of a model as a gate reads: the gate, and sizes known to the compiler or not.
template <class Gate, class Extent> struct gate_model {
    Gate gate;
    Extent n;
    constexpr auto stages() const { return gate.stages(); }
    constexpr Extent extent() const { return n; }
};
template <class Gate, class Extent> gate_model(Gate, Extent) -> gate_model<Gate, Extent>;

/// The stages of a gate over E experts of which K are chosen, E <= Max.
template <int Max> auto sized(const auto& gate, int E, int K) {
    const auto s = gate.stages();
    return gate_model{gate, guild::any_extent<Max>{E, s.extra(E), s.slots(E, K)}};
}
template <int E, int K> auto fixed(const auto& gate) {
    constexpr auto s = std::remove_cvref_t<decltype(gate)>{}.stages();
    return gate_model{gate, guild::extent<E, s.extra(E), s.slots(E, K)>{}};
}

/// 24 tokens for a gate: finite logits of three sizes, ties, NaN, infinities, signed zeros, denormals; every seventh is padding. And
/// what the plain loop makes of them.
template <class Model> struct gate_case {
    static constexpr long tokens = 24;
    Model model;
    int E = model.extent().experts, X = model.extent().extra, P = E + X, W = model.extent().slots, L = model.stages().learned(E);
    std::vector<float> logit = numbers(tokens * P, 1, 2), learned = numbers(L, 2, 1), state = numbers(model.stages().state(E), 3, 0.1);
    std::vector<float> d_weight = numbers(tokens * W, 4, 1), d_score = numbers(tokens * E, 5, 1);
    std::vector<float> d_scored_logit = numbers(tokens * E, 8, 1), d_shared = numbers(tokens * X, 9, 1);
    std::vector<float> before = numbers(tokens * P, 6, 1);  ///< of d_logit, which is added to
    std::array<long, tokens> position{};
    std::array<bool, tokens> padding{};
    std::vector<float> previous = numbers(tokens * E, 7, 1), d_previous = numbers(tokens * E, 0, 1);  ///< logits of the layer before
    guild::gate_data<float> data{.learned = learned.data(), .state = state.data(), .previous = {previous.data(), tokens, E}};
    guild::batch side;
    guild::gate_result<float> result;
    std::vector<float> d_logit = before, d_learned = numbers(L, 0, 0);

    explicit gate_case(const Model& m) : model(m) {
        for (long t = 0; t < tokens; ++t) {
            position[static_cast<std::size_t>(t)] = 1000 - 7 * t;
            padding[static_cast<std::size_t>(t)] = t % 7 == 6;
            for (int i = 0; i < P; ++i) logit.data()[t * P + i] = situation(t, i, logit.data()[t * P + i]);
        }
        side = {.padding = padding, .position = position, .seed = 11, .training = true};
        const guild::backend::reference b;
        const guild::view<const float> logits(logit.data(), tokens, P);
        guild::gate::forward(b, model, data, side, logits, result);
        guild::buffer<float> partial;
        guild::gate::backward(b, model, data, side, logits, result, by(d_weight.data(), d_shared.data(), d_scored_logit.data(), d_score.data()),
                              {d_logit.data(), tokens, P}, d_learned.data(), partial, {d_previous.data(), tokens, E});
    }
    gate_case(const gate_case&) = delete;
    /// Lists of such sizes as gradients; those of shared weights where the gate gives them.
    guild::gate::result_gradient<float> by(const float* weight, const float* shared, const float* scored_logit, const float* score) const {
        return {{weight, tokens, W}, guild::gate::weighs_shared<Model> ? shared : nullptr, {scored_logit, tokens, E}, score};
    }

private:
    static std::vector<float> numbers(long n, int stream, double scale) {
        std::vector<float> v;
        for (long i = 0; i < n; ++i) v.push_back(static_cast<float>(scale * guild::normal(3, stream, 0, i)));
        return v;
    }
    static float situation(long t, int i, float normal) {
        constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
        switch (t) {
            case 0: return std::round(normal);  // ties
            case 1: return 0.5f;
            case 2: return i % 2 ? 1.f : nan;
            case 3: return i == 0 ? nan : normal;
            case 4: return nan;
            case 5: return i == 1 ? inf : normal;
            case 7: return i % 3 ? normal : -inf;
            case 8: return -inf;
            case 9: return i % 2 ? inf : -inf;
            case 10: return i % 2 ? 0.f : -0.f;
            case 11: return static_cast<float>(i) * std::numeric_limits<float>::denorm_min();
            case 12: return 20 * normal;
            case 14: return i % 2 ? inf : nan;
            case 15: return -normal / 100;
            default: return normal;
        }
    }
};

/// Both no number, or at most 1e-5 apart, relative to numbers beyond 1.
inline bool nearly(float a, float b) {
    return std::isnan(a) ? std::isnan(b) : a == b || std::abs(a - b) <= 1e-5f * (std::abs(b) > 1 ? std::abs(b) : 1);
}
