#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/one_row.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/backend/host.hpp>
#include <guild/format/quantise.hpp>
#include <guild/parallel/serial.hpp>
#include <support/few.hpp>
#include <support/matrix.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "machines.hpp"

// Two products of an expert by every kernel of every instruction set, in every arithmetic, against the reference over the same decoded numbers: with each
// bias alone; and with one number of one token that is NaN, infinite, or so large that what stands between the
// products is. What the reference gives as NaN is NaN, what it does not give as a finite number is none, and the other tokens keep their bits.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::isa, guild::bf16, guild::groups, guild::int8, guild::into, guild::stack, guild::view;

constexpr long H = 75, F = 37;  // tails of every register, word and block of 64
constexpr int E = 2;
constexpr long counts[] = {1, 2, 3, 5, 17, 64}, positions[] = {0, 5, F, H - 2, H - 1};
const float numbers[] = {std::bit_cast<float>(0x7fc00000u),
                         std::bit_cast<float>(0x7f800001u),
                         std::bit_cast<float>(0xff800001u),
                         std::bit_cast<float>(0xffc01234u),
                         std::bit_cast<float>(0x7f800000u),
                         std::bit_cast<float>(0xff800000u),
                         3e38f};

/// f(token, position, number) for the first of the numbers, among T tokens, which take turns; of many tokens and numbers a sample.
template <class Run> void each_bad(long T, std::size_t count, Run f) {
    long turn = T;
    for (const long position : positions)
        for (const float number : std::span(numbers).first(count))
            if (++turn; turn % (T > 5 || test::few ? 4 : 1) == 0) f(turn % T, position, number);
}

/// Tokens [T, H], one of which may be bad; expert t % E is that of token t.
struct tokens {
    test::matrix<float> x;
    std::vector<int> offset{0};
    std::vector<float> weight;
    guild::plan plan;
    guild::choice<float> chosen;

    explicit tokens(long T) : x(T, H) {
        x.random(8);
        plan.rows = static_cast<int>(T);
        plan.token.shape(1, T), plan.slot.shape(1, T);
        chosen.resize(T, 1);
        for (int e = 0, r = 0; e < E; ++e, offset.push_back(r))
            for (int t = e; t < T; t += E, ++r) plan.token[r] = plan.slot[r] = t;
        for (int t = 0; t < T; ++t) {
            weight.push_back(0.5f + static_cast<float>(t % 3));
            chosen.expert[t] = t % E, chosen.weight[t] = weight.back();
        }
    }
    groups<float> routed() const { return {E, offset.data(), plan.token.data()}; }
};

/// Which biases there are.
struct biases {
    bool gate, up, down;
};
/// Two experts in a format.
template <class Format> struct mixture {
    guild::network_weights<Format, float> w;
    biases has;

    explicit mixture(biases b) : has(b) {
        w.resize(E, F, H, 2, true);
        unsigned long long seed = 0;
        const auto draw = [&](std::vector<float>& to) {
            for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(guild::normal(seed, 0, 0, static_cast<long>(i)) / 4);
            ++seed;
        };
        const auto store = [&](long N, long K, auto& to) {
            std::vector<float> drawn(static_cast<std::size_t>(E * N * K));
            draw(drawn);
            to = guild::quantise<Format>(stack<const float>{drawn.data(), N * K, K}, E, N, K);
        };
        store(F, H, w.gate), store(F, H, w.up), store(H, F, w.down);
        draw(w.gate_bias), draw(w.up_bias), draw(w.down_bias);
    }
    auto network() const {
        auto n = w.lend(F, H);
        if (!has.gate) n.gate_bias = {};
        if (!has.up) n.up_bias = {};
        if (!has.down) n.down_bias = {};
        return n;
    }

    /// y [T, H] = weight expert(x); kept [T, 2 F] = what the activation reads, where it is asked for.
    void forward(const cpu::kernels& with, const cpu::packed_network<Format>& packed, const tokens& b, test::matrix<float>& y,
                 test::matrix<float>* kept) const {
        test::matrix<float> a(b.x.rows(), F);
        y.fill(0);
        cpu::expert_up(with, guild::serial{}, guild::swiglu{}, b.routed(), b.x.all(), packed, kept ? kept->all() : view<float>{}, a.all());
        cpu::expert_down(with, guild::serial{}, b.routed(), std::as_const(a).all(), packed, b.plan, b.weight.data(), y.all());
    }
    /// out [H] = expert(row) by the reference.
    void reference(int expert, const float* row, float* out) const {
        int offset[E + 1] = {};
        for (int e = expert; e < E; ++e) offset[e + 1] = 1;
        const groups<float> g{E, offset};
        float h[2 * F], a[F];
        guild::expert::up(guild::backend::reference{}, guild::swiglu{}, g, view<const float>(row, 1, H), network(), view<float>(h, 1, 2 * F),
                          view<float>(a, 1, F));
        guild::expert::down(guild::backend::reference{}, g, view<const float>(a, 1, F), network(), view<float>(out, 1, H));
    }
};

