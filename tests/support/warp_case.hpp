#pragma once
#include <guild/gate/warp.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/warp_emulator.hpp>

#include <algorithm>
#include <functional>
#include <vector>

namespace test {
using namespace guild;

/// The warp does what the plain loop does, on every token of a case, or on those with finite logits: adjoints derived by dual numbers and in reverse
/// mode differ in which gradients of values that are no numbers are none either.
template <class Model> void warp_agrees(const Model& m, bool finite_alone = false) {
    const gate_case<Model> c(m);
    const auto n = m.extent();
    const int E = c.E, X = c.X, P = c.P, W = c.W;
    CAPTURE(E);
    CAPTURE(W);
    std::vector<int> expert(static_cast<std::size_t>(c.tokens * W), -7);
    std::vector<float> weight(expert.size(), -7.f), d_logit = c.before, d_learned(c.d_learned.size()), d_previous(c.d_previous.size());
    std::vector<float> shared(c.d_shared.size(), -7.f);
    constexpr bool weighs_shared = gate::weighs_shared<Model>;
    const auto same = [](const auto* a, const auto* b, long count, auto equal) { return std::equal(a, a + count, b, equal); };
    warp_emulator warp;
    for (long t = 0; t < c.tokens; ++t) {
        if (gate::padded(c.side, t)) continue;
        if (finite_alone && !std::all_of(c.logit.data() + t * P, c.logit.data() + (t + 1) * P, [](float v) { return is_finite(v); })) continue;
        const auto token = gate::token_at<float>(t, c.side, c.data, nullptr);
        const float* const logit = c.logit.data() + t * P;
        const gate::token_gradient by{c.d_weight.data() + t * W, weighs_shared ? c.d_shared.data() + t * X : nullptr, c.d_scored_logit.data() + t * E,
                                      c.d_score.data() + t * E};
        int* const chosen = expert.data() + t * W;
        warp.run([&](const warp_emulator::thread& thread) {
            gate::forward_warp(thread, m.stages(), n, token, logit, chosen, weight.data() + t * W, weighs_shared ? shared.data() + t * X : nullptr);
            gate::backward_warp(thread, m.stages(), n, token, logit, by, d_logit.data() + t * P, d_learned.data(), d_previous.data() + t * E);
        });
        CAPTURE(t);
        CHECK(same(chosen, c.result.choice.expert.data() + t * W, W, std::equal_to<>{}));
        CHECK(same(weight.data() + t * W, c.result.choice.weight.data() + t * W, W, nearly));
        if (weighs_shared) CHECK(same(shared.data() + t * X, c.result.shared.data() + t * X, X, nearly));
        CHECK(same(d_logit.data() + t * P, c.d_logit.data() + t * P, P, nearly));
    }
    CHECK(same(d_previous.data(), c.d_previous.data(), c.tokens * E, nearly));
    CHECK(same(d_learned.data(), c.d_learned.data(), c.L, nearly));
}

}  // namespace test
