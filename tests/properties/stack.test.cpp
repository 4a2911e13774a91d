#include <properties/mixtures.hpp>
#include <support/pools.hpp>
#include <support/small_stack.hpp>

#include <algorithm>

// How much of its stack a caller's thread needs: products lay out their operands in the workspace, so that 64 KiB are enough for any gate of 256
// experts, forward and backward, over plain weights and packed ones; a thread with 96 KiB in all calls layers.

namespace {
namespace cpu = guild::cpu;
constexpr int E = 256;
constexpr long T = 33, enough = 64L << 10;
using gates = property::token_gate;
using model = guild::dynamic_model<gates, guild::swiglu, guild::plain_shared, E>;

model numbers(const gates& gate, int experts, int hidden, int width) {
    model m;
    m.config = {.hidden = hidden, .expert_hidden = width, .routed_experts = experts, .top_k = 2, .shared_experts = 1};
    m.gate = gate;
    return m;
}
/// A thread with a small stack runs a layer; trains it where it can.
template <bool Trains, class Layer> long stack_of(const Layer& layer) {
    using S = typename Layer::scalar;
    const long width = layer.model().config.hidden;
    test::matrix<S> x(T, width), y(T, width), dx(T, width), right(T, width);
    x.random(1);
    typename Layer::gradients gradient(layer.model());
    guild::workspace<S> ws, other;
    guild::tape<S> tape;
    const long used = test::stack_of(96 << 10, [&] {
        layer.forward(x, y, ws);
        layer.forward(x, y, tape, {.training = true});
        layer.loss(tape);
        if constexpr (Trains) layer.backward(x, dx, gradient, tape);
        layer.forward(x, y, ws);
    });
    layer.forward(x, right, other);
    CHECK(test::same_bits(y, right));
    return used;
}
template <class S, class Backend> long plain(const model& m, const Backend& b) {
    const auto w = guild::random_weights<model, S>(1, m);
    return stack_of<true>(guild::layer<model, S, Backend>(w, b));
}
template <class Format> long packed(const model& m, cpu::arithmetic by) {
    const auto w = guild::random_weights<model, Format>(1, m);
    const guild::backend::eigen<> b(guild::serial{}, by);
    const guild::packed_weights<model, Format, guild::backend::eigen<>> p(w, m, b);
    return stack_of<false>(guild::layer(p, b));
}
}  // namespace

TEST_CASE("any gate of hundreds of experts takes little of a thread's stack") {
    [&]<class... G>(std::variant<G...>) {
        const auto one = [&]<class Gate>(Gate) {
            test::draws draw(test::first_seed());
            property::drawn_gate g;
            property::detail::set<Gate>(g, draw, E, 2);
            CAPTURE(g.gate.one.index());
            CHECK(plain<float>(numbers(g.gate, E, 8, 4), guild::backend::eigen<>{}) < enough);
        };
        (one(G{}), ...);
    }(decltype(gates::one){});
}

TEST_CASE("any arithmetic, format and executor takes little of a caller's stack") {
    const gates gate{guild::mixtral_gate{}};
    const model m = numbers(gate, 5, 300, 130);
    CHECK(plain<double>(m, guild::backend::eigen<>{}) < enough);
    CHECK(plain<float>(m, guild::backend::eigen<>(guild::serial{}, cpu::arithmetic::bf16)) < enough);
    CHECK(plain<float>(m, guild::backend::eigen<guild::threads>(guild::threads{test::pool_of(3)})) < enough);
    CHECK(packed<float>(m, cpu::arithmetic::fp32) < enough);
    CHECK(packed<guild::int8>(m, cpu::arithmetic::int8) < enough);
    CHECK(packed<guild::bf16>(m, cpu::arithmetic::bf16) < enough);
    CHECK(packed<float>(numbers(gate, 5, 40, 16), cpu::arithmetic::fp32) < enough);  // where few rows go one by one
}

TEST_CASE("a workspace that is copied or moved lends memory of its own, as does the one that it was moved from") {
    const auto w = guild::random_weights<model>(1, numbers(gates{guild::mixtral_gate{}}, 5, 300, 24));
    const guild::layer layer(w);
    test::matrix<float> x(T, 300), y(T, 300), right(T, 300);
    x.random(1);
    guild::workspace<float> ws;
    layer.forward(x, right, ws);
    const auto check = [&](guild::workspace<float>& other) {
        y.fill(0);
        layer.forward(x, y, other);
        CHECK(test::same_bits(y, right));
    };
    guild::workspace<float> copy(ws), moved(std::move(ws)), assigned;
    assigned = copy;
    for (auto* one : {&copy, &moved, &ws, &assigned}) check(*one);
    ws = std::move(moved);
    for (auto* one : {&ws, &moved}) check(*one);
}
