#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

// A layer over weights in any format computes what a layer over the decoded weights does, forward and backward.

/// A format of a user's own that serves views alone: experts wherever a table says.
struct by_table {};
struct table_of_matrices {
    const guild::bf16* const* data = nullptr;
    long row_stride = 0;
    float operator()(long e, long r, long c) const { return decode(data[e][r * row_stride + c]); }
};
template <> struct guild::format<by_table> {
    using scalar = float;
    using stack = table_of_matrices;
    using storage = std::vector<guild::bf16>;
};

namespace {
using guild::bf16, guild::fp8, guild::half, guild::int4, guild::int8, guild::mxfp4;
using reference = guild::backend::reference;
using eigen = guild::backend::eigen<>;

template <class A, class B> double deviation(A& a, B& b) {
    double most = std::max({test::apart(a.inferred, b.inferred), test::apart(a.y, b.y), test::apart(a.dx, b.dx)});
    guild::each_tensor(
        [&](const char*, const auto& one, const auto& two) {
            test::deviation d;
            for (std::size_t i = 0; i < two.size(); ++i) d.add(static_cast<double>(one[i]), static_cast<double>(two[i]));
            most = std::max(most, d.relative());
        },
        a.gradient, b.gradient);
    return most;
}
template <class Format, class Backend, class Model> void compare(const guild::weights<Model, Format>& stored, long tokens, test::place at) {
    const auto decoded = guild::convert<float>(stored);
    const guild::layer<Model, Format, Backend> layer{stored};
    const guild::layer<Model, float, Backend> plain{decoded};
    const auto token = test::first_tokens(tokens);
    test::outcome expected(plain, token);
    test::outcome found(layer, token, {}, at);
    CHECK(found.intact());
    CHECK(deviation(found, expected) < 2e-6);
}
template <class Format, class Model> void compare(const test::shape& s) {
    CAPTURE(s);
    const auto stored = guild::convert<Format>(s.weights<float>(s.model<Model>()));
    compare<Format, reference>(stored, s.tokens, {});
    compare<Format, eigen>(stored, s.tokens, {.offset = 3, .gap = 5});
}
guild::config widths(int hidden, int expert_hidden) {
    return {.hidden = hidden,
            .expert_hidden = expert_hidden,
            .routed_experts = 5,
            .top_k = 2,
            .shared_experts = 1,
            .expert_bias = true,
            .shared_bias = true};
}
}  // namespace

#define FORMATS bf16, half, fp8, int8, int4<32>, int4<128>, mxfp4

TEST_CASE_TEMPLATE("weights in a format give what the decoded weights give", Format, FORMATS) {
    compare<Format, test::gated_model<>>({.tokens = 37, .config = widths(40, 72)});
    compare<Format, test::gated_model<>>({.tokens = 6, .config = widths(33, 1), .passive = {.zero = 1, .constant = 2}});
    compare<Format, test::gated_model<>>({.tokens = 9, .config = widths(136, 265), .residual = guild::residual::plain});  // past a block, and a tile
}
TEST_CASE("weights in a format give what the decoded weights give, where the activation has one input") {
    compare<mxfp4, test::plain_model<>>({.tokens = 37, .config = widths(40, 72)});
}

TEST_CASE_TEMPLATE("random weights are the same numbers in every format, but for its rounding", Format, FORMATS) {
    const test::shape s{.config = widths(40, 72), .passive = {.constant = 1}};
    const auto m = s.model<test::gated_model<>>();
    const auto w = guild::random_weights<test::gated_model<>, Format>(6, m),
               same = guild::convert<Format>(guild::random_weights<test::gated_model<>>(6, m));
    guild::each_tensor([](const char* name, const auto& a, const auto& b) { CHECK_MESSAGE(a == b, name); }, w, same);
    CHECK(w.state == same.state);
}

TEST_CASE("converted weights bring everything that is not in a matrix of an expert, the table of a gate that hashes too") {
    using model = guild::dynamic_model<guild::hash_gate>;
    const model m{.config = widths(40, 72), .gate = {}, .passive = {.constant = 1}};
    auto w = guild::random_weights<model>(3, m);
    w.table = {0, 1, 2, 3, 4, 5};
    const auto stored = guild::convert<int8>(w);
    CHECK(stored.table == w.table);
    CHECK(stored.router == w.router);
    CHECK(stored.constant == w.constant);
    CHECK(stored.experts.down_bias == w.experts.down_bias);
    const auto wide = guild::convert<double>(stored);
    CHECK(wide.experts.up[7] == static_cast<double>(guild::convert<float>(stored).experts.up[7]));
    CHECK(guild::convert<float>(guild::convert<float>(w)).experts.gate == w.experts.gate);
}

TEST_CASE("scales that are missing are named, before a layer or its conversion reads them") {
    const test::shape s{.config = widths(40, 72)};
    const auto m = s.model<test::gated_model<>>();
    const auto w = guild::random_weights<test::gated_model<>, mxfp4>(1, m);
    using view = guild::weights_view<mxfp4>;
    const auto refused = [&](const char* name, const view& v) {
        const std::string text = "guild::layer: weights " + std::string(name) + " are null, which this model needs";
        CHECK_THROWS_WITH_AS((guild::layer<test::gated_model<>, mxfp4>{v, m}), text.c_str(), guild::argument_error);
        CHECK_THROWS_WITH_AS(guild::convert<float>(v, m), text.c_str(), guild::argument_error);
    };
    const auto without = [&](const char* name, auto network, auto matrix) {
        view v = w;
        ((v.*network).*matrix).scale = nullptr;
        refused((std::string(name) + ".scale").c_str(), v);
        ((v.*network).*matrix).data = nullptr;
        refused(name, v);
    };
    without("experts.gate", &view::experts, &view::network::gate);
    without("experts.up", &view::experts, &view::network::up);
    without("experts.down", &view::experts, &view::network::down);
    without("shared.down", &view::shared, &view::network::down);
}

TEST_CASE("a format that only views: experts in any order, by a table") {
    struct small : guild::model<guild::config{.hidden = 12, .expert_hidden = 8, .routed_experts = 5, .top_k = 2}, guild::qwen3_gate{}> {};
    const auto w = guild::random_weights<small, bf16>(1);
    const bf16 *gate[5], *up[5], *down[5];
    for (long e = 0; e < 5; ++e) {
        gate[e] = w.experts.gate.data() + e * 8 * 12;
        up[e] = w.experts.up.data() + e * 8 * 12;
        down[e] = w.experts.down.data() + e * 8 * 12;
    }
    guild::weights_view<by_table> view{.router = {w.router.data(), 0, 12}};
    view.experts.gate = {gate, 12}, view.experts.up = {up, 12}, view.experts.down = {down, 8};
    const guild::layer<small, bf16> expected_layer{w};
    const guild::layer<small, by_table> layer{view};
    const test::outcome expected(expected_layer, test::first_tokens(9));
    const test::outcome found(layer, test::first_tokens(9));
    CHECK(test::same_bits(found.inferred, expected.inferred));
    CHECK(test::same_bits(found.dx, expected.dx));
    CHECK(test::same_gradients(found.gradient, expected.gradient));
}
