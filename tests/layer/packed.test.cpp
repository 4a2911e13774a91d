#include <support/products.hpp>
#include <support/few.hpp>
#include <support/left_behind.hpp>
#include <support/outcome.hpp>
#include <support/pairs.hpp>
#include <support/policies.hpp>
#include <support/pools.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>

// Layers over weights that the CPU backend has packed: in every format and arithmetic they agree with the reference, keep the bits of a token
// whatever stands beside it, and refuse what they cannot do.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, guild::bf16, guild::config, guild::fp8, guild::half, guild::int4, guild::int8, guild::mxfp4;
using backend = guild::backend::eigen<guild::threads>;
using model = test::gated_model<>;

using test::ragged;
const test::shape tiny{.config = {.hidden = 1, .expert_hidden = 1, .routed_experts = 2, .top_k = 1, .shared_experts = 1}};
const test::shape odd{.config = {.hidden = 267, .expert_hidden = 131, .routed_experts = 3, .top_k = 2, .shared_experts = 1}};
const test::shape wide{.config = {.hidden = 260, .expert_hidden = 516, .routed_experts = 3, .top_k = 1, .shared_hidden = 140}};

/// f(format, arithmetic, name, bound of the deviation from the reference over the same weights)
template <class F> void each_kind(F f) {
    f(float{}, arithmetic::fp32, "float", 2e-6);
    f(bf16{}, arithmetic::fp32, "bf16", 2e-6);
    f(half{}, arithmetic::fp32, "half", 2e-6);
    f(fp8{}, arithmetic::fp32, "fp8", 2e-6);
    f(int8{}, arithmetic::fp32, "int8", 2e-6);
    f(int4<32>{}, arithmetic::fp32, "int4", 2e-6);
    f(mxfp4{}, arithmetic::fp32, "mxfp4", 2e-6);
    f(half{}, arithmetic::bf16_rows, "half, activations bf16", 1e-2);
    f(bf16{}, arithmetic::bf16, "bf16, activations bf16", 1e-2);
    f(int8{}, arithmetic::int8, "int8, activations int8", 3e-2);
    if (cpu::active() == cpu::isa::avx512_bf16 || cpu::active() == cpu::isa::amx) f(bf16{}, arithmetic::bf16_chain, "bf16 by vdpbf16ps", 1e-2);
}
/// Inference and training forward of a batch; row i of x depends on token[i] alone.
struct forwards {
    test::matrix<float> x, y, kept;
    guild::workspace<float> ws{};
    guild::tape<float> tape{};
    guild::batch side{};
    forwards(long H, const std::vector<long>& token, const test::batch_places& at = {})
        : x(static_cast<long>(token.size()), H, at.x), y(x.rows(), H, at.y), kept(x.rows(), H, at.dx) {
        for (long r = 0; r < x.rows(); ++r)
            for (long h = 0; h < H; ++h) x(r, h) = static_cast<float>(2 * guild::uniform(8, 0, token[static_cast<std::size_t>(r)], h) - (h > 0));
    }
    template <class Layer> forwards& run(const Layer& layer) {
        layer.forward(x, y, ws, side);
        layer.forward(x, kept, tape, side);
        return *this;
    }
};
/// A model's weights of one kind, packed.
struct subject {
    std::string name;
    double bound;
    long H;
    std::function<void(forwards&, const guild::thread_pool&)> run;
    std::function<void(const test::matrix<float>& x, test::matrix<float>& y)> reference;  ///< over the same weights as they were before
};
/// Each kind of two models.
const std::vector<subject>& subjects() {
    static const std::vector<subject> all = [] {
        std::vector<subject> made;
        for (const test::shape& s : {ragged, wide}) {
            const auto exact = s.weights<float>(s.model<model>());
            each_kind([&]<class Format>(Format, arithmetic by, const std::string& name, double bound) {
                using weights = guild::packed_weights<model, Format, backend>;
                const auto backend_by = [by](const guild::thread_pool& pool) { return backend(guild::threads{pool}, by); };
                const auto w = std::make_shared<const guild::weights<model, Format>>(guild::convert<Format>(exact));
                const auto packed = std::make_shared<const weights>(*w, w->model, backend_by(test::pool_of(2)));
                made.push_back({name + (s.config.hidden == wide.config.hidden ? ", wide" : ""), bound, s.config.hidden,
                                [=](forwards& f, const guild::thread_pool& pool) { f.run(guild::layer(*packed, backend_by(pool))); },
                                [=](const test::matrix<float>& x, test::matrix<float>& y) {
                                    const auto decoded = guild::convert<float>(*w);
                                    guild::workspace<float> ws;
                                    guild::layer<model, float, guild::backend::reference>(decoded).forward(x, y, ws);
                                }});
            });
        }
        return made;
    }();
    return all;
}
guild::view<const float> row(const test::matrix<float>& m, long r) { return {m.all().row(r), 1, m.cols()}; }
}  // namespace

