#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <Eigen/Core>

#include <doctest/doctest.h>

#include <string>
#include <utility>

// Who owns what, from call to call: weights that are assigned to, swapped, moved or resized, workspaces and tapes that others use or have filled.

namespace {
using guild::argument_error, guild::config, guild::shape_error;

/// Every tensor that there is.
struct whole_gate : test::learned_gate {
    static constexpr auto input() { return guild::rms_input{}; }
};
struct whole
    : guild::model<
          config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
          whole_gate{}, guild::gated_shared{}, guild::passive{.constant = 1, .blend = 1}, guild::z_loss{}> {};
using any_whole = guild::dynamic_model<whole_gate, guild::swiglu, guild::gated_shared, 8>;
const any_whole numbers{.config = whole::config, .passive = whole::passive};

template <class Model, class Format> guild::weights<Model, Format> made(unsigned long long seed) {
    if constexpr (std::is_same_v<Model, any_whole>) return guild::random_weights<Model, Format>(seed, numbers);
    else return guild::random_weights<Model, Format>(seed);
}

/// Everything that a call may write, and calls that must be refused before they do.
template <class Layer> struct caller {
    const Layer& layer;
    test::outcome<Layer> o{layer, test::first_tokens(6)}, before{layer, test::first_tokens(6)};

    explicit caller(const Layer& l) : layer(l) {}
    void refused(const std::string& text) {
        const auto throws = [&](auto call) { CHECK_THROWS_WITH_AS(call(), text.c_str(), shape_error); };
        throws([&] { layer.loss(o.tape); });
        throws([&] { layer.measure(guild::switch_loss{}, o.tape); });
        throws([&] { layer.inspect(o.tape, 0); });
        throws([&] { layer.backward(o.dy, o.dx, o.gradient, o.tape); });
        throws([&] { layer.backward(o.dx, o.gradient, o.tape); });
        throws([&] { layer.forward(o.x, o.inferred, o.workspace); });
        throws([&] { layer.forward(o.x, o.y, o.tape); });
        CHECK(test::same_bits(o.inferred, before.inferred));
        CHECK(test::same_bits(o.y, before.y));
        CHECK(test::same_bits(o.dx, before.dx));
        CHECK(test::same_gradients(o.gradient, before.gradient));
    }
};

/// f(name, tensor) for the tensors of weights and the state.
template <class W, class F> void each_with_state(W& w, F f) {
    guild::each_tensor(f, w);
    f("state", w.state);
}
/// Each tensor in turn has another size: longer, shorter, none.
template <class Model, class Format> void resized() {
    auto w = made<Model, Format>(1);
    const guild::layer layer(w);
    caller c(layer);
    int tensors = 0;
    const auto wrong = [&](const std::string& name, auto& v) {
        const auto right = v;
        for (const std::size_t size : {right.size() + 1, right.size() - 1, std::size_t(0)}) {
            v.resize(size);
            c.refused("guild::layer: weights " + name + " has " + std::to_string(size) + " numbers, expected " + std::to_string(right.size()));
            v = right;
            layer.forward(c.o.x, c.o.y, c.o.tape);
        }
        ++tensors;
    };
    each_with_state(w, [&](const std::string& name, auto& t) {
        CAPTURE(name);
        if constexpr (requires { t.scale; }) wrong(name, t.data), wrong(name + ".scale", t.scale);
        else wrong(name, t);
    });
    CHECK(tensors == (guild::has_scales<Format> ? 24 : 18));
    const test::outcome again(layer, test::first_tokens(6));
    CHECK(test::same_bits(again.y, c.before.y));
}
}  // namespace

TEST_CASE("weights of another size are a shape_error at the next call, which names the tensor") {
    resized<whole, float>();
    resized<whole, guild::bf16>();
    resized<whole, guild::mxfp4>();
    resized<any_whole, float>();
}

TEST_CASE("a tensor that the model does not have, and another model's weights") {
    struct bare : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, guild::relu{}> {};
    auto w = guild::random_weights<bare>(1);
    const guild::layer layer(w);
    test::matrix<float> x(3, 4), y(3, 4);
    x.random(1);
    guild::workspace<float> ws;
    each_with_state(w, [&](const std::string& name, auto& t) {
        if (!t.empty()) return;
        t.resize(7);
        CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), ("guild::layer: weights " + name + " has 7 numbers, expected 0").c_str(), shape_error);
        t.clear();
    });
    layer.forward(x, y, ws);

    auto any = made<any_whole, float>(1);
    const guild::layer of_any(any);
    of_any.forward(x, y, ws);
    any_whole wide = numbers;
    wide.config.routed_experts = 6;
    any = guild::random_weights<any_whole>(1, wide);
    CHECK_THROWS_WITH_AS(of_any.forward(x, y, ws), "guild::layer: weights router has 64 numbers, expected 56", shape_error);
    any_whole more = numbers;
    more.config.top_k = 3;  // the same tensors
    any = guild::random_weights<any_whole>(1, more);
    CHECK_THROWS_WITH_AS(of_any.forward(x, y, ws), "guild::layer: the weights belong to a model of other numbers", shape_error);
}

