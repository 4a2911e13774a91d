#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <memory>

// What a backend with its own layout and fused products relies on, by a toy: matrices packed [E, in, out], gather with both up products
// and the activation in one function, the down product with the weighted sum in another.

namespace {
using guild::groups, guild::view, guild::config;

/// A stack of matrices, transposed, in memory of its own.
template <class S> struct transposed {
    long out = 0, in = 0;
    std::vector<S> numbers;
    template <class W> transposed(const W& w, long E, long n, long m) : out(n), in(m), numbers(static_cast<std::size_t>(E * n * m)) {
        for (long e = 0; e < E; ++e)
            for (long r = 0; r < out; ++r)
                for (long c = 0; c < in; ++c) numbers[at(e, r, c)] = w(e, r, c);
    }
    S operator()(long e, long r, long c) const { return numbers[at(e, r, c)]; }

private:
    std::size_t at(long e, long r, long c) const { return static_cast<std::size_t>((e * in + c) * out + r); }
};
template <class S> struct bias {
    long size = 0;
    std::vector<S> numbers;
    template <class B> bias(const B& b, long E, long n) : size(n), numbers(b.data ? static_cast<std::size_t>(E * n) : 0) {
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = b(static_cast<long>(i) / n, static_cast<long>(i) % n, 0);
    }
    guild::stack<const S> view() const { return {numbers.empty() ? nullptr : numbers.data(), size, 1}; }
};
/// The shared network goes through `up` and then through product and down_bias, by these names.
template <class S> struct packed_network {
    transposed<S> gate, up, down;
    bias<S> of_gate, of_up, of_down;
    guild::stack<const S> down_bias = of_down.view();

    template <class N>
    packed_network(const N& n, long E, long F, long H)
        : gate(n.gate, n.gate.data ? E : 0, F, H),
          up(n.up, E, F, H),
          down(n.down, E, H, F),
          of_gate(n.gate_bias, E, F),
          of_up(n.up_bias, E, F),
          of_down(n.down_bias, E, H) {}
    packed_network(packed_network&&) = default;  // a copy would lend the bias of the original
};

struct calls {
    int up = 0, up_with_h = 0, down = 0;
};

/// Packed networks are `up`-ed in one, and in inference their rows weighed and summed in one with the down product.
struct fused : guild::backend::host {
    static constexpr unsigned overrides = guild::overridden::experts;
    using packer = fused;
    calls* seen = nullptr;