TEST_CASE("packed weights of every format and arithmetic agree with the reference") {
    const long T = test::few ? 9 : 30;
    for (const subject& s : subjects()) {
        CAPTURE(s.name);
        forwards found(s.H, test::first_tokens(T));
        s.run(found, test::pool_of(3));
        test::matrix<float> expected(T, s.H);
        s.reference(found.x, expected);
        CHECK(test::apart(found.y, expected) < s.bound);
        CHECK(test::apart(found.kept, expected) < s.bound);
    }
}

TEST_CASE("packed weights: bits of a token, any companions, order, threads and alignment") {
    const std::pair<int, int> counts[] = {{0, 0},   {1, 1},   {2, 2},   {3, 3},   {4, 7},   {8, 13},  {14, 15},  {16, 17},
                                          {18, 31}, {32, 33}, {34, 63}, {64, 65}, {66, 95}, {96, 97}, {98, 127}, {128, 130}};
    const std::vector<subject>& all = subjects();
    std::deque<forwards> whole;  // they cannot move
    for (const subject& s : all) s.run(whole.emplace_back(s.H, test::first_tokens(130)), test::pool_of(2));
    const auto cases = test::sample({static_cast<int>(all.size()), static_cast<int>(std::size(counts)), 7, 16, 16}, test::first_seed());
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::vector<int>& c = cases[i];
        const unsigned long long seed = test::first_seed() + i;
        test::draws draw(seed);
        const auto at = [&](int offset) { return test::place{offset, draw.integer(0, 3)}; };
        const int count = draw.integer(counts[c[1]]), threads = test::thread_counts[c[2]];
        const auto n = static_cast<std::size_t>(c[0]);
        CAPTURE(all[n].name);
        CAPTURE(count);
        CAPTURE(threads);
        CAPTURE(seed);
        const std::vector<int> order = draw.permutation(130);
        const std::vector<long> token(order.begin(), order.begin() + count);
        forwards some(all[n].H, token, {.x = at(c[3]), .dy = {}, .y = at(c[4]), .dx = at(draw.integer(0, 15))});
        all[n].run(some, test::pool_of(threads));
        bool same = true;
        for (long r = 0; r < count; ++r)
            same = same && test::same_bits(row(some.y, r), row(whole[n].y, token[static_cast<std::size_t>(r)])) &&
                   test::same_bits(row(some.kept, r), row(whole[n].kept, token[static_cast<std::size_t>(r)]));
        CHECK(same);
        CHECK((some.x.intact() && some.y.intact() && some.kept.intact()));
    }
}

TEST_CASE("packed weights: padded rows that nobody filled leave the bits of the others alone") {
    constexpr float garbage[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f};
    for (const subject& s : subjects()) {
        CAPTURE(s.name);
        forwards whole(s.H, test::first_tokens(40));
        s.run(whole, test::pool_of(2));
        for (const long first : {0L, 13L, 33L}) {
            CAPTURE(first);
            bool padding[40] = {};
            forwards some(s.H, test::first_tokens(40));
            for (long t = first; t < first + 7; ++t) {
                padding[t] = true;
                for (long h = 0; h < s.H; ++h) some.x(t, h) = garbage[(t + h) % 3];
            }
            some.side.padding = padding;
            s.run(some, test::pool_of(2));
            for (long t = 0; t < 40; ++t) {
                if (padding[t]) continue;
                CHECK(test::same_bits(row(some.y, t), row(whole.y, t)));
                CHECK(test::same_bits(row(some.kept, t), row(whole.kept, t)));
            }
        }
    }
}

TEST_CASE("packed and plain weights give the same products, bit for bit") {
    const guild::thread_pool pool(2);
    const backend b(guild::threads{pool});
    const auto w = wide.weights<float>(wide.model<model>());
    const guild::packed_weights<model, float, backend> packed(w, w.model, b);
    forwards p(260, test::first_tokens(67)), q(260, test::first_tokens(67));
    p.run(guild::layer(packed, b)), q.run(guild::layer<model, float, backend>(w, b));
    const auto same = [](const guild::buffer<float>& one, const guild::buffer<float>& two, long n) {
        return std::memcmp(one.data(), two.data(), static_cast<std::size_t>(n) * sizeof(float)) == 0;
    };
    CHECK(same(p.tape.h, q.tape.h, 67 * 2 * 516));
}

