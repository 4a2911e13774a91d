#pragma once
#include <guild/gate/pipeline.hpp>

#include <variant>

/// A gate chosen at run time among several types, so that a test of many gates compiles the rest of a layer once. For gates that do not
/// look across tokens.
template <class... Gates> struct any_gate {
    std::variant<Gates...> one;

    /// As pipeline has them; of its three stages, the first stands for all that change logits, the
    /// second for all that then make the scores.
    struct stage_list {
        static constexpr int size = 3, logits_end = 1, scored = 2, across = size, across_count = 0;
        template <class> static constexpr bool has = true;  // what a balancer moves is up to the gate chosen
        template <class S, class Row>
        static constexpr bool derives = (decltype(std::declval<const Gates&>().stages())::template derives<S, Row> || ...);
        static constexpr bool needs_token_id = false, needs_table = false, needs_previous = false;
        std::variant<Gates...> one;

        int slots(int E, int K) const {
            return ask([&](const auto& s) { return s.slots(E, K); });
        }
        int extra(int E) const {
            return ask([&](const auto& s) { return s.extra(E); });
        }
        int extra_count(int E) const {
            return ask([&](const auto& s) { return s.extra_count(E); });
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
            return ask([](const auto& s) { return s.scored > s.logits_end; });
        }

        // Not inlined: one copy for all models.
        template <int I = 0, int End = size> [[gnu::noinline]] void forward(const auto& t, auto& r) const {
            ask([&]<class Stages>(const Stages& s) { s.template forward<at<Stages>(I), at<Stages>(End)>(t, r); });
        }
        [[gnu::noinline]] void backward(const auto& t, const auto& in, auto& g, const auto* d_score, const auto* d_logit) const {
            ask([&](const auto& s) { s.backward(t, in, g, d_score, d_logit); });
        }

    private:
        template <class Stages> static constexpr int at(int stage) {
            return stage == 0 ? 0 : stage == logits_end ? Stages::logits_end : stage == scored ? Stages::scored : Stages::size;
        }
        auto ask(auto f) const {
            return std::visit([&](const auto& gate) { return f(gate.stages()); }, one);
        }
    };
    stage_list stages() const { return {one}; }
};
