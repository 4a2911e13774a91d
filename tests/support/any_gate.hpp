#pragma once
#include <guild/gate/pipeline.hpp>

#include <variant>

/// A gate chosen at run time among several types, so that a test of many gates compiles the rest of a layer once. For gates that do not
/// look across tokens.
template <class... Gates> struct any_gate {
    std::variant<Gates...> one;

    /// As pipeline has them; of its two stages, the first stands for all that make the scores.
    struct stage_list {
        static constexpr int size = 2, scored = 1, across = size, across_count = 0;
        static constexpr bool needs_token_id = false;
        std::variant<Gates...> one;

        int slots(int E, int K) const {
            return ask([&](const auto& s) { return s.slots(E, K); });
        }
        int extra(int E) const {
            return ask([&](const auto& s) { return s.extra(E); });
        }
        int learned(int E) const {
            return ask([&](const auto& s) { return s.learned(E); });
        }
        int state(int E) const {
            return ask([&](const auto& s) { return s.state(E); });
        }
        bool fits(int E, int K) const {
            return ask([&](const auto& s) { return s.fits(E, K); });
        }
        /// Whether losses see something else than the logits.
        bool has_scores() const {
            return ask([](const auto& s) { return s.scored > 0; });
        }

        // Not inlined: one copy for all models.
        template <int I = 0, int End = size> [[gnu::noinline]] void forward(const auto& t, auto& r) const {
            ask([&]<class Stages>(const Stages& s) { s.template forward<0, End == scored ? Stages::scored : Stages::size>(t, r); });
        }
        [[gnu::noinline]] void backward(const auto& t, const auto& in, auto& g, const auto* d_score) const {
            ask([&](const auto& s) { s.backward(t, in, g, d_score); });
        }

    private:
        auto ask(auto f) const {
            return std::visit([&](const auto& gate) { return f(gate.stages()); }, one);
        }
    };
    stage_list stages() const { return {one}; }
};