TEST_CASE("packing is undone exactly") {
    const guild::thread_pool pool(2), other(3);
    for (const test::shape& s : {ragged, wide, tiny, odd}) {
        CAPTURE(s);
        const auto exact = s.weights<float>(s.model<model>());
        each_kind([&]<class Format>(Format, arithmetic by, const std::string& name, double) {
            CAPTURE(name);
            const auto w = guild::convert<Format>(exact);
            const guild::packed_weights<model, Format, backend> packed(w, w.model, backend(guild::threads{pool}, by));
            const auto again = packed.unpack(guild::threads{other});
            guild::each_tensor([](const char* tensor, const auto& one, const auto& two) { CHECK_MESSAGE(one == two, tensor); }, again, w);
            CHECK(again.state == w.state);
        });
    }
}

TEST_CASE("packing is undone exactly where the activation has one input, and from rows that are anywhere") {
    const guild::thread_pool pool(2);
    const backend b(guild::threads{pool});
    const auto plain = odd.weights<float>(odd.model<test::plain_model<>>());
    const guild::packed_weights<test::plain_model<>, float, backend> packed(plain, plain.model, b);
    CHECK(packed.unpack().experts.up == plain.experts.up);
    CHECK(packed.unpack().experts.gate.empty());

    // gate and up in turn, a number between rows
    const auto w = odd.weights<float>(odd.model<model>());
    const long E = odd.config.routed_experts, F = odd.config.expert_hidden, H = odd.config.hidden;
    std::vector<float> both(static_cast<std::size_t>(2 * E * F * (H + 1)), 7.f);
    for (long i = 0; i < E * F; ++i) {
        std::copy_n(w.experts.gate.data() + i * H, H, both.data() + 2 * i * (H + 1));
        std::copy_n(w.experts.up.data() + i * H, H, both.data() + (2 * i + 1) * (H + 1));
    }
    guild::weights_view<float> v = w;
    v.experts.gate = {both.data(), 2 * F * (H + 1), 2 * (H + 1)};
    v.experts.up = {both.data() + H + 1, 2 * F * (H + 1), 2 * (H + 1)};
    const auto again = guild::packed_weights<model, float, backend>(v, w.model, b).unpack();
    CHECK(again.experts.gate == w.experts.gate);
    CHECK(again.experts.up == w.experts.up);
}

TEST_CASE("any number of threads packs the same bytes and unpacks the same numbers") {
    each_kind([&]<class Format>(Format, arithmetic by, const std::string& name, double) {
        CAPTURE(name);
        for (const test::shape& s : {ragged, odd}) {
            const auto w = guild::convert<Format>(s.weights<float>(s.model<model>()));
            const guild::weights_view<Format> v = w;
            const long E = s.config.routed_experts, F = s.config.expert_hidden, H = s.config.hidden;
            const guild::thread_pool one(1);
            const backend alone(guild::threads{one}, by);
            const auto expected = alone.pack(v.experts, E, F, H);
            for (const int threads : {2, 3, 7}) {
                const guild::thread_pool pool(threads);
                const backend b(guild::threads{pool}, by);
                const auto found = b.pack(v.experts, E, F, H);
                const auto same = [&](const cpu::packed_matrix<Format>& p, const cpu::packed_matrix<Format>& q) {
                    const auto equal = [](const void* a, const void* c, long n) {
                        return n == 0 || std::memcmp(a, c, static_cast<std::size_t>(n)) == 0;
                    };
                    const long codes = E * p.shape().size(), columns = E * p.shape().panels() * p.shape().columns();
                    const long sums = p.sums(0, 0) ? columns * 4 : 0, scales = static_cast<long>(p.size()) - codes - sums;
                    return equal(p.block(0, 0, 0), q.block(0, 0, 0), codes) && equal(p.scales(0, 0), q.scales(0, 0), scales) &&
                           equal(p.sums(0, 0), q.sums(0, 0), sums);
                };
                CHECK(same(found.up, expected.up));
                CHECK(same(found.down, expected.down));
                guild::network_weights<Format, float> to;
                to.resize(E, F, H, 2, s.config.expert_bias, b);
                expected.unpack(pool, to);
                CHECK(to.gate == w.experts.gate);
                CHECK(to.up == w.experts.up);
                CHECK(to.down == w.experts.down);
                CHECK(to.down_bias == w.experts.down_bias);
            }
        }
    });
}

