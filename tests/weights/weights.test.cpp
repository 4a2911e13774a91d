#include <support/products.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace guild;

namespace {
constexpr config numbers_of{.hidden = 6, .expert_hidden = 5, .routed_experts = 4, .top_k = 2, .shared_experts = 2, .expert_bias = true};
using whole_model = dynamic_model<deepseek_v3_gate, swiglu, gated_shared>;
const whole_model whole{.config = numbers_of, .gate = {.groups = 1, .keep = 1}, .passive = {.zero = 1, .constant = 2}};
using names = std::vector<std::pair<std::string, std::size_t>>;

/// Every tensor and its size, in order.
template <class W> names sizes(W& w) {
    names list;
    each_tensor([&](const char* name, const auto& t) { list.emplace_back(name, t.size()); }, w);
    return list;
}
std::vector<float> input() {
    std::vector<float> x;
    for (long i = 0; i < 7 * 6; ++i) x.push_back(static_cast<float>(normal(3, 0, 0, i)));
    return x;
}
/// y of a layer on seven tokens.
template <class Format> std::vector<float> y_of(const weights_view<Format>& w, const whole_model& m) {
    const auto x = input();
    std::vector<float> y(x.size());
    workspace<float> ws;
    layer<whole_model, Format, backend::reference>{w, m}.forward({x.data(), 7, 6}, {y.data(), 7, 6}, ws);
    return y;
}
}  // namespace