namespace {
/// Whether a layer computes with what `w` holds now.
template <class Layer, class W> void follows(const Layer& layer, const W& w) {
    const test::outcome<Layer> now(layer, test::first_tokens(6)), expected(Layer(w), test::first_tokens(6));
    CHECK(test::same_bits(now.inferred, expected.inferred));
    CHECK(test::same_bits(now.y, expected.y));
    CHECK(test::same_bits(now.dx, expected.dx));
    CHECK(test::same_gradients(now.gradient, expected.gradient));
}
template <class Model, class Format> void followed() {
    using weights = guild::weights<Model, Format>;
    weights w = made<Model, Format>(1), one = made<Model, Format>(1), two = made<Model, Format>(2), three = made<Model, Format>(3);
    const guild::layer layer(w);
    follows(layer, one);
    w = made<Model, Format>(2);
    follows(layer, two);
    w = three;
    follows(layer, three);
    std::swap(w, one);
    follows(layer, made<Model, Format>(1));
    weights away = std::move(w);
    test::matrix<float> x(6, 4), y(6, 4);
    guild::workspace<float> ws;
    CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), "guild::layer: weights router has 0 numbers, expected 56", shape_error);
    w = std::move(away);
    follows(layer, made<Model, Format>(1));
    w.router = std::vector<float>(two.router);  // one tensor alone
    w.experts.up = typename guild::format<Format>::storage(two.experts.up);
    follows(layer, weights(w));
    const guild::layer copy = layer;
    w = two;
    follows(copy, two);
}
}  // namespace

TEST_CASE("weights that are assigned to, swapped or moved into are followed; moved from they are a shape_error") {
    followed<whole, float>();
    followed<whole, guild::int8>();
    followed<any_whole, float>();
}

TEST_CASE("weights of a model whose experts are of other kinds are refused, though their sizes are the same") {
    using any = guild::dynamic_model<guild::switch_gate>;
    const any zeros{.config = {.hidden = 4, .expert_hidden = 4, .routed_experts = 2, .top_k = 1}, .passive = {.zero = 2}};
    any identities = zeros, rest = zeros;
    identities.passive = {.identity = 2};
    rest.residual = guild::residual::plain;
    for (const any& other : {identities, rest}) {
        auto w = guild::random_weights<any>(1, zeros);
        const guild::layer layer(w);
        w = guild::random_weights<any>(1, other);
        test::matrix<float> x(3, 4), y(3, 4);
        x.random(1);
        guild::workspace<float> ws;
        CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), "guild::layer: the weights belong to a model of other numbers", shape_error);
    }
}

TEST_CASE("packed weights that are swapped or moved into are followed; moved from they are a shape_error") {
    using packed = guild::packed_weights<whole, float, guild::backend::eigen<>>;
    const auto first = guild::random_weights<whole>(1), second = guild::random_weights<whole>(2);
    packed w(first), other(second);
    const guild::layer layer(w);
    test::matrix<float> x(6, 4), y(6, 4), expected(6, 4);
    x.random(1);
    guild::workspace<float> ws;
    const auto follows = [&](const guild::weights<whole>& now) {
        layer.forward(x, y, ws);
        const packed fresh(now);
        guild::layer(fresh).forward(x, expected, ws);
        CHECK(test::same_bits(y, expected));
    };
    const char* const text = "guild::layer: packed weights router has 0 numbers, expected 56";
    follows(first);
    std::swap(w, other);
    follows(second);
    packed away = std::move(w);
    expected = y;
    CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), text, shape_error);
    CHECK_THROWS_WITH_AS(w.unpack(), text, shape_error);
    CHECK(test::same_bits(y, expected));
    w = packed(first);
    follows(first);
    w = std::move(away);
    follows(second);
}