TEST_CASE("what a program has set for denormals and rounding changes nothing, and is set again") {
    for (const subject& s : subjects()) {
        CAPTURE(s.name);
        const auto prepared = [&](forwards& f) -> forwards& {
            for (long r = 0; r < 5; ++r)
                for (long h = 1; h < s.H; h += 2) f.x(r, h) *= std::numeric_limits<float>::min();
            return f;
        };
        forwards usual(s.H, test::first_tokens(5));
        s.run(prepared(usual), test::pool_of(2));
        for (const unsigned mode : test::environments()) {
            CAPTURE(mode);
            forwards found(s.H, test::first_tokens(5));
            prepared(found);
            const bool kept = [&] {
                const test::left_behind caller(mode);
                s.run(found, test::pool_of(2));
                return caller.kept();
            }();
            CHECK(kept);
            CHECK(test::same_bits(found.y, usual.y));
            CHECK(test::same_bits(found.kept, usual.kept));
        }
    }
}

TEST_CASE("what a format or the machine cannot do is refused by name") {
    const guild::thread_pool pool(1);
    const auto w = ragged.weights<float>(ragged.model<model>());
    using packed = guild::packed_weights<model, float, backend>;
    const backend eight(guild::threads{pool}, arithmetic::int8);
    CHECK_THROWS_WITH_AS((cpu::packed_matrix<int8>{cpu::strategy_of<int8>(arithmetic::int8, cpu::active()), 16, 1, 16, 65537, 1}),
                         "guild::cpu: arithmetic int8 over a depth of 65537, expected at most 65536, whose sums fit in 32 bits",
                         guild::argument_error);
    CHECK_THROWS_WITH_AS((cpu::packed_matrix<float>{cpu::strategy_of<float>(arithmetic::fp32, cpu::active()), 16, 1L << 30, 1L << 30, 1L << 30, 1}),
                         "guild::cpu: weights to pack are [1073741824, 1073741824, 1073741824], expected at most 2^56 numbers",
                         guild::argument_error);
    const std::string text =
        "guild::cpu: arithmetic int8 over float weights, expected one that the format and " + std::string(cpu::name(cpu::active())) + " have";
    CHECK_THROWS_WITH_AS((packed{w, w.model, eight}), text.c_str(), guild::argument_error);
    if (cpu::detected() != cpu::isa::amx) CHECK_THROWS_AS((backend{guild::threads{pool}, arithmetic::fp32, cpu::isa::amx}), guild::argument_error);
    if (cpu::active() != cpu::isa::generic) {
        const backend here(guild::threads{pool}), below(guild::threads{pool}, arithmetic::fp32, cpu::isa::generic);
        const packed p(w, w.model, here);
        const std::string other =
            "guild::cpu: weights are packed for " + std::string(cpu::name(cpu::active())) + ", expected generic, which this backend uses";
        CHECK_THROWS_WITH_AS((guild::layer(p, below)), other.c_str(), guild::argument_error);
    }
}

TEST_CASE("weights that are packed for one arithmetic and a backend that computes in another: refused, by the layer and by a call after a swap") {
    const arithmetic all[] = {arithmetic::fp32, arithmetic::bf16, arithmetic::bf16_chain, arithmetic::bf16_rows, arithmetic::int8};
    const guild::thread_pool pool(1);
    for (const test::shape& s : {ragged, tiny}) {  // tiny: few rows go alone
        const auto exact = s.weights<float>(s.model<model>());
        const auto refused = [](arithmetic is, arithmetic by) {
            return "guild::cpu: weights are packed for arithmetic " + std::string(cpu::name(is)) + ", expected " + std::string(cpu::name(by)) +
                   ", which this backend computes";
        };
        each_kind([&]<class Format>(Format, arithmetic is, const std::string& name, double) {
            CAPTURE(name);
            const auto w = guild::convert<Format>(exact);
            using packed = guild::packed_weights<model, Format, backend>;
            const packed p(w, w.model, backend(guild::threads{pool}, is));
            for (const arithmetic by : all) {
                if (by == arithmetic::bf16_chain && cpu::active() < cpu::isa::avx512_bf16) continue;
                const backend b(guild::threads{pool}, by);
                if (by == is) CHECK_NOTHROW(guild::layer(p, b));
                else CHECK_THROWS_WITH_AS((guild::layer(p, b)), refused(is, by).c_str(), guild::argument_error);
            }
        });
        using packed = guild::packed_weights<model, bf16, backend>;
        const auto w = guild::convert<bf16>(exact);
        const backend exactly(guild::threads{pool}), rounding(guild::threads{pool}, arithmetic::bf16);
        packed p(w, w.model, exactly);
        const guild::layer layer(p, exactly);
        p = packed(w, w.model, rounding);
        test::matrix<float> x(2, s.config.hidden), y(2, s.config.hidden);
        x.fill(1), y.fill(5);
        guild::workspace<float> ws;
        CHECK_THROWS_WITH_AS(layer.forward(x, y, ws), refused(arithmetic::bf16, arithmetic::fp32).c_str(), guild::argument_error);
        CHECK(y(1, s.config.hidden - 1) == 5);
    }
}