/// run(tokens, y) for batches with a bad number: what is lost in its token, and what moves in the others. right(token, row, out): the reference.
template <class Run, class Right> void check(Run run, Right right, std::size_t count = std::size(numbers)) {
    for (const long T : counts) {
        CAPTURE(T);
        tokens b(T);
        test::matrix<float> clean(T, H), found(T, H), again(T, H);
        run(b, clean);
        each_bad(T, count, [&](long token, long position, float number) {
            const float before = b.x(token, position);
            b.x(token, position) = number;
            run(b, found);
            float expected[H];
            right(token, b.x.all().row(token), expected);
            b.x(token, position) = before;
            run(b, again);  // nothing of it is left in memory that is used once more
            long lost = 0, moved = 0;
            for (long i = 0; i < H; ++i)
                lost += (std::isnan(expected[i]) && !std::isnan(found(token, i))) || (!std::isfinite(expected[i]) && std::isfinite(found(token, i)));
            for (long t = 0; t < T; ++t)
                moved += t != token && std::memcmp(clean.all().row(t), found.all().row(t), static_cast<std::size_t>(H) * sizeof(float)) != 0;
            CAPTURE(token);
            CAPTURE(position);
            CAPTURE(std::bit_cast<unsigned>(number));
            CHECK(lost == 0);
            CHECK(moved == 0);
            CHECK(test::same_bits(again, clean));
        });
    }
}
/// Packed weights: an expert's two products, all together and, where there are such, row by row.
template <class Format> void check_packed(const cpu::kernels& with, const cpu::strategy& how) {
    for (const biases has : {biases{}, biases{true, true, true}}) {
        CAPTURE(has.up);
        const mixture<Format> m(has);
        const cpu::packed_network<Format> packed(with, how, guild::serial{}, m.network(), E, F, H);
        const auto right = [&](long t, const float* row, float* out) { m.reference(static_cast<int>(t % E), row, out); };
        check([&](const tokens& b, test::matrix<float>& y) { m.forward(with, packed, b, y, nullptr); }, right);
        if constexpr (std::is_same_v<Format, float>)
            if (packed.few_rows() > 0)
                check(
                    [&](const tokens& b, test::matrix<float>& y) {
                        y.fill(0);
                        cpu::experts_by_rows(with, b.x.all(), packed, b.chosen, y.all());
                    },
                    right);
    }
}
/// Plain weights: a product, and the gradient of an input.
template <class Format> void check_plain(const cpu::plain_kernels& how) {
    if (!how.tiles) return;
    const mixture<Format> m({});
    const auto each_piece = [&](const tokens& b, long outputs, auto f) {
        const cpu::cut by{cpu::panels_of(*how.with, outputs), 1, 1};
        cpu::share(guild::serial{}, b.routed(), by, [&](const cpu::piece& whole) { cpu::each_part(whole, cpu::most_rows, by.panels, f); });
    };
    const auto right = [&](long t, const float* row, float* out) { m.reference(static_cast<int>(t % E), row, out); };
    check(
        [&](const tokens& b, test::matrix<float>& y) {
            const auto n = m.network();
            const groups<float> g = b.routed();
            test::matrix<float> gate(b.x.rows(), F), up(b.x.rows(), F), rows(b.x.rows(), H);
            each_piece(b, F, [&](const cpu::piece& at) { cpu::product(how, g, at, b.x.all(), n.gate, gate.all()); });
            each_piece(b, F, [&](const cpu::piece& at) { cpu::product(how, g, at, b.x.all(), n.up, up.all()); });
            for (long r = 0; r < b.x.rows(); ++r) how.with->swiglu(gate.all().row(r), up.all().row(r), 1, F, F, gate.all().row(r), F);
            each_piece(b, H, [&](const cpu::piece& at) { cpu::product(how, g.direct(), at, std::as_const(gate).all(), n.down, rows.all()); });
            for (long r = 0; r < b.x.rows(); ++r) std::copy_n(rows.all().row(r), H, y.all().row(b.plan.token[r]));
        },
        right);
    check(  // dy [T, H] down -> by a [T, F], up -> by x
        [&](const tokens& b, test::matrix<float>& y) {
            const auto n = m.network();
            const groups<float> g = b.routed();
            test::matrix<float> dy(b.x.rows(), H), da(b.x.rows(), F), dx(b.x.rows(), H);
            for (long r = 0; r < b.x.rows(); ++r) std::copy_n(b.x.all().row(b.plan.token[r]), H, dy.all().row(r));
            each_piece(b, F,
                       [&](const cpu::piece& at) { cpu::input_gradient(how, g, at, std::as_const(dy).all(), n.down, da.all(), into::overwrite); });
            each_piece(b, H,
                       [&](const cpu::piece& at) { cpu::input_gradient(how, g, at, std::as_const(da).all(), n.up, dx.all(), into::overwrite); });
            for (long r = 0; r < b.x.rows(); ++r) std::copy_n(dx.all().row(r), H, y.all().row(b.plan.token[r]));
        },
        [&](long t, const float* row, float* out) {
            int offset[E + 1] = {};
            for (long e = t % E; e < E; ++e) offset[e + 1] = 1;
            float da[F];
            const guild::backend::reference by;
            by.input_gradient(groups<float>{E, offset}, view<const float>(row, 1, H), m.network().down, view<float>(da, 1, F), into::overwrite);
            by.input_gradient(groups<float>{E, offset}, view<const float>(da, 1, F), m.network().up, view<float>(out, 1, H), into::overwrite);
        },
        std::size(numbers) - 1);  // sums of two large numbers overflow in one order, and in another not
}

