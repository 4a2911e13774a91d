#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <memory>

// Training in bf16: layers over plain weights by a backend that rounds operands of the experts' products, and leaves the router in fp32.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, guild::bf16;
using backend = guild::backend::eigen<guild::threads>;
using model = test::gated_model<>;

using test::ragged;
const test::shape wide{.config = {.hidden = 300, .expert_hidden = 530, .routed_experts = 4, .top_k = 2, .shared_hidden = 140}};

/// Those that round, of which the machine has at least the first.
std::vector<arithmetic> rounding() {
    if (cpu::active() >= cpu::isa::avx512_bf16) return {arithmetic::bf16, arithmetic::bf16_chain};
    return {arithmetic::bf16};
}
bool same(const guild::buffer<float>& one, const guild::buffer<float>& two, long n) {
    return std::memcmp(one.data(), two.data(), static_cast<std::size_t>(n) * sizeof(float)) == 0;
}
}  // namespace

TEST_CASE("training in bf16 is near training in fp32, and routes by the same logits") {
    const guild::thread_pool pool(2);
    for (const arithmetic by : rounding())
        for (const test::shape& s : {ragged, wide}) {
            CAPTURE(s);
            const auto w = s.weights<float>(s.model<model>());
            const guild::layer<model, float, backend> layer(w, backend(guild::threads{pool}, by)), exact(w, backend(guild::threads{pool}));
            const test::outcome found(layer, test::first_tokens(110)), expected(exact, test::first_tokens(110));
            CHECK(same(found.tape.logits, expected.tape.logits, 110L * w.model.config.routed_experts));
            CHECK(test::apart(found.y, expected.y) < 1e-2);
            CHECK(test::apart(found.y, expected.y) > 1e-5);
            CHECK(test::apart(found.dx, expected.dx) < 2e-2);
            CHECK(found.intact());
            guild::each_tensor(
                [](const char* name, const auto& a, const auto& b) {
                    test::deviation d;
                    for (std::size_t i = 0; i < a.size(); ++i) d.add(a[i], b[i]);
                    CHECK_MESSAGE(d.relative() < 2e-2, name);
                },
                found.gradient, expected.gradient);
        }
}

TEST_CASE("the router's gradients are in fp32") {
    // Where the experts' matrices are zeros, constant experts alone give the router a gradient, and it alone gives x one.
    const test::shape s{.config = {.hidden = 72, .expert_hidden = 1, .routed_experts = 2, .top_k = 2, .shared_experts = 1},
                        .passive = {.constant = 3}};
    const guild::thread_pool pool(2);
    auto w = s.weights<float>(s.model<model>());
    for (auto* t : {&w.experts.gate, &w.experts.up, &w.experts.down, &w.shared.gate, &w.shared.up, &w.shared.down})
        std::fill(t->begin(), t->end(), 0.f);
    const guild::layer<model, float, backend> layer(w, backend(guild::threads{pool}, arithmetic::bf16)), exact(w, backend(guild::threads{pool}));
    const test::outcome found(layer, test::first_tokens(50)), expected(exact, test::first_tokens(50));
    CHECK(test::same_bits(found.y, expected.y));
    CHECK(test::same_bits(found.dx, expected.dx));
    CHECK(test::same_bits(found.gradient.router, expected.gradient.router));
    CHECK(std::any_of(found.gradient.router.begin(), found.gradient.router.end(), [](float g) { return g != 0; }));
}

TEST_CASE("training in bf16: bits of any number of threads and any alignment") {
    const guild::thread_pool one(1);
    for (const arithmetic by : rounding())
        for (const test::shape& s : {ragged, wide}) {
            const auto w = s.weights<float>(s.model<model>());
            const test::outcome whole(guild::layer<model, float, backend>(w, backend(guild::threads{one}, by)), test::first_tokens(130));
            for (const int threads : {1, 2, 7}) {
                CAPTURE(threads);
                const guild::thread_pool pool(threads);
                const guild::layer<model, float, backend> layer(w, backend(guild::threads{pool}, by));
                const test::outcome again(layer, test::first_tokens(130), {}, {.offset = threads, .gap = threads % 3});
                CHECK(test::same_bits(again.y, whole.y));
                CHECK(test::same_bits(again.inferred, whole.inferred));
                CHECK(test::same_bits(again.dx, whole.dx));
                CHECK(test::same_gradients(again.gradient, whole.gradient));
            }
            const guild::layer<model, float, backend> layer(w, backend(guild::threads{one}, by));
            const test::outcome few(layer, {3, 77, 12});  // a row does not depend on those beside it
            for (long r = 0; r < 3; ++r) {
                const long t = std::vector{3L, 77L, 12L}[static_cast<std::size_t>(r)];
                CHECK(test::same_bits<float>({few.y.all().row(r), 1, few.y.cols()}, {whole.y.all().row(t), 1, few.y.cols()}));
                CHECK(test::same_bits<float>({few.dx.all().row(r), 1, few.y.cols()}, {whole.dx.all().row(t), 1, few.y.cols()}));
            }
        }
}

TEST_CASE("training in bf16 over bf16 weights is inference in bf16 over the same weights packed, bit for bit") {
    const guild::thread_pool pool(2);
    for (const arithmetic by : rounding())
        for (const test::shape& s : {ragged, wide}) {
            CAPTURE(s);
            const backend b(guild::threads{pool}, by);
            const auto w = guild::convert<bf16>(s.weights<float>(s.model<model>()));
            const guild::packed_weights<model, bf16, backend> packed(w, w.model, b);
            const guild::layer<model, bf16, backend> plain(w, b);
            const guild::layer serving(packed, b);
            const long T = 67, H = w.model.config.hidden;
            test::matrix<float> x(T, H), trained(T, H), kept(T, H), served(T, H);
            x.random(3);
            guild::tape<float> tape, tape_of_packed;
            guild::workspace<float> ws;
            plain.forward(x, trained, tape);
            serving.forward(x, kept, tape_of_packed);
            serving.forward(x, served, ws);
            CHECK(same(tape.logits, tape_of_packed.logits, T * w.model.config.routed_experts));
            CHECK(same(tape.h, tape_of_packed.h, T * 2 * w.model.config.expert_hidden));
            CHECK(same(tape.rows, tape_of_packed.rows, T * H));
            CHECK(test::same_bits(trained, kept));
            CHECK(test::same_bits(trained, served));
        }
}

TEST_CASE("training in bf16: what a program has set for denormals and rounding changes nothing, and is set again") {
#if defined(__x86_64__)
    const guild::thread_pool pool(2);
    for (const arithmetic by : rounding()) {
        const auto w = ragged.weights<float>(ragged.model<model>());
        const guild::layer<model, float, backend> layer(w, backend(guild::threads{pool}, by));
        const test::outcome usual(layer, test::first_tokens(9));
        test::outcome found(layer, test::first_tokens(9));
        const unsigned before = _mm_getcsr();
        for (const unsigned mode : {0x1f80u, 0x9fc0u, 0x7f80u, 0x3f80u}) {  // as a program starts; denormals flushed; to zero; down
            _mm_setcsr(mode);
            found.run(layer);
            const unsigned after = _mm_getcsr();
            _mm_setcsr(before);
            CHECK((after & ~0x3fu) == mode);
            CHECK(test::same_bits(found.y, usual.y));
        }
    }
#endif
}
