#include <support/products.hpp>
#include <support/left_behind.hpp>
#include <support/matrix.hpp>

#include <guild/weights/random.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <span>

// Layers so small that a few tokens go one by one through their experts, without a plan: nothing but time may tell.

namespace {
using guild::view;
constexpr int H = 40;

/// Tokens [first, first + T) of many, and room for what a layer makes of them.
struct tokens {
    test::matrix<float> x, y;
    tokens(long first, long T, long width = H) : x(T, width), y(T, width) {
        for (long t = 0; t < T; ++t)
            for (long h = 0; h < width; ++h) x(t, h) = static_cast<float>(guild::normal(9, 0, first + t, h));
    }
    view<const float> result(long t) const { return {y.all().row(t), 1, y.cols()}; }
};

/// A small layer, and another road to its outputs: a training forward never goes token by token.
template <class Gate> struct small_layer {
    using model = guild::dynamic_model<Gate>;
    using backend = guild::backend::eigen<>;
    using packed = guild::packed_weights<model, float, backend>;

    packed weights;
    guild::layer<model, guild::packed<float>, backend> layer;

    explicit small_layer(const guild::weights<model>& w, const backend& b = {}) : weights(w, w.model, b), layer(weights, b) {}
    explicit small_layer(const guild::config& c, const backend& b = {}) : small_layer(drawn(c), b) {}
    explicit small_layer(int shared, int top_k = 2, guild::residual residual = guild::residual::none, int zero = 0)
        : small_layer(guild::random_weights<model>(
              3, {.config = {.hidden = H, .expert_hidden = 24, .routed_experts = 7, .top_k = top_k, .shared_experts = shared},
                  .passive = {.zero = zero},
                  .residual = residual})) {}

    /// Random weights, biases too.
    static guild::weights<model> drawn(const guild::config& c) {
        auto w = guild::random_weights<model>(3, {.config = c});
        std::uint64_t i = 0;
        for (auto* n : {&w.experts, &w.shared})
            for (auto* b : {&n->gate_bias, &n->up_bias, &n->down_bias})
                for (float& v : *b) v = static_cast<float>(guild::normal(5, 0, 0, static_cast<long>(i++)));
        return w;
    }
    /// The inference of a batch has the bits of the training forward, and counts the same load.
    void run(tokens& b, guild::workspace<float>& ws, const guild::batch& side = {}) const {
        test::matrix<float> kept(b.y.rows(), b.y.cols());
        guild::tape<float> tape;
        layer.forward(b.x, kept, tape, side);
        layer.forward(b.x, b.y, ws, side);
        CHECK(test::same_bits(b.y, kept));
        CHECK(b.y.intact());
        CHECK(layer.load(ws).count == layer.load(tape).count);
        CHECK(layer.load(ws).total == layer.load(tape).total);
    }
};
}  // namespace

TEST_CASE("a small layer: a token has its bits alone, among a few and among many, and the load is that of the last batch") {
    for (const int shared : {0, 1}) {
        CAPTURE(shared);
        const small_layer<guild::deepseek_moe_gate> s(shared);
        guild::workspace<float> ws;
        tokens few(0, 4), all(0, 130);
        s.run(few, ws);
        CHECK(ws.plan.rows == 0);  // it went token by token
        s.run(all, ws);
        CHECK(ws.plan.rows == 260);
        for (const long T : {0, 1, 2, 3, 4, 5, 8, 9})
            for (long first = 0; first + T <= 130; first += 31) {
                CAPTURE(T);
                tokens some(first, T);
                s.run(some, ws);
                for (long t = 0; t < T; ++t) CHECK(test::same_bits(some.result(t), all.result(first + t)));
            }
    }
}

TEST_CASE("a small layer: holes, padding, every number of experts, and what such layers leave to others") {
    guild::workspace<float> ws;
    for (long T = 1; T <= 9; ++T) {
        CAPTURE(T);
        tokens x(50, T);
        std::array<bool, 9> padded{};
        for (std::size_t t = 0; t < padded.size(); ++t) padded[t] = t % 3 == 1;
        small_layer<guild::deepseek_moe_gate>(1).run(x, ws, {.padding = std::span(padded).first(static_cast<std::size_t>(T))});
        small_layer<guild::gshard_capacity_gate>(0).run(x, ws);
        small_layer<guild::remoe_gate>(1).run(x, ws);
        for (const int top_k : {1, 3, 7}) small_layer<guild::deepseek_moe_gate>(0, top_k).run(x, ws);
        small_layer<guild::deepseek_moe_gate>(1, 2, guild::residual::plain).run(x, ws);
        small_layer<guild::deepseek_moe_gate>(1, 4, guild::residual::none, 3).run(x, ws);
    }
}

