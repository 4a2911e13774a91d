#include <guild/gate/inspect.hpp>
#include <guild/gate/published/gates.hpp>
#include <guild/gate/run.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/noisy_gate.hpp>

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

using namespace guild;

namespace {
/// Runs ranges of three tokens, the last first.
struct backwards : backend::reference {
    template <class F> void each(long n, F f) const {
        for (long begin = (n - 1) / 3 * 3; n > 0 && begin >= 0; begin -= 3) f(begin, std::min(n, begin + 3));
    }
};
/// After top-1: of the tokens that chose an expert only the last stays. With a stage before and one behind.
struct last_stays {
    void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k)
            if (t.decided && t.decided[k] == no_expert) r.expert[k] = no_expert;
    }
    template <class S> void decide(const crowd<S>& c) const {
        for (long t = 0; t < c.tokens; ++t)
            for (long later = t + 1; later < c.tokens; ++later)
                if (c.expert[t] == c.expert[later]) c.expert[t] = no_expert;
    }
    static void backward(const auto&, const auto&, const auto& out, auto& g) {
        for (int k = 0; k < out.n.slots; ++k)
            if (out.expert[k] == no_expert) g.weight[k] = 0;
    }
};
struct last_stays_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, last_stays{}, weigh{times{2}}}; }
};

template <class T> std::vector<T> list(const buffer<T>& b, long n) { return {b.data(), b.data() + n}; }
template <class Model, class S> auto forward(const auto& b, const Model& m, const batch& side, const std::vector<S>& logit, long T) {
    gate_result<S> out;
    std::vector<S> state(static_cast<std::size_t>(m.stages().state(m.extent().experts)));
    gate::forward(b, m, {nullptr, state.data(), nullptr}, side, view<const S>(logit.data(), T, m.extent().experts), out);
    return out;
}
}  // namespace

