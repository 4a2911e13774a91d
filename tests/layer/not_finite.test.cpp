#include <support/products.hpp>
#include <support/few.hpp>
#include <support/outcome.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

// One number of one token that is not finite, through layers whose gate does not look at x, so that nothing but the experts carries it: NaN in y and dx
// of that token where the reference has NaN, nothing finite where it is not, and no bit of another token moves. tests/backend tries every kernel.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::isa, guild::bf16, guild::int8;
using model = guild::dynamic_model<guild::hash_gate>;
using backend = guild::backend::eigen<>;
using host = guild::backend::reference;

constexpr long H = 75;
const int ids[64] = {0, 1, 2, 1, 0, 2, 2, 1};

guild::weights<model> weights_of(int shared, bool bias) {
    auto w = guild::random_weights<model>(3, {.config = {.hidden = H,
                                                         .expert_hidden = 37,
                                                         .routed_experts = 3,
                                                         .top_k = 1,
                                                         .shared_experts = shared,
                                                         .expert_bias = bias,
                                                         .shared_bias = bias && shared > 0}});
    w.table = {2, 0, 1};
    return w;
}
/// What is lost in row `bad` against the reference's, and the other rows whose bits are not those of `clean`.
std::pair<long, long> judge(const test::matrix<float>& found, const test::matrix<float>& right, const test::matrix<float>& clean, long bad) {
    std::pair<long, long> n{};
    for (long r = 0; r < found.rows(); ++r) {
        if (r != bad) n.second += std::memcmp(found.all().row(r), clean.all().row(r), H * sizeof(float)) != 0;
        for (long h = 0; r == bad && h < H; ++h)
            n.first += (std::isnan(right(r, h)) && !std::isnan(found(r, h))) || (!std::isfinite(right(r, h)) && std::isfinite(found(r, h)));
    }
    return n;
}
/// Tokens, and what a layer makes of them: inference, training, and where it trains a backward.
struct tokens {
    test::matrix<float> x, dy, y, kept, dx;
    explicit tokens(long T) : x(T, H), dy(T, H), y(T, H), kept(T, H), dx(T, H) { x.random(1), dy.random(2); }
    template <bool Trains, class Layer> void run(const Layer& layer) {
        const guild::batch side{.token_id = std::span(ids).first(static_cast<std::size_t>(x.rows()))};
        guild::workspace<float> ws;
        guild::tape<float> tape;
        layer.forward(x, y, ws, side);
        layer.forward(x, kept, tape, side);
        if constexpr (Trains) {
            typename Layer::gradients gradient(layer.model());
            layer.backward(dy, dx, gradient, tape);
        }
    }
};
template <bool Trains, class Layer, class Reference> void check(const Layer& layer, const Reference& reference) {
    const std::pair<long, long> none;
    for (const long T : {1, 2, 3, 5, 17, 64}) {
        CAPTURE(T);
        tokens clean(T), found(T), right(T);
        clean.template run<Trains>(layer);
        long turn = T;
        for (const long position : {0L, H / 2, H - 1})
            for (const unsigned bits : {0x7fc00000u, 0x7f800001u, 0xff812345u, 0x7f800000u, 0xff800000u, std::bit_cast<unsigned>(3e38f)}) {
                if (++turn; turn % (test::few || T > 5 ? 5 : 1) != 0) continue;
                CAPTURE(position);
                CAPTURE(bits);
                const long bad = turn % T;
                const auto number = std::bit_cast<float>(bits);
                const float before = std::exchange(found.x(bad, position), number);
                right.x(bad, position) = number;
                found.template run<Trains>(layer);
                right.run<Trains>(reference);
                CHECK(judge(found.y, right.y, clean.y, bad) == none);
                CHECK(judge(found.kept, right.y, clean.kept, bad) == none);
                if (Trains && !std::isfinite(number)) CHECK(judge(found.dx, right.dx, clean.dx, bad) == none);
                if (std::isnan(number))
                    for (long h = 0; h < H; ++h) CHECK((std::isnan(right.y(bad, h)) && (!Trains || std::isnan(right.dx(bad, h)))));
                found.x(bad, position) = right.x(bad, position) = before;
            }
    }
}
/// Weights in a format by an arithmetic, packed, on every instruction set that has it.
template <class Format> void check_packed(const guild::weights<model>& w, arithmetic by) {
    const auto stored = guild::convert<Format>(w);
    const auto decoded = guild::convert<float>(stored);
    const guild::layer<model, float, host> reference(decoded);
    for (int i = 0; i <= static_cast<int>(cpu::detected()); ++i) {
        const auto level = static_cast<isa>(i);
        if (by == arithmetic::bf16_chain && level < isa::avx512_bf16) continue;
        CAPTURE(cpu::name(by));
        CAPTURE(cpu::name(level));
        const backend b(guild::serial{}, by, level);
        const guild::packed_weights<model, Format, backend> packed(stored, w.model, b);
        check<false>(guild::layer(packed, b), reference);
    }
}
}  // namespace

TEST_CASE("what is not finite: packed weights by every arithmetic") {
    for (const bool bias : {false, true})
        for (const int shared : {0, 1}) {
            CAPTURE(bias);
            CAPTURE(shared);
            const auto w = weights_of(shared, bias);
            check_packed<float>(w, arithmetic::fp32);  // without biases few rows go one by one
            check_packed<int8>(w, arithmetic::int8);
            if (bias == (shared > 0)) continue;
            check_packed<int8>(w, arithmetic::fp32);
            check_packed<bf16>(w, arithmetic::bf16);
            check_packed<bf16>(w, arithmetic::bf16_chain);
            check_packed<guild::half>(w, arithmetic::bf16_rows);
        }
}

TEST_CASE("what is not finite: plain weights, forward and backward") {
    for (const int shared : {0, 1}) {
        const auto w = weights_of(shared, shared > 0);
        const guild::layer<model, float, host> reference(w);
        for (int i = 0; i <= static_cast<int>(cpu::detected()); ++i)
            for (const arithmetic by : {arithmetic::fp32, arithmetic::bf16, arithmetic::bf16_chain, arithmetic::int8}) {
                const auto level = static_cast<isa>(i);
                if (by == arithmetic::bf16_chain && level < isa::avx512_bf16) continue;
                CAPTURE(cpu::name(by));
                CAPTURE(cpu::name(level));
                CAPTURE(shared);
                check<true>(guild::layer<model, float, backend>(w, backend(guild::serial{}, by, level)), reference);
            }
    }
}
