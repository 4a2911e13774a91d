#include <support/products.hpp>
#include <support/child.hpp>
#include <support/few.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <deque>
#include <thread>

// A const layer serves any number of threads, each with a workspace of its own.

namespace {
struct shared_by_all
    : guild::model<guild::config{.hidden = 24, .expert_hidden = 20, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true},
                   test::learned_gate{}, guild::gated_shared{}, guild::passive{.constant = 1}, guild::expert_loss{}> {};
using layer = guild::layer<shared_by_all, float, guild::backend::eigen<guild::threads>>;

bool same(const test::outcome<layer>& a, const test::outcome<layer>& b) {
    return test::same_bits(a.inferred, b.inferred) && test::same_bits(a.y, b.y) && test::same_bits(a.dx, b.dx) && a.loss == b.loss &&
           test::same_gradients(a.gradient, b.gradient);
}
}  // namespace

TEST_CASE("eight threads on one const layer, a thousand calls each: the bits of one thread alone") {
    const auto w = guild::random_weights<shared_by_all>(1);
    const guild::thread_pool pool(3);
    const layer l(w, guild::backend::eigen{guild::threads{pool}});
    std::deque<test::outcome<layer>> expected;  // they cannot move
    for (const long T : {1, 2, 7, 9, 65}) expected.emplace_back(l, test::first_tokens(T));

    std::atomic<int> wrong{0}, calls{0};
    std::vector<std::thread> callers;
    for (std::size_t caller = 0; caller < 8; ++caller)
        callers.emplace_back([&, caller] {
            guild::workspace<float> ws;
            for (std::size_t i = 0; i < 1000; ++i, ++calls) {
                const auto& e = expected[(i + caller) % expected.size()];
                if (i % 25 == 0) {  // forward, loss and backward
                    wrong += same(test::outcome<layer>(l, test::first_tokens(e.x.rows())), e) ? 0 : 1;
                } else {
                    test::matrix<float> y(e.x.rows(), e.x.cols());
                    l.forward(e.x, y, ws);
                    wrong += test::same_bits(y, e.inferred) ? 0 : 1;
                }
            }
        });
    for (std::thread& caller : callers) caller.join();
    CHECK(calls == 8000);
    CHECK(wrong == 0);
}

TEST_CASE("eight threads on one const layer over packed weights, a thousand calls each") {
    const auto w = guild::random_weights<shared_by_all, guild::bf16>(1);
    const guild::thread_pool pool(3);
    using backend = guild::backend::eigen<guild::threads>;
    const backend b{guild::threads{pool}};
    const guild::packed_weights<shared_by_all, guild::bf16, backend> packed(w, {}, b);
    const guild::layer l(packed, b);
    struct batch {
        test::matrix<float> x, y;
        explicit batch(long T) : x(T, 24), y(T, 24) { x.random(static_cast<unsigned long long>(T)); }
    };
    std::deque<batch> expected;
    guild::workspace<float> alone;
    for (const long T : {1, 2, 7, 9, 65}) {
        batch& e = expected.emplace_back(T);
        l.forward(e.x, e.y, alone);
    }
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (std::size_t caller = 0; caller < 8; ++caller)
        callers.emplace_back([&, caller] {
            guild::workspace<float> ws;
            for (std::size_t i = 0; i < 1000; ++i) {
                const batch& e = expected[(i + caller) % expected.size()];
                test::matrix<float> y(e.y.rows(), 24);
                l.forward(e.x, y, ws);
                wrong += test::same_bits(y, e.y) ? 0 : 1;
            }
        });
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
}

TEST_CASE("a forked child computes on with the layer and the pool of its parent: the same bits, with the parent's tape too") {
#ifdef GUILD_TEST_NO_FORK_AMONG_THREADS
    MESSAGE("left out: sanitizers cannot follow a process that was forked among threads");
#else
    const auto w = guild::random_weights<shared_by_all>(1);
    for (const int threads : {1, 2, 3, 4, 6, 8}) {
        CAPTURE(threads);
        const guild::thread_pool pool(threads);
        const layer l(w, guild::backend::eigen{guild::threads{pool}});
        for (const long T : {1, 9, 65}) {
            CAPTURE(T);
            test::outcome<layer> expected(l, test::first_tokens(T));
            CHECK(of_a_child([&](int) -> std::string {
                      if (!same(test::outcome<layer>(l, test::first_tokens(T)), expected)) return "other bits";
                      test::matrix<float> dx(T, 24);
                      layer::gradients gradient(l.model());
                      l.backward(expected.dy, dx, gradient, expected.tape);
                      if (!test::same_bits(dx, expected.dx) || !test::same_gradients(gradient, expected.gradient))
                          return "other bits by its parent's tape";
                      return "the same";
                  }) == "the same");
        }
    }
#endif
}

TEST_CASE("converting, packing and unpacking: threads write apart, where rows share a scale too") {
    struct large : guild::model<guild::config{.hidden = 140, .expert_hidden = 300, .routed_experts = 2, .top_k = 1}, guild::mixtral_gate{}> {};
    const guild::thread_pool pool(4);
    using backend = guild::backend::eigen<guild::threads>;
    const backend b{guild::threads{pool}};
    const auto w = guild::convert<guild::fp8>(guild::random_weights<large>(1), pool);
    const auto again = guild::packed_weights<large, guild::fp8, backend>(w, {}, b).unpack(pool);
    CHECK(again.experts.up == w.experts.up);
    CHECK(again.experts.down == w.experts.down);
}

TEST_CASE("two threads in one workspace: each call is right or an argument_error") {
    const auto w = guild::random_weights<shared_by_all>(1);
    const guild::layer<shared_by_all> l(w);
    test::matrix<float> x(64, 24), expected(64, 24);
    x.random(1);
    guild::workspace<float> ws;
    guild::tape<float> tape;
    l.forward(x, expected, ws);
    std::atomic<int> wrong{0}, right{0}, refused{0};
    const auto calls = [&](auto& memory) {
        for (int i = 0; i < (test::few ? 200 : 1000); ++i) {
            test::matrix<float> y(64, 24);
            try {
                l.forward(x, y, memory);
                ++(test::same_bits(y, expected) ? right : wrong);
            } catch (const guild::argument_error&) { ++refused; }
        }
    };
    const auto by_two = [&](auto& memory) {
        std::thread other([&] { calls(memory); });
        calls(memory);
        other.join();
        l.forward(x, expected, memory);  // free again
    };
    by_two(ws);
    by_two(tape);
    CHECK(wrong == 0);
    CHECK(right > 0);
    CHECK(right + refused == 4 * (test::few ? 200 : 1000));
}