TEST_CASE("weights moved from are not packed, converted, viewed or compared") {
    using packed = guild::packed_weights<whole, float, guild::backend::eigen<>>;
    auto w = guild::random_weights<whole>(1);
    const auto away = std::move(w);
    const char* const text = "guild::layer: weights router has 0 numbers, expected 56";
    CHECK_THROWS_WITH_AS(packed{w}, text, shape_error);
    CHECK_THROWS_WITH_AS(guild::convert<guild::bf16>(w), text, shape_error);
    const auto viewed = [](const guild::weights_view<float>&) {};
    CHECK_THROWS_WITH_AS(viewed(w), text, shape_error);
    CHECK_THROWS_WITH_AS(guild::router_similarity(w), text, shape_error);
    auto resized = away;
    resized.experts.down.pop_back();
    const char* const short_by_one = "guild::layer: weights experts.down has 59 numbers, expected 60";
    CHECK_THROWS_WITH_AS(packed{resized}, short_by_one, shape_error);
    CHECK_THROWS_WITH_AS(guild::convert<guild::bf16>(resized), short_by_one, shape_error);
}

TEST_CASE("gradients that are the weights themselves") {
    auto w = guild::random_weights<whole>(1);
    const guild::layer<whole> layer(w), viewed(static_cast<guild::weights_view<float>>(w));
    const auto same = w;
    for (const auto* l : {&layer, &viewed}) {
        test::outcome o(*l, test::first_tokens(3));
        const char* const text = "guild::layer: the gradients are the weights themselves, expected separate memory";
        CHECK_THROWS_WITH_AS(l->backward(o.dy, o.dx, w, o.tape), text, argument_error);
        CHECK_THROWS_WITH_AS(l->backward(o.dx, w, o.tape), text, argument_error);
        CHECK(test::same_gradients(w, same));
    }
}

TEST_CASE("a workspace or tape in which a call works is refused by every other, and free after one that throws") {
    const auto w = guild::random_weights<whole>(1);
    const guild::layer layer(w);
    test::outcome o(layer, test::first_tokens(3)), before(layer, test::first_tokens(3));
    const std::string workspace = "guild::layer: the workspace is in use by another call, expected one for each concurrent caller",
                      tape = "guild::layer: the tape is in use by another call, expected one for each concurrent caller";
    const auto refused = [&](auto call, const std::string& text) { CHECK_THROWS_WITH_AS(call(), text.c_str(), argument_error); };
    {
        const guild::detail::in_use::call one(o.workspace.use, ""), two(o.tape.use, "");
        refused([&] { layer.forward(o.x, o.inferred, o.workspace); }, workspace);
        refused([&] { layer.load(o.workspace); }, workspace);
        refused([&] { layer.load(o.tape); }, workspace);
        refused([&] { layer.filled(o.workspace); }, workspace);
        refused([&] { layer.reserve(o.workspace, 3); }, workspace);
        refused([&] { guild::telemetry{}.add(layer, o.workspace); }, workspace);
        refused([&] { layer.forward(o.x, o.y, o.tape); }, tape);
        refused([&] { layer.backward(o.dy, o.dx, o.gradient, o.tape); }, tape);
        refused([&] { layer.backward(o.dx, o.gradient, o.tape); }, tape);
        refused([&] { layer.loss(o.tape); }, tape);
        refused([&] { layer.measure(guild::z_loss{}, o.tape); }, tape);
        refused([&] { layer.inspect(o.tape, 0); }, tape);
        refused([&] { guild::mixture_likelihood<float>(o.x, o.tape); }, tape);
        CHECK(test::same_bits(o.y, before.y));
        CHECK(test::same_gradients(o.gradient, before.gradient));
        auto copy = o.workspace;  // is free
        auto moved = std::move(o.tape);
        layer.forward(o.x, o.inferred, copy);
        layer.backward(o.dy, o.dx, o.gradient, moved);
    }
    o.workspace.reserve(layer, 2);
    for (int i = 0; i < 2; ++i)
        CHECK_THROWS_WITH_AS(layer.forward(o.x, o.inferred, o.workspace), "guild::workspace: reserved for 2 tokens, this batch has 3", shape_error);
    layer.forward(o.x, o.y, o.tape);
    CHECK(test::same_bits(o.y, before.y));
}

