#include <support/products.hpp>
#include <support/allocations.hpp>
#include <support/matrix.hpp>
#include <support/noisy_gate.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

// After `reserve` nothing allocates, and without it nothing after the first call.

namespace {
using guild::config;
template <class F> long allocations(F f) {
    const long before = test::allocations;
    f();
    return test::allocations - before;
}

/// Forward for inference and training, loss and backward, each with the number of its allocations.
template <class Layer> struct calls {
    using S = typename Layer::scalar;
    const Layer& layer;
    long T;
    test::matrix<S> x, dy, y, dx;
    typename Layer::gradients gradient;
    guild::workspace<S> ws{};
    guild::tape<S> tape{};

    calls(const Layer& l, long tokens)
        : layer(l), T(tokens), x(T, l.model().config.hidden), dy(T, x.cols()), y(T, x.cols()), dx(T, x.cols()), gradient(l.model()) {
        x.random(1), dy.random(2);
    }
    long infer(long n, bool padded = false) {
        return allocations([&] { layer.forward(rows(x, n), rows(y, n), ws, {.padding = padding(n, padded)}); });
    }
    long train(long n, bool padded = false) {
        return allocations([&] {
            layer.forward(rows(x, n), rows(y, n), tape, {.padding = padding(n, padded), .training = true});
            layer.backward(rows(dy, n), rows(dx, n), gradient, tape);
        });
    }

private:
    static std::span<const bool> padding(long n, bool padded) {
        static constexpr bool some[70] = {true, false, false, true};
        return {some, padded ? static_cast<std::size_t>(n) : 0};
    }
    static guild::view<S> rows(test::matrix<S>& m, long n) { return {m.all().data, n, m.cols()}; }
};

template <class Layer> void check(const Layer& layer) {
    {
        calls c(layer, 70);
        c.ws.reserve(layer, 70);
        c.tape.reserve(layer, 70);
        for (const long n : {70, 1, 0, 33, 70})
            for (const bool padded : {true, false}) {
                CAPTURE(n);
                CHECK(c.infer(n, padded) == 0);
                CHECK(c.train(n, padded) == 0);
            }
    }
    {
        calls c(layer, 70);
        CHECK(c.infer(70) > 0);
        CHECK(c.train(70) > 0);
        for (const long n : {1, 0, 33, 70}) {
            CAPTURE(n);
            CHECK(c.infer(n) == 0);
            CHECK(c.train(n) == 0);
        }
    }
}

struct fixed
    : guild::model<
          config{.hidden = 24, .expert_hidden = 20, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
          noisy_gate{}, guild::gated_shared{}, guild::passive{.zero = 1, .identity = 1, .constant = 1}, guild::residual::complement> {};
struct input_weighed : guild::model<config{.hidden = 8, .expert_hidden = 300, .routed_experts = 5, .top_k = 2}, test::llama4_gate{}, guild::relu{}> {
};
struct crowded : guild::model<config{.hidden = 8, .expert_hidden = 4, .routed_experts = 5, .top_k = 2}, test::capacity_gate{.most = 9}> {};
struct balanced : guild::model<config{.hidden = 8, .expert_hidden = 4, .routed_experts = 5, .top_k = 2}, guild::expert_loss{}, guild::switch_loss{},
                               guild::z_loss{}> {};

// Fewer tokens than experts, gates that look at all of them, and losses that count.
constexpr config few{.hidden = 8, .expert_hidden = 4, .routed_experts = 90, .top_k = 1};
struct assigned : guild::model<few, guild::base_gate{}> {};
struct limited : guild::model<few, guild::switch_capacity_gate{}, guild::device_loss{.devices = 9}, guild::communication_loss{.devices = 9},
                              guild::sequence_loss{}, guild::global_batch_loss{}, guild::importance_loss{}> {};
struct picky : guild::model<few, guild::expert_choice_gate{}, guild::mutual_information_loss{}, guild::orthogonality_loss{}, guild::l1_loss{},
                            guild::top_k_balance_loss{}> {};
struct derived : guild::model<config{.hidden = 8, .expert_hidden = 4, .routed_experts = 90, .top_k = 2}, test::comparing_gate{},
                              test::comparing_loss{}, test::curvature{}> {};
struct expecting : guild::model<few, guild::noisy_top_k_gate{}, guild::noisy_load_loss{}> {};
}  // namespace

TEST_CASE("the counter counts") {
    void* volatile seen = nullptr;  // so that no allocation is optimised away
    CHECK(allocations([&] { seen = std::vector<double>(3).data(); }) == 1);
    CHECK(allocations([&] { seen = std::malloc(8); }) == 1);
    std::free(seen);
    CHECK(allocations([] {}) == 0);
}

TEST_CASE("no allocation after reserve, nor after the first call: numbers known to the compiler") {
    const auto a = guild::random_weights<fixed>(1);
    const auto b = guild::random_weights<input_weighed>(1);
    const auto c = guild::random_weights<crowded>(1);
    const auto d = guild::random_weights<balanced>(1);
    check(guild::layer(a));
    check(guild::layer(b));
    check(guild::layer(c));
    check(guild::layer(d));
}
TEST_CASE("no allocation after reserve, nor after the first call: fewer tokens than experts, gates that look at all of them, every loss") {
    const auto a = guild::random_weights<assigned>(1);
    const auto b = guild::random_weights<limited>(1);
    const auto c = guild::random_weights<picky>(1);
    const auto d = guild::random_weights<expecting>(1);
    check(guild::layer(a));
    check(guild::layer(b));
    check(guild::layer(c));
    check(guild::layer(d));
}

TEST_CASE("no allocation after reserve, nor after the first call: adjoints that are derived, of stages and losses, on any thread") {
    const auto w = guild::random_weights<derived>(1);
    const guild::thread_pool pool(3);
    check(guild::layer(w));
    check(guild::layer(w, guild::backend::eigen{guild::threads{pool}}));
}

TEST_CASE("no allocation after reserve, nor after the first call: numbers at run time, bf16 weights, a pool of threads") {
    using model = test::gated_model<>;
    const test::shape s{.config = {.hidden = 70, .expert_hidden = 300, .routed_experts = 5, .top_k = 2, .shared_experts = 1}};
    const auto w = s.weights<guild::bf16>(s.model<model>());
    const guild::thread_pool pool(3);
    check(guild::layer(w, guild::backend::eigen{guild::threads{pool}}));
    check(guild::layer(w, guild::backend::eigen{guild::threads{pool}, guild::cpu::arithmetic::bf16}));
}

TEST_CASE("no allocation after reserve: packed weights, in fp32 and in int8") {
    using model = test::gated_model<>;
    const test::shape s{.config = {.hidden = 70, .expert_hidden = 300, .routed_experts = 5, .top_k = 2, .shared_experts = 1}};
    const guild::thread_pool pool(3);
    const auto check_packed = [&]<class Format>(const guild::weights<model, Format>& w, guild::cpu::arithmetic by) {
        using backend = guild::backend::eigen<guild::threads>;
        const backend b(guild::threads{pool}, by);
        const guild::packed_weights<model, Format, backend> packed(w, w.model, b);
        const guild::layer layer(packed, b);
        test::matrix<float> x(70, 70), y(70, 70);
        x.random(1);
        guild::workspace<float> ws;
        ws.reserve(layer, 70);
        for (const long n : {70L, 1L, 0L, 33L})
            CHECK(allocations([&] { layer.forward({x.all().data, n, 70}, guild::view<float>(y.all().data, n, 70), ws); }) == 0);
    };
    check_packed(s.weights<float>(s.model<model>()), guild::cpu::arithmetic::fp32);
    check_packed(guild::convert<guild::int8>(s.weights<float>(s.model<model>())), guild::cpu::arithmetic::int8);
}

TEST_CASE("a reserve for few rows serves a batch that needs no more") {
    const auto w = guild::random_weights<crowded>(1);
    const guild::layer layer(w);
    calls c(layer, 70);
    c.ws.reserve(layer, 70, 45);  // 5 experts of at most 9 rows
    c.tape.reserve(layer, 70, 45);
    CHECK(c.infer(70) == 0);
    CHECK(c.train(70) == 0);
}

TEST_CASE("telemetry allocates for the first batch alone") {
    const auto w = guild::random_weights<crowded>(1);
    const guild::layer layer(w);
    calls c(layer, 70);
    guild::telemetry seen;
    const auto add = [&] { return allocations([&] { seen.add(layer, c.ws); }); };
    c.infer(33);
    CHECK(add() > 0);
    c.infer(70);
    CHECK(add() == 0);
}