TEST_CASE("weights: every tensor in a fixed order, with the size that the model gives it") {
    const weights<whole_model> w(whole);
    CHECK(sizes(w) == names{{"router", 7 * 6},
                            {"learned", 0},
                            {"shared_gate", 6},
                            {"constant", 2 * 6},
                            {"input", 0},
                            {"experts.gate", 4 * 5 * 6},
                            {"experts.up", 4 * 5 * 6},
                            {"experts.down", 4 * 6 * 5},
                            {"experts.gate_bias", 4 * 5},
                            {"experts.up_bias", 4 * 5},
                            {"experts.down_bias", 4 * 6},
                            {"shared.gate", 10 * 6},
                            {"shared.up", 10 * 6},
                            {"shared.down", 6 * 10},
                            {"shared.gate_bias", 0},
                            {"shared.up_bias", 0},
                            {"shared.down_bias", 0}});
    CHECK(w.state.size() == 7);
    const dynamic_model<mixtral_gate, relu> plain{
        .config = {.hidden = 6, .expert_hidden = 5, .routed_experts = 3, .top_k = 1, .shared_hidden = 4, .shared_bias = true}};
    const weights<std::remove_const_t<decltype(plain)>> few(plain);
    CHECK(sizes(few) == names{{"router", 18},
                              {"learned", 0},
                              {"shared_gate", 0},
                              {"constant", 0},
                              {"input", 0},
                              {"experts.gate", 0},
                              {"experts.up", 90},
                              {"experts.down", 90},
                              {"experts.gate_bias", 0},
                              {"experts.up_bias", 0},
                              {"experts.down_bias", 0},
                              {"shared.gate", 0},
                              {"shared.up", 24},
                              {"shared.down", 24},
                              {"shared.gate_bias", 0},
                              {"shared.up_bias", 4},
                              {"shared.down_bias", 6}});
}
TEST_CASE("weights: several sets in step; zero at first, and again") {
    auto a = random_weights<whole_model>(1, whole);
    weights<whole_model> b(whole);
    each_tensor(
        [](const char* name, auto& x, auto& y) {
            CAPTURE(name);
            CHECK(x.size() == y.size());
            CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 0; }));
            CHECK(std::none_of(x.begin(), x.end(), [](float v) { return v == 0; }));
        },
        a, b);
    zero(a);
    CHECK(a.router == b.router);
    CHECK(a.experts.down_bias == b.experts.down_bias);
    CHECK(a.state != b.state);  // no gradient, so no part of zero
}
TEST_CASE("random_weights: normal, of variance 1 / fan-in, the same for a seed in every format") {
    const dynamic_model<mixtral_gate> m{.config = {.hidden = 64, .expert_hidden = 16, .routed_experts = 8, .top_k = 2}};
    using M = dynamic_model<mixtral_gate>;
    const auto w = random_weights<M>(1, m), again = random_weights<M>(1, m), other = random_weights<M>(2, m);
    const auto wide = random_weights<M, double>(1, m);
    const auto half = random_weights<M, bf16>(1, m);
    const auto variance = [](const auto& t) {
        double s = 0;
        for (const auto v : t) s += static_cast<double>(v) * static_cast<double>(v);
        return s / static_cast<double>(t.size());
    };
    CHECK(64 * variance(w.experts.up) == doctest::Approx(1).epsilon(0.05));
    CHECK(16 * variance(w.experts.down) == doctest::Approx(1).epsilon(0.05));
    CHECK(w.experts.up == again.experts.up);
    CHECK(w.experts.up != other.experts.up);
    CHECK(w.experts.up != w.experts.gate);
    for (std::size_t i = 0; i < w.experts.up.size(); ++i) {
        CHECK(w.experts.up[i] == static_cast<float>(wide.experts.up[i]));
        CHECK(half.experts.up[i] == bf16(w.experts.up[i]));
    }
    CHECK(half.router == w.router);  // the router is not stored in the format

    const M shared{.config = {.hidden = 16, .expert_hidden = 4, .routed_experts = 8, .top_k = 2, .shared_experts = 1, .shared_hidden = 256}};
    const auto s = random_weights<M>(1, shared);
    CHECK(256 * variance(s.shared.down) == doctest::Approx(1).epsilon(0.05));
    CHECK(16 * variance(s.shared.up) == doctest::Approx(1).epsilon(0.05));
}
TEST_CASE("weights_view: separate, fused and interleaved gate and up tensors give the same output") {
    const auto w = random_weights<whole_model>(5, whole);
    const weights_view<float> separate = w;
    const auto expected = y_of(separate, whole);
    CHECK(std::any_of(expected.begin(), expected.end(), [](float v) { return v != 0; }));

    // [E, 2 F, H]: the gate rows of an expert, then its up rows; or row by row in turn. Biases likewise [E, 2 F].
    const long E = 4, F = 5, H = 6;
    std::vector<float> fused(static_cast<std::size_t>(E * 2 * F * H)), interleaved = fused, fused_bias(static_cast<std::size_t>(E * 2 * F)),
                                                                       interleaved_bias = fused_bias;
    for (long e = 0; e < E; ++e)
        for (long f = 0; f < F; ++f) {
            const float *const gate = w.experts.gate.data() + (e * F + f) * H, *const up = w.experts.up.data() + (e * F + f) * H;
            std::copy(gate, gate + H, fused.data() + (e * 2 * F + f) * H);
            std::copy(up, up + H, fused.data() + (e * 2 * F + F + f) * H);
            std::copy(gate, gate + H, interleaved.data() + (e * 2 * F + 2 * f) * H);
            std::copy(up, up + H, interleaved.data() + (e * 2 * F + 2 * f + 1) * H);
            fused_bias.data()[e * 2 * F + f] = interleaved_bias.data()[e * 2 * F + 2 * f] = w.experts.gate_bias.data()[e * F + f];
            fused_bias.data()[e * 2 * F + F + f] = interleaved_bias.data()[e * 2 * F + 2 * f + 1] = w.experts.up_bias.data()[e * F + f];
        }
    auto v = separate;
    v.experts.gate = {fused.data(), 2 * F * H, H};
    v.experts.up = {fused.data() + F * H, 2 * F * H, H};
    v.experts.gate_bias = {fused_bias.data(), 2 * F, 1};
    v.experts.up_bias = {fused_bias.data() + F, 2 * F, 1};
    CHECK(y_of(v, whole) == expected);
    v.experts.gate = {interleaved.data(), 2 * F * H, 2 * H};
    v.experts.up = {interleaved.data() + H, 2 * F * H, 2 * H};
    v.experts.gate_bias = {interleaved_bias.data(), 2 * F, 2};
    v.experts.up_bias = {interleaved_bias.data() + 1, 2 * F, 2};
    CHECK(y_of(v, whole) == expected);

    const auto eigen = [&](const weights_view<float>& some) {
        const auto x = input();
        std::vector<float> y(x.size());
        workspace<float> ws;
        layer<whole_model>{some, whole}.forward({x.data(), 7, 6}, {y.data(), 7, 6}, ws);
        return y;
    };
    CHECK(eigen(v) == eigen(separate));
}
TEST_CASE("weights: bf16 gives what its rounded numbers give in float") {
    const auto stored = random_weights<whole_model, bf16>(5, whole);
    auto rounded = random_weights<whole_model>(5, whole);
    for (auto* t :
         {&rounded.experts.gate, &rounded.experts.up, &rounded.experts.down, &rounded.shared.gate, &rounded.shared.up, &rounded.shared.down})
        for (float& v : *t) v = decode(bf16(v));
    const auto a = y_of<bf16>(stored, whole), b = y_of<float>(rounded, whole);
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) <= 1e-5f);  // compilers contract the two loops differently
}
TEST_CASE("convert: any number of threads, the same numbers") {
    const auto w = random_weights<whole_model>(5, whole);
    const auto expected = convert<int4<>>(w);
    for (const int count : {1, 2, 3, 7}) {
        const thread_pool pool(count);
        const auto found = convert<int4<>>(w, pool);
        each_tensor([](const char* name, const auto& a, const auto& b) { CHECK_MESSAGE(a == b, name); }, found, expected);
        CHECK(convert<double>(found, threads{pool}).experts.down == convert<double>(expected).experts.down);
    }
}
TEST_CASE("weights: a model that breaks a rule has none") {
    whole_model m = whole;
    m.config.top_k = 8;
    CHECK_THROWS_WITH_AS(weights<whole_model>{m}, "guild::config: .top_k must be at most .routed_experts (plus passive experts), found 8 of 7",
                         argument_error);
}
