#include <support/outcome.hpp>
#include <support/products.hpp>

#include <doctest/doctest.h>

// A backend whose experts are computed somewhere else: rows are sent there and back through a function, as to another rank. The same bits.

namespace {
using guild::groups, guild::overridden, guild::view;

/// What is sent: rows [R, H] grouped by expert, offset [E + 1], and factors [R] or none; back come rows [R, H].
template <class S> struct message {
    std::vector<int> offset;
    std::vector<S> rows, factor;
};

/// The rank that has the experts: it knows of no tokens. It keeps what its adjoint needs.
template <class Model, class S, class Backend> class owner {
public:
    explicit owner(const guild::weights<Model, S>& w) : weights_(w), gradient(w.model) {}

    void forward(message<S>& m) {
        const long R = rows(m);
        x_ = m;
        h_.shape(R, 2 * F()), a_.shape(R, F());
        guild::expert::up(backend_, weights_.model.activation, groups_of(x_), read(x_), weights_.lend().experts, h_.all(), a_.all());
        guild::expert::down(backend_, groups_of(x_), std::as_const(a_).all(), weights_.lend().experts, view<S>(m.rows.data(), R, H()));
    }
    /// d_out -> d_in, and the gradients of its experts.
    void backward(message<S>& m) {
        const long R = rows(m);
        const message<S> d = m;
        d_a_.shape(R, F()), d_h_.shape(R, 2 * F());
        const auto w = weights_.lend().experts;
        guild::expert::down_inputs_backward(backend_, groups_of(x_), w, read(d), d_a_.all());
        guild::expert::up_inputs_backward(backend_, weights_.model.activation, groups_of(x_), w, std::as_const(h_).all(), std::as_const(d_a_).all(),
                                          d_h_.all(), view<S>(m.rows.data(), R, H()));
        guild::expert::weights_backward(backend_, groups_of(x_), read(x_), std::as_const(a_).all(), read(d), std::as_const(d_h_).all(),
                                        gradient.experts.lend(F(), H()));
    }

private:
    long H() const { return weights_.model.config.hidden; }
    long F() const { return weights_.model.config.expert_hidden; }
    long rows(const message<S>& m) const { return m.offset.back(); }
    view<const S> read(const message<S>& m) const { return {m.rows.data(), rows(m), H()}; }
    static groups<S> groups_of(const message<S>& m) {
        return {static_cast<int>(m.offset.size()) - 1, m.offset.data(), nullptr, m.factor.empty() ? nullptr : m.factor.data()};
    }
    const guild::weights<Model, S>& weights_;
    Backend backend_;
    message<S> x_;
    guild::buffer<S> h_, a_, d_a_, d_h_;

public:
    guild::weights<Model, S> gradient;
};

/// Inner's router, gate, shared experts and combine; `there` computes the experts.
template <class Inner, class There> struct elsewhere : Inner {
    static constexpr unsigned overrides = Inner::overrides | overridden::experts | overridden::experts_backward;
    There* there = nullptr;

    void experts(const auto& c, auto x, auto& m, auto y) const {
        auto sent = message_of(c, m);
        for (long r = 0; r < c.own_rows(m); ++r) sent.rows.insert(sent.rows.end(), x.row(m.plan.token[r]), x.row(m.plan.token[r]) + c.H());
        there->forward(sent);
        std::copy(sent.rows.begin(), sent.rows.end(), m.rows.data());
        guild::step::passive(c, x, m);
        const int* order = nullptr;
        if constexpr (requires { m.d_rows; }) order = m.gate.present.source();
        c.backend.shared(c, x, order, m, y);
        c.backend.combine(c, x, m, y);
    }
    void experts_backward(const auto& c, auto dy, auto dx, auto& grad, auto& tp) const {
        guild::step::combine_backward(c, dy, tp);
        guild::step::shared_inputs_backward(c, dy, dx, tp);
        auto sent = message_of(c, tp);
        sent.rows.assign(tp.d_rows.data(), tp.d_rows.data() + c.own_rows(tp) * c.H());
        there->backward(sent);
        std::copy(sent.rows.begin(), sent.rows.end(), tp.d_read.data());
        guild::step::passive_backward(c, tp, true, grad.constant.data());
        guild::step::dispatch_backward(c, dx, tp);
        guild::step::shared_weights_backward(c, dy, grad, tp);
    }

private:
    template <class C> static auto message_of(const C& c, const auto& m) {
        message<typename C::S> sent;
        sent.offset.assign(m.plan.offset.data(), m.plan.offset.data() + c.routed_experts() + 1);
        if (C::weighs_input) sent.factor.assign(m.factor.data(), m.factor.data() + c.own_rows(m));
        return sent;
    }
};

struct mixture
    : guild::model<guild::config{.hidden = 12, .expert_hidden = 20, .routed_experts = 6, .top_k = 2, .shared_experts = 1, .expert_bias = true},
                   guild::deepseek_moe_gate{}, guild::passive{.identity = 1, .constant = 2, .blend = 1}, guild::z_loss{.weight = 1e-2}> {};
struct on_the_input : guild::model<guild::config{.hidden = 12, .expert_hidden = 20, .routed_experts = 6, .top_k = 1, .shared_experts = 1},
                                   guild::llama4_gate{}, guild::gated_shared{}> {};

template <class Model, class S, class Inner> void check(const Inner& inner) {
    using there = owner<Model, S, Inner>;
    const auto w = guild::random_weights<Model, S>(3);
    auto here = w;  // without experts that anybody may read
    for (auto* m : {&here.experts.gate, &here.experts.up, &here.experts.down}) std::fill(m->begin(), m->end(), S(NAN));
    there rank(w);
    elsewhere<Inner, there> backend;
    static_cast<Inner&>(backend) = inner;
    backend.there = &rank;
    const guild::layer expected_layer(w, inner);
    const guild::layer layer(here, backend);
    for (const long T : {0, 1, 9}) {
        CAPTURE(T);
        rank.gradient = guild::weights<Model, S>(w.model);
        const test::outcome expected(expected_layer, test::first_tokens(T));
        test::outcome found(layer, test::first_tokens(T));
        CHECK(test::same_bits(found.inferred, expected.inferred));
        CHECK(test::same_bits(found.y, expected.y));
        CHECK(test::same_bits(found.dx, expected.dx));
        found.gradient.experts = rank.gradient.experts;
        CHECK(test::same_gradients(found.gradient, expected.gradient));
    }
}
}  // namespace

TEST_CASE("experts on another rank, forward and backward: the bits of one process") {
    check<mixture, double>(guild::backend::host{});
    check<mixture, float>(guild::backend::eigen<>{});
    check<on_the_input, double>(guild::backend::host{});
    check<on_the_input, float>(guild::backend::eigen<>{});
}