    template <class Network> auto pack(const Network& n, long E, long F, long H) const {
        return packed_network<std::remove_cvref_t<decltype(n.up(0, 0, 0))>>(n, E, F, H);
    }
    template <class C, class S> void up(const C& c, const groups<S>& g, view<const S> x, const auto& w, view<S> h, view<S> a) const {
        if constexpr (!requires { w.of_up; }) return host::up(c, g, x, w, h, a);
        else {
            const long F = a.cols;
            if (seen) ++seen->up, seen->up_with_h += h.data ? 1 : 0;
            const auto read = [&](const transposed<S>& m, const bias<S>& b, int e, long r, long f) {
                S sum(0);
                for (long i = 0; i < x.cols; ++i) sum += x(g.from(r), i) * m(e, f, i);
                if (g.factor) sum *= g.factor[r];
                return b.numbers.empty() ? sum : sum + b.view()(e, f, 0);
            };
            for (int e = 0; e < g.count; ++e)
                for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                    for (long f = 0; f < F; ++f) {
                        const S u = read(w.up, w.of_up, e, r, f);
                        if (h.data) h(r, h.cols - F + f) = u;
                        if constexpr (C::inputs == 2) {
                            const S v = read(w.gate, w.of_gate, e, r, f);
                            if (h.data) h(r, f) = v;
                            a(r, f) = c.model.activation(v, u);
                        } else {
                            a(r, f) = c.model.activation(u);
                        }
                    }
        }
    }
    template <class C> void each_of_tokens(const C& c, auto& m, long T, auto f) const {
        host::each_of_tokens(c, m, T, [&](auto& b, long rows, long columns) {
            if (!infers<C, decltype(m)> || kept(b) != kept(m.shared_h)) f(b, rows, columns);
        });
    }
    template <class C> void each_of_rows(const C& c, auto& m, long R, long own, auto f) const {
        host::each_of_rows(c, m, R, own, [&](auto& b, long rows, long columns) {
            if (!infers<C, decltype(m)> || kept(b) != kept(m.h)) f(b, rows, columns);
        });
    }
    /// Rows in ascending order: a token's are then in ascending expert id.
    template <class C, class S> void experts(const C& c, view<const S> x, guild::workspace<S>& m, view<S> y) const {
        if constexpr (!infers<C, guild::workspace<S>> || C::weighs_input) host::experts(c, x, m, y);
        else {
            const groups<S> g = c.routed(m);
            const view<S> a = m.a.all();
            up(c, g, x, c.w.experts, {}, a);
            guild::step::passive(c, x, m);
            host::shared(c, x, nullptr, m, y);
            if (seen) ++seen->down;
            for (int e = 0; e < g.count; ++e)
                for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                    for (long i = 0; i < y.cols; ++i) {
                        const auto& w = c.w.experts;
                        S sum(0);
                        for (long f = 0; f < a.cols; ++f) sum += a(r, f) * w.down(e, i, f);
                        y(m.plan.token[r], i) += m.gate.choice.weight[m.plan.slot[r]] * (w.down_bias.data ? sum + w.down_bias(e, i, 0) : sum);
                    }
            const view<S> passive{m.rows.all().row(a.rows), m.plan.rows - a.rows, y.cols};
            guild::combine::forward<false>(*this, c.model.residual, m.gate.choice, m.plan, a.rows, view<const S>(passive), x, y);
        }
    }
    template <class C, class S> void experts(const C& c, view<const S> x, guild::tape<S>& m, view<S> y) const { host::experts(c, x, m, y); }

private:
    template <class C, class M> static constexpr bool infers = requires(const C& c) { c.w.experts.of_up; }
    &&!requires(M & m) { m.d_rows; };
    static const void* kept(const auto& buffer) { return &buffer; }
};

struct with_losses
    : guild::model<
          config{.hidden = 6, .expert_hidden = 5, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
          test::learned_gate{}, guild::gated_shared{}, guild::passive{.zero = 1, .identity = 1, .constant = 2}, guild::residual::complement,
          guild::z_loss{}> {};
struct on_the_input : guild::model<config{.hidden = 6, .expert_hidden = 5, .routed_experts = 4, .top_k = 2, .shared_experts = 1, .expert_bias = true},
                                   test::llama4_gate{}, guild::relu{}, guild::passive{.identity = 1}> {};
struct alone : guild::model<config{.hidden = 6, .expert_hidden = 5, .routed_experts = 4, .top_k = 4}> {};

/// The layer over packed weights gives the numbers of the reference over plain ones, and is asked as often as it says.
template <class Format, class Model> void check(const Model& m, int ups, int downs) {
    using S = guild::scalar_of<Format>;
    calls seen;
    fused backend;
    backend.seen = &seen;
    auto w = std::make_unique<guild::weights<Model, Format>>(guild::random_weights<Model, Format>(4, m));
    const guild::packed_weights<Model, Format, fused> packed(*w, m, backend);
    const guild::layer layer(packed, backend);
    static_assert(std::is_same_v<decltype(layer), const guild::layer<Model, guild::packed<Format>, fused>>);
    const long H = m.config.hidden;
    for (const long T : {0L, 1L, 9L}) {
        CAPTURE(T);
        test::matrix<S> x(T, H), y(T, H), expected(T, H);
        x.random(5);
        guild::workspace<S> ws;
        guild::tape<S> tape;
        {
            const guild::layer plain(*w, guild::backend::reference{});
            plain.forward(x, expected, ws);
        }
        ws = {};
        seen = {};
        layer.forward(x, y, ws);
        CHECK(test::apart(y, expected) < (std::is_same_v<S, double> ? 1e-14 : 2e-6));
        CHECK(y.intact());
        CHECK(seen.up == ups);
        CHECK(seen.up_with_h == 0);
        CHECK(seen.down == downs);
        CHECK(ws.h.data() == nullptr);
        CHECK(ws.shared_h.data() == nullptr);

        y.fill(0);
        seen = {};
        layer.forward(x, y, tape);  // training keeps h, and every row
        CHECK(test::apart(y, expected) < (std::is_same_v<S, double> ? 1e-14 : 2e-6));
        CHECK(seen.up == ups);
        CHECK(seen.up_with_h == (T > 0 ? ups : 0));
        CHECK(seen.down == 0);
    }
    guild::workspace<S> reserved;
    reserved.reserve(layer, 9);
    CHECK(reserved.h.data() == nullptr);

    test::matrix<S> x(9, H), before(9, H), after(9, H);
    x.random(6);
    layer.forward(x, before, reserved);
    w.reset();  // packed weights own what they need
    layer.forward(x, after, reserved);
    CHECK(test::same_bits(before, after));
}
}  // namespace

static_assert(guild::compute_backend<fused>);
// From a temporary a layer would dangle.
static_assert(!std::is_constructible_v<guild::layer<alone, guild::packed<float>, fused>, guild::packed_weights<alone, float, fused>>);
static_assert(std::is_constructible_v<guild::layer<alone, guild::packed<float>, fused>, const guild::packed_weights<alone, float, fused>&>);

TEST_CASE("a backend with a packed layout and fused products serves inference") {
    check<double>(with_losses{}, 2, 1);
    check<float>(with_losses{}, 2, 1);
    check<double>(alone{}, 1, 1);
    check<float>(
        test::shape{.config = {.hidden = 17, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 2}}.model<test::gated_model<>>(),
        2, 1);
}

TEST_CASE("where the weight is on the input there is no weighted sum to fuse") { check<double>(on_the_input{}, 2, 0); }

TEST_CASE("the same backend over plain weights trains as the reference does") {
    const auto w = guild::random_weights<with_losses, double>(4);
    const guild::layer layer(w, fused{});
    const guild::layer reference(w, guild::backend::reference{});
    const test::outcome found(layer, test::first_tokens(9));
    const test::outcome expected(reference, test::first_tokens(9));
    CHECK(test::same_bits(found.inferred, expected.inferred));
    CHECK(test::same_bits(found.y, expected.y));
    // Backward not bit for bit: compilers contract the same loop differently in two places.
    const auto near = [](double a, double b) { return std::abs(a - b) <= 1e-12; };
    for (long t = 0; t < 9; ++t)
        for (long h = 0; h < found.dx.all().cols; ++h) CHECK(near(found.dx(t, h), expected.dx(t, h)));
    guild::each_tensor(
        [&](const char*, const auto& x, const auto& y) {
            for (std::size_t i = 0; i < x.size(); ++i) CHECK(near(x[i], y[i]));
        },
        found.gradient, expected.gradient);
}

TEST_CASE("packed weights of a model of wrong numbers, or of weights that are missing") {
    using model = test::gated_model<>;
    using packed = guild::packed_weights<model, float, fused>;
    const model bad{.config = {.hidden = 3, .expert_hidden = 2, .routed_experts = 2, .top_k = 3, .shared_experts = 1}};
    CHECK_THROWS_WITH_AS((packed{guild::weights_view<float>{}, bad}),
                         "guild::config: .top_k must be at most .routed_experts (plus passive experts), found 3 of 2", guild::argument_error);
    const auto w = guild::random_weights<with_losses>(1);
    guild::weights_view<float> v = w;
    v.constant = nullptr;
    CHECK_THROWS_WITH_AS((guild::packed_weights<with_losses, float, fused>{v}), "guild::layer: weights constant are null, which this model needs",
                         guild::argument_error);
}