TEST_CASE("a tape that another layer has filled last") {
    const auto w = guild::random_weights<whole>(1), same = w;
    const guild::weights_view<float> one = w, two = same;
    const guild::layer<whole> a(w), b(same), c(one), d(two);
    const std::string text = "guild::layer: the tape was filled by a layer of other weights";
    const auto refused = [&](const auto& by, const auto& other) {
        test::outcome o(by, test::first_tokens(3)), before(by, test::first_tokens(3));
        const auto one_call = [&](auto call) { CHECK_THROWS_WITH_AS(call(), text.c_str(), argument_error); };
        one_call([&] { other.backward(o.dy, o.dx, o.gradient, o.tape); });
        one_call([&] { other.backward(o.dx, o.gradient, o.tape); });
        one_call([&] { other.loss(o.tape); });
        one_call([&] { other.measure(guild::z_loss{}, o.tape); });
        one_call([&] { other.inspect(o.tape, 0); });
        CHECK_THROWS_WITH_AS(other.load(o.workspace), "guild::layer: the workspace was filled by a layer of other weights", argument_error);
        CHECK_THROWS_WITH_AS(guild::telemetry{}.add(other, o.workspace),
                             "guild::telemetry: the workspace is empty or another layer's, expected one that this layer has filled", argument_error);
        CHECK((by.filled(o.tape) && !other.filled(o.tape)));
        CHECK(test::same_bits(o.dx, before.dx));
        CHECK(test::same_gradients(o.gradient, before.gradient));
        by.load(o.workspace);
    };
    refused(a, b);
    refused(b, a);
    refused(c, d);
    const guild::layer copy = a;  // the same weights
    test::outcome o(a, test::first_tokens(3));
    copy.backward(o.dy, o.dx, o.gradient, o.tape);
    CHECK(copy.filled(o.workspace));
}

TEST_CASE("backward again on one tape gives the same again, whatever is asked in between; a tape without what it reads is refused") {
    const auto check = [](const auto& layer, const guild::batch& side) {
        test::outcome o(layer, test::first_tokens(9), side);
        test::matrix<float> dx(9, layer.model().config.hidden);
        for (int i = 0; i < 2; ++i) {
            typename std::remove_cvref_t<decltype(layer)>::gradients gradient(layer.model());
            CHECK(layer.loss(o.tape) == o.loss);
            layer.measure(guild::z_loss{}, o.tape);
            layer.inspect(o.tape, 3);
            layer.load(o.tape);
            dx.fill(5);
            layer.backward(o.dy, dx, gradient, o.tape);
            CHECK(test::same_bits(dx, o.dx));
            CHECK(test::same_gradients(gradient, o.gradient));
            test::matrix<float> other(9, layer.model().config.hidden), d_other(9, layer.model().config.hidden);
            typename std::remove_cvref_t<decltype(layer)>::gradients of_other(layer.model());
            layer.backward(other.random(77), d_other, of_other, o.tape);  // by another dy in between
        }
    };
    const auto w = guild::random_weights<whole>(1);
    check(guild::layer(w), {.training = true});
    struct weighed : guild::model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, test::llama4_gate{},
                                  guild::passive{.identity = 1, .constant = 1}, guild::residual::complement, guild::z_loss{}> {};
    const auto on_input = guild::random_weights<weighed>(1);
    check(guild::layer(on_input), {});
    struct inkling : guild::model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 6, .top_k = 2, .shared_experts = 2},
                                  guild::inkling_gate{.shared = 2}, guild::z_loss{}> {};
    const auto shares = guild::random_weights<inkling>(1);
    check(guild::layer(shares), {});

    const guild::layer layer(w);
    const char* const empty = "guild::layer: the tape is empty, expected one that a forward of this layer has filled";
    test::outcome o(layer, test::first_tokens(4));
    const auto refused = [&](guild::tape<float>& tape) {
        CHECK_THROWS_WITH_AS(layer.backward(o.dy, o.dx, o.gradient, tape), empty, argument_error);
        CHECK_THROWS_WITH_AS(layer.loss(tape), empty, argument_error);
    };
    guild::tape<float> moved = std::move(o.tape);
    refused(o.tape);
    layer.backward(o.dy, o.dx, o.gradient, moved);
    o.tape = std::move(moved);
    refused(moved);
    layer.backward(o.dy, o.dx, o.gradient, o.tape);
    refused(moved);
    CHECK_THROWS_AS(guild::mixture_likelihood<float>(o.x, moved), argument_error);
}

TEST_CASE("a training forward takes maps, blocks and references that end with the call: what they point to does not") {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto w = guild::random_weights<whole>(1);
    const guild::layer layer(w);
    matrix x = matrix::Random(8, 4), y(4, 4), again(4, 4);
    guild::tape<float> tape;
    guild::workspace<float> ws;
    layer.forward(matrix(x.topRows(4)), again, ws);  // inference takes a temporary
    const auto same = [&] { CHECK(y == again); };
    layer.forward(x.topRows(4), y, tape), same();
    layer.forward(Eigen::Map<matrix>(x.data(), 4, 4), y, tape), same();
    layer.forward(Eigen::Map<const matrix>(x.data(), 4, 4), y, tape), same();
    layer.forward(Eigen::Ref<matrix>(x).topRows(4), Eigen::Map<matrix>(y.data(), 4, 4), tape), same();
    layer.forward({x.data(), 4, 4}, y, tape, {.training = false}), same();
    const matrix constant = x.topRows(4);
    layer.forward(constant, y, tape), same();
}
