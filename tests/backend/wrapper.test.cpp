#include <support/outcome.hpp>
#include <support/products.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <type_traits>

// A backend that wraps any other: it counts and delegates. The steps of the inner one meet its products, for the context names the outermost.

namespace {
using guild::groups, guild::view;

struct seen {
    long logits = 0, choose = 0, dispatch = 0, experts = 0, experts_backward = 0, losses_backward = 0, choose_backward = 0, logits_backward = 0;
    long products = 0, gradients = 0, loops = 0;
};

template <class Inner> struct counting : Inner {
    static constexpr unsigned overrides = 255;  // all eight
    seen* n = nullptr;

    counting() = default;
    counting(const Inner& inner, seen* counts) : Inner(inner), n(counts) {}

    void logits(const auto& c, auto x, const auto& side, auto& m) const { ++n->logits, Inner::logits(c, x, side, m); }
    void choose(const auto& c, const auto& side, auto& m) const { ++n->choose, Inner::choose(c, side, m); }
    void dispatch(const auto& c, auto& m) const { ++n->dispatch, Inner::dispatch(c, m); }
    void experts(const auto& c, auto x, auto& m, auto y) const { ++n->experts, Inner::experts(c, x, m, y); }
    void experts_backward(const auto& c, auto dy, auto dx, auto& g, auto& tp) const {
        ++n->experts_backward, Inner::experts_backward(c, dy, dx, g, tp);
    }
    void losses_backward(const auto& c, auto& g, auto& tp) const { ++n->losses_backward, Inner::losses_backward(c, g, tp); }
    void choose_backward(const auto& c, auto& g, auto& tp) const { ++n->choose_backward, Inner::choose_backward(c, g, tp); }
    void logits_backward(const auto& c, auto dx, auto& g, auto& tp) const { ++n->logits_backward, Inner::logits_backward(c, dx, g, tp); }

    template <class S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        ++n->products, Inner::product(g, a, w, c);
    }
    template <class S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, guild::into mode) const {
        ++n->gradients, Inner::input_gradient(g, dc, w, da, mode);
    }
    template <class S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, guild::stack<S> dw) const {
        ++n->gradients, Inner::weight_gradient(g, dc, a, dw);
    }
    template <class F> void each(long count, F&& f) const { ++n->loops, Inner::each(count, f); }
    counting exact() const { return {Inner::exact(), n}; }
};

struct mixture : guild::model<guild::config{.hidden = 24, .expert_hidden = 20, .routed_experts = 6, .top_k = 2, .shared_experts = 1},
                              guild::deepseek_moe_gate{}, guild::z_loss{.weight = 1e-2}> {};

/// The same bits as without the wrapper, and every step met it.
template <class Inner> void check(const Inner& inner) {
    const auto w = guild::random_weights<mixture>(3);
    seen n;
    const guild::layer plain(w, inner);
    const guild::layer wrapped(w, counting<Inner>(inner, &n));
    const test::outcome expected(plain, test::first_tokens(9));
    const test::outcome found(wrapped, test::first_tokens(9));
    CHECK(test::same_bits(found.inferred, expected.inferred));
    CHECK(test::same_bits(found.y, expected.y));
    CHECK(test::same_bits(found.dx, expected.dx));
    CHECK(test::same_gradients(found.gradient, expected.gradient));
    for (const long two : {n.logits, n.choose, n.dispatch, n.experts}) CHECK(two == 2);
    for (const long one : {n.experts_backward, n.losses_backward, n.choose_backward, n.logits_backward}) CHECK(one == 1);
    CHECK(n.products == 2 * (1 + 3 + 3));             // router, routed, shared
    CHECK(n.gradients == (1 + 3 + 3) + (1 + 3 + 3));  // by inputs, by weights
    CHECK(n.loops > 0);
}
}  // namespace

TEST_CASE("a wrapper over host and over eigen is met by every step, product and loop of what it wraps") {
    check(guild::backend::host{});
    check(guild::backend::eigen<>{});
    const guild::thread_pool pool(3);
    check(guild::backend::eigen{guild::threads{pool}});
}

TEST_CASE("a wrapper over eigen takes the packed weights of eigen, and has its bits") {
    using eigen = guild::backend::eigen<>;
    const auto w = guild::random_weights<mixture>(3);
    const guild::packed_weights<mixture, float, eigen> packed(w);
    seen n;
    const guild::layer<mixture, guild::packed<float>, eigen> plain(packed);
    const guild::layer<mixture, guild::packed<float>, counting<eigen>> wrapped(packed, {eigen{}, &n});
    for (const long T : {0, 1, 9, 70}) {
        CAPTURE(T);
        test::matrix<float> x(T, 24), y(T, 24), expected(T, 24);
        x.random(5);
        guild::workspace<float> ws;
        guild::tape<float> tape;
        n = {};
        plain.forward(x, expected, ws);
        wrapped.forward(x, y, ws);
        CHECK(test::same_bits(y, expected));
        CHECK((n.logits == 1 && n.choose == 1 && n.dispatch == 1 && n.experts == 1));
        wrapped.forward(x, y, tape);
        CHECK(test::same_bits(y, expected));
    }
}