/// f(format, strategy) for each of a machine.
template <class F> void each_strategy(const emulated::machine& m, F f) {
    const isa level = m.kernels->level;
    const cpu::tile_kernels* const fp32 = &m.kernels->fp32;
    f(float{}, cpu::strategy{level, arithmetic::fp32, fp32});
    f(bf16{}, cpu::strategy{level, arithmetic::fp32, fp32, &m.bf16->widened, m.bf16->decode});
    f(int8{}, cpu::strategy{level, arithmetic::fp32, fp32, nullptr, m.decode->int8});
    f(guild::half{}, cpu::strategy{level, arithmetic::bf16_rows, &m.bf16->rounded, nullptr, m.decode->half});
    f(guild::mxfp4{}, cpu::strategy{level, arithmetic::bf16_rows, &m.bf16->rounded, nullptr, m.decode->mxfp4});
    f(bf16{}, cpu::strategy{level, arithmetic::bf16, &m.bf16->pairs});
    if (m.bf16->chain) f(bf16{}, cpu::strategy{level, arithmetic::bf16_chain, &m.bf16->chain});
    f(int8{}, cpu::strategy{level, arithmetic::int8, m.int8});
}
}  // namespace

TEST_CASE("each bias alone reaches what it is added to, and nothing else does") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        each_strategy(m, [&]<class Format>(Format, const cpu::strategy& how) {
            CAPTURE(cpu::name(how.by));
            for (const biases has : {biases{}, biases{true, false, false}, biases{false, true, false}, biases{false, false, true}}) {
                CAPTURE(has.gate);
                CAPTURE(has.up);
                CAPTURE(has.down);
                const mixture<Format> x(has);
                const cpu::packed_network<Format> packed(*m.kernels, how, guild::serial{}, x.network(), E, F, H);
                CHECK((packed.few_rows() == 0 || !(has.gate || has.up || has.down)));
                for (const long T : {1L, 7L}) {
                    const tokens b(T);
                    test::matrix<float> found(T, H), again(T, H), right(T, H), kept(T, 2 * F);
                    for (long t = 0; t < T; ++t) {
                        x.reference(static_cast<int>(t % E), b.x.all().row(t), right.all().row(t));
                        for (long i = 0; i < H; ++i) right(t, i) *= b.chosen.weight[t];
                    }
                    x.forward(*m.kernels, packed, b, found, nullptr);
                    CHECK(test::apart(found, right) < (how.by == arithmetic::fp32 ? 2e-6 : 3e-2));  // what a bias adds is a tenth and more
                    x.forward(*m.kernels, packed, b, again, &kept);
                    CHECK(test::same_bits(found, again));
                }
            }
        });
    }
}

TEST_CASE("what is not finite stays so in its token and reaches no other: packed weights of every format and arithmetic") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        each_strategy(m, [&]<class Format>(Format, const cpu::strategy& how) {
            CAPTURE(cpu::name(how.by));
            check_packed<Format>(*m.kernels, how);
        });
    }
}

TEST_CASE("what is not finite stays so in its token and reaches no other: plain weights, products and gradients of inputs") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        check_plain<float>(cpu::exact(m.kernels));
        check_plain<guild::fp8>(cpu::exact(m.kernels));
        const auto rounded = [&](const cpu::tile_kernels& tiles) { return cpu::plain_kernels{m.kernels, tiles ? &tiles : nullptr, m.bf16}; };
        check_plain<float>(rounded(m.bf16->pairs));
        check_plain<float>(rounded(m.bf16->chain));
    }
}