TEST_CASE("a small layer: what is too deep, has biases or is too large is left to others, and few rows of the largest go alone") {
    guild::workspace<float> ws;
    const auto run = [&](const guild::config& c, bool alone, std::initializer_list<long> counts, guild::cpu::arithmetic by = {}) {
        CAPTURE(c.hidden);
        CAPTURE(c.expert_hidden);
        CAPTURE(c.expert_bias);
        CAPTURE(c.shared_bias);
        const small_layer<guild::deepseek_moe_gate> s(c, guild::backend::eigen<>(guild::serial{}, by));
        for (const long T : counts) {
            CAPTURE(T);
            tokens b(20, T, c.hidden);
            s.run(b, ws);
            CHECK((ws.plan.rows == 0) == alone);
            ws = {};
        }
    };
    const auto each_count = {1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L};
    for (const int shared : {0, 1}) {
        // More than a block of 256 of the depth: of the router and up, of down, of both.
        run({.hidden = 300, .expert_hidden = 24, .routed_experts = 7, .top_k = 2, .shared_experts = shared}, false, each_count);
        run({.hidden = 257, .expert_hidden = 260, .routed_experts = 3, .top_k = 1, .shared_experts = shared}, false, each_count);
        run({.hidden = 24, .expert_hidden = 300, .routed_experts = 7, .top_k = 2, .shared_experts = shared}, false, each_count);
        run({.hidden = 24, .expert_hidden = 24, .routed_experts = 7, .top_k = 2, .shared_experts = shared, .expert_bias = true}, false, each_count);
    }
    run({.hidden = 24, .expert_hidden = 24, .routed_experts = 7, .top_k = 2, .shared_experts = 1, .shared_bias = true}, false, each_count);
    run({.hidden = 24, .expert_hidden = 24, .routed_experts = 7, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true}, false,
        each_count);
    run({.hidden = 24, .expert_hidden = 24, .routed_experts = 7, .top_k = 2, .shared_experts = 1}, false, each_count,
        guild::cpu::arithmetic::bf16_rows);  // rounds
    // The deepest: 256 numbers.
    run({.hidden = 256, .expert_hidden = 32, .routed_experts = 9, .top_k = 1}, true, {1});
    run({.hidden = 16, .expert_hidden = 256, .routed_experts = 3, .top_k = 1}, true, {1, 2});
    // So small that 8 rows are the limit, not their cost: up to 8 experts of a token, and not 9.
    for (int top_k = 1; top_k <= 8; ++top_k) run({.hidden = 3, .expert_hidden = 5, .routed_experts = 20, .top_k = top_k}, true, {1, 8 / top_k});
    for (const int top_k : {9, 12, 20}) run({.hidden = 3, .expert_hidden = 5, .routed_experts = 20, .top_k = top_k}, false, {1, 2});
}

TEST_CASE("a packed router: few rows of any number of outputs, where they are, gathered and scaled") {
    const guild::backend::eigen<> b;
    for (const auto& shape : {std::array{7L, 256L}, {7L, 300L}, {1023L, 3L}, {1024L, 3L}, {1025L, 3L}, {2000L, 5L}}) {
        const long P = shape[0], depth = shape[1];
        CAPTURE(P);
        CAPTURE(depth);
        test::matrix<float> router(P, depth);
        router.random(1);
        const guild::stack<const float> w{std::as_const(router).all().data, 0, depth};
        const auto packed = b.pack_router(w, P, depth);
        for (const int T : {1, 2, 3, 8, 9})
            for (const int reading : {0, 1, 2, 3}) {
                const std::array source{8, 3, 0, 1, 4, 2, 7, 5, 6};
                const std::array factor{.5f, 2.f, -1.f, .25f, 3.f, 1.5f, .75f, -2.f, 4.f};
                const std::array offset{0, T};
                const guild::groups<float> g{1, offset.data(), reading % 2 == 1 ? source.data() : nullptr, reading >= 2 ? factor.data() : nullptr};
                test::matrix<float> x(9, depth), found(T, P), expected(T, P);
                x.random(2);
                b.product(g, std::as_const(x).all(), packed, found.all());
                b.product(g, std::as_const(x).all(), w, expected.all());
                CHECK(test::same_bits(found, expected));
                CHECK(found.intact());
            }
    }
}

TEST_CASE("a small layer: more rows than reserved are refused before y is written") {
    const small_layer<guild::deepseek_moe_gate> s(1);
    guild::workspace<float> ws;
    ws.reserve(s.layer, 4, 7);
    tokens b(0, 4);
    b.y.fill(-1);
    CHECK_THROWS_WITH_AS(s.layer.forward(b.x, b.y, ws), "guild::workspace: reserved for 7 routed rows, this batch has 8", guild::shape_error);
    for (long t = 0; t < 4; ++t) CHECK(std::ranges::all_of(std::span(b.y.all().row(t), H), [](float v) { return v == -1; }));
    CHECK_THROWS_AS(s.layer.load(ws), guild::argument_error);
}

TEST_CASE("a small layer: whatever the caller has set for denormals and rounding, on his own thread") {
    const small_layer<guild::deepseek_moe_gate> s(1);
    guild::workspace<float> ws;
    for (const long T : {2, 30}) {
        tokens usual(0, T), found(0, T);
        for (tokens* b : {&usual, &found})
            for (long t = 0; t < T; ++t)
                for (long h = 1; h < H; h += 2) b->x(t, h) *= std::numeric_limits<float>::min();
        s.run(usual, ws);
        for (const unsigned mode : test::environments()) {
            CAPTURE(mode);
            const bool kept = [&] {
                const test::left_behind caller(mode);
                s.layer.forward(found.x, found.y, ws);
                return caller.kept();
            }();
            CHECK(kept);
            CHECK(test::same_bits(found.y, usual.y));
        }
    }
}