TEST_CASE("gate: padded tokens go nowhere and pass no gradient on") {
    const auto m = sized<64>(noisy_gate{}, 33, 4);
    const gate_case c(m);
    for (long t = 0; t < c.tokens; ++t) {
        const bool none = t % 7 == 6;
        for (long k = 0; k < c.W; ++k) {
            CHECK((c.result.choice.expert[t * c.W + k] == no_expert) == none);
            if (none) CHECK(c.result.choice.weight[t * c.W + k] == 0);
        }
        const float *const before = c.before.data() + t * c.P, *const after = c.d_logit.data() + t * c.P;
        CHECK(std::equal(before, before + c.P, after) == none);
    }
}
TEST_CASE("gate: the same bits however the tokens are cut into ranges") {
    const auto m = sized<64>(noisy_gate{}, 33, 4);
    constexpr long T = 200;  // more than one chunk of gradients of learned numbers
    const auto random = [](long n, int stream) {
        std::vector<float> v;
        for (long i = 0; i < n; ++i) v.push_back(static_cast<float>(normal(2, stream, 0, i)));
        return v;
    };
    const auto logit = random(T * 66, 0), d_weight = random(T * 4, 1), learned = random(34, 2);
    const batch side{.first = 5, .training = true};
    const gate_data<float> data{learned.data()};
    const auto all = [&](const auto& b) {
        gate_result<float> out;
        buffer<float> partial;
        std::fill_n(partial.shape(4, 34).data, 4 * 34, infinity<float>);  // of another batch
        std::vector<float> d_logit(logit.size()), d_learned(learned.size());
        const view<const float> logits(logit.data(), T, 66);
        gate::forward(b, m, data, side, logits, out);
        gate::backward<decltype(b), decltype(m), float>(b, m, data, side, logits, out, {{d_weight.data(), T, 4}}, {d_logit.data(), T, 66},
                                                        d_learned.data(), partial);
        CHECK(std::all_of(d_learned.begin(), d_learned.end(), [](float d) { return std::isfinite(d); }));
        return std::tuple{list(out.choice.expert, T * 4), list(out.choice.weight, T * 4), d_logit, d_learned};
    };
    CHECK(all(backend::reference{}) == all(backwards{}));
}
TEST_CASE("gate: a random draw belongs to a position, not to a row") {
    const auto m = sized<64>(noisy_gate{}, 8, 2);
    std::vector<float> logit(3 * 16), learned(9, 1.f);
    const auto weights = [&](const batch& side) {
        gate_result<float> out;
        gate::forward(backend::reference{}, m, gate_data<float>{learned.data()}, side, view<const float>(logit.data(), 3, 16), out);
        return list(out.choice.weight, 6);
    };
    const auto token = [](const std::vector<float>& w, long t) { return std::vector<float>(w.begin() + 2 * t, w.begin() + 2 * t + 2); };
    const std::array<long, 3> position{12, 10, 11};
    const auto moved = weights({.position = position, .training = true}), counted = weights({.first = 10, .training = true});
    CHECK(token(moved, 0) == token(counted, 2));
    CHECK(token(moved, 1) == token(counted, 0));
    CHECK(token(counted, 0) != token(counted, 1));
    CHECK(weights({.first = 10, .seed = 1, .training = true}) != counted);
    CHECK(token(weights({.first = 10}), 0) == std::vector<float>{0.5f, 0.5f});  // no noise outside training

    std::vector<double> given(24);
    given[8 + 3] = 5;  // token 1, expert 3
    const given_draws draws{noise::stream, 8, given.data()};
    gate_result<float> out;
    gate::forward(backend::reference{}, m, gate_data<float>{learned.data()}, {.training = true, .draws = {&draws, 1}},
                  view<const float>(logit.data(), 3, 16), out);
    CHECK(list(out.choice.expert, 6) == std::vector<int>{0, 1, 3, 0, 0, 1});
}
TEST_CASE("gate: a stage that looks across tokens decides once; the stages behind it see what is left") {
    const auto m = sized<64>(last_stays_gate{}, 3, 1);
    const float l = std::log(2.f);
    const std::vector<float> logit{l, 0, 0, 0, l, 0, l, 0, 0, 0, l, 0, 0, 0, l};
    std::array<bool, 5> padding{false, false, false, true, false};
    const auto out = forward(backend::reference{}, m, {.padding = padding}, logit, 5);
    CHECK(list(out.wanted, 5) == std::vector<int>{0, 1, 0, no_expert, 2});
    CHECK(list(out.choice.expert, 5) == std::vector<int>{no_expert, 1, 0, no_expert, 2});
    CHECK(out.choice.weight[0] == 0);
    CHECK(out.choice.weight[1] == doctest::Approx(1));
    CHECK(out.asked<decltype(m.stages())>() == out.wanted.data());

    std::vector<float> d_weight(5, 1.f), d_logit(15);
    buffer<float> partial;
    gate::backward<backend::reference, decltype(m), float>({}, m, {}, {.padding = padding}, {logit.data(), 5, 3}, out, {{d_weight.data(), 5, 1}},
                                                           {d_logit.data(), 5, 3}, nullptr, partial);
    for (const long t : {0L, 3L})
        for (long e = 0; e < 3; ++e) CHECK(d_logit.data()[3 * t + e] == 0);  // dropped or padded
    CHECK(d_logit[4] == doctest::Approx(2 * 0.5 * 0.5));
}
TEST_CASE("gate: scores for the losses, and a token after every stage") {
    const auto m = sized<64>(deepseek_v3_gate{.groups = 2, .keep = 1, .scale = 4}, 4, 1);
    const std::vector<double> logit{0, 1, 2, -1};
    const auto out = forward(backend::reference{}, m, {}, logit, 1);
    const std::vector<double> bias{0.5, 0, 0, 0};
    const gate_data<double> data{nullptr, bias.data(), nullptr};
    std::vector<double> score(4);
    std::vector<double> scored(4);
    gate::scores<backend::reference, decltype(m), double>({}, m, data, {}, {logit.data(), 1, 4}, {scored.data(), 1, 4}, {score.data(), 1, 4});
    CHECK(scored == logit);
    for (int e = 0; e < 4; ++e) CHECK(score.data()[e] == doctest::Approx(1 / (1 + std::exp(-logit.data()[e]))));

    const auto seen = gate::inspect<decltype(m), double>(m, data, {}, {logit.data(), 1, 4}, out, 0);
    REQUIRE(seen.size() == 7);
    CHECK(seen[0].score == logit);
    CHECK(seen[0].expert == std::vector<int>{no_expert});
    CHECK(seen[1].score == score);
    CHECK(seen[2].bias == bias);
    CHECK(seen[3].bias[3] == -infinity<double>);
    CHECK(seen[3].bias[0] == 0.5);
    CHECK(seen[4].expert == std::vector<int>{0});
    CHECK(seen[4].weight[0] == score[0]);
    CHECK(seen[6].weight[0] == doctest::Approx(4));
    CHECK_THROWS_AS((gate::inspect<decltype(m), double>(m, data, {}, {logit.data(), 1, 4}, out, 1)), argument_error);
}
