#pragma once
#include <guild/core/variable.hpp>
#include <guild/gate/row.hpp>
#include <guild/gate/token.hpp>

#include <span>

/// The adjoint of a stage: its own, or one derived from its forward.
namespace guild::inline v0 {

template <class Stage, class S, class Row> concept has_adjoint = requires(const Stage& s, const token<S>& t, const Row& r, row_gradient<Row>& g) {
    s.backward(t, r, r, g);
};

namespace detail {
template <class Stage> concept reads_previous = requires { requires Stage::needs_previous; };
template <class Stage> constexpr int learned_of(const Stage& s, int E) {
    if constexpr (requires { s.learned(E); }) return s.learned(E);
    else return 0;
}

/// On a warp, by dual numbers: one pass of `forward` for every score, extra logit and weight.
template <class Row> struct derived_adjoint {
    using S = typename Row::scalar;

    template <class Stage> GUILD_HOST_DEVICE static void backward(const Stage& stage, const token<S>& t, const Row& in, row_gradient<Row>& g) {
        static_assert(
            !reads_previous<Stage> && !requires { stage.learned(0); },
            "guild: a stage with learned numbers or needs_previous runs on the host alone without `backward`; write its adjoint to run it on a "
            "device");
        const row_gradient<Row> by = g;
        const auto along = [&](auto set) {  // sum over outputs of (gradient by output) (d output / d input)
            row<dual<S>, decltype(in.n), decltype(in.lanes)> r;
            r.n = in.n;
            r.lanes = in.lanes;
            in.each([&](int e) { r.score[e] = in.score[e], r.bias[e] = in.bias[e]; });
            for (int i = 0; i < in.n.extra; ++i)
                if (in.owns(i)) r.extra[i] = in.extra[i];
            for (int k = 0; k < in.n.slots; ++k) r.expert[k] = in.expert[k], r.weight[k] = in.weight[k];
            set(r);
            stage.forward(
                token<dual<S>>{t.index, t.position, t.id, t.training, t.seed, t.draws, t.draw_streams, nullptr, t.state, t.table, t.decided}, r);
            S dot = in.sum([&](int e) { return by.score[e] * r.score[e].d; }), rest(0);
            for (int i = 0; i < in.n.extra; ++i)
                if (in.owns(i)) rest += by.extra[i] * r.extra[i].d;
            dot += in.lanes.reduce(rest, [](S a, S b) { return a + b; });
            for (int k = 0; k < in.n.slots; ++k) dot += by.weight[k] * r.weight[k].d;
            return dot;
        };
        for (int one = 0; one < in.n.experts; ++one) {
            const S d = along([&](auto& r) { r.each([&](int e) { r.score[e].d = S(e == one); }); });
            in.each([&](int e) {
                if (e == one) g.score[e] = d;
            });
        }
        for (int i = 0; i < in.n.extra; ++i)
            g.set_extra(i, along([&](auto& r) {
                            if (r.owns(i)) r.extra[i].d = S(1);
                        }));
        for (int k = 0; k < in.n.slots; ++k) g.weight[k] = along([&](auto& r) { r.weight[k].d = S(1); });
    }
};

/// Exact, in reverse mode: `forward` once on variables, and one sweep back over its operations.
template <class S, class Extent> struct derived_adjoint<row<S, Extent, one_lane>> {
    using Row = row<S, Extent, one_lane>;
    using V = variable<S>;

    template <class Stage> static void backward(const Stage& stage, const token<S>& t, const Row& in, row_gradient<Row>& g) {
        const int E = in.n.experts;
        scratch own;
        scratch& memory = g.memory ? *g.memory : own;
        memory.reset();
        recording<S> notes(memory);
        const auto lifted = [&](const S* from, int n) {
            const std::span<V> to = memory.template room<V>(n);
            for (int i = 0; i < n; ++i) to[static_cast<std::size_t>(i)] = notes.leaf(from[i]);
            return to;
        };
        row<V, Extent, one_lane> r;
        r.n = in.n;
        for (int e = 0; e < E; ++e) r.score[e] = notes.leaf(in.score[e]), r.bias[e] = in.bias[e];
        for (int i = 0; i < in.n.extra; ++i) r.extra[i] = notes.leaf(in.extra[i]);
        for (int k = 0; k < in.n.slots; ++k) r.expert[k] = in.expert[k], r.weight[k] = notes.leaf(in.weight[k]);
        const std::span<V> learned = lifted(t.learned, learned_of(stage, E)), previous = lifted(t.previous, reads_previous<Stage> ? E : 0);
        const token<V> tv{t.index,        t.position,     t.id,    t.training, t.seed,    t.draws,
                          t.draw_streams, learned.data(), t.state, t.table,    t.decided, previous.data()};
        stage.forward(tv, r);

        notes.gradients();
        for (int e = 0; e < E; ++e) notes.by(r.score[e]) += g.score[e];
        for (int i = 0; i < in.n.extra; ++i) notes.by(r.extra[i]) += g.extra[i];
        for (int k = 0; k < in.n.slots; ++k) notes.by(r.weight[k]) += g.weight[k];
        notes.sweep();
        std::uint32_t leaf = 0;  // in the order in which they were made
        for (int e = 0; e < E; ++e) g.score[e] = notes.gradient({S(0), ++leaf});
        for (int i = 0; i < in.n.extra; ++i) g.extra[i] = notes.gradient({S(0), ++leaf});
        for (int k = 0; k < in.n.slots; ++k) g.weight[k] = notes.gradient({S(0), ++leaf});
        for (std::size_t i = 0; i < learned.size(); ++i) g.learned[i] += notes.gradient(learned[i]);
        for (std::size_t i = 0; g.previous && i < previous.size(); ++i) g.previous[i] += notes.gradient(previous[i]);
        memory.reset();  // makes one block of several now, so that the next call need not
    }
};
}  // namespace detail

/// g: gradient by `out` on entry, by `in` on return; g.learned += the gradient of the stage's own numbers.
template <class Stage, class S, class Row>
GUILD_HOST_DEVICE void adjoint(const Stage& stage, const token<S>& t, const Row& in, const Row& out, row_gradient<Row>& g) {
    if constexpr (has_adjoint<Stage, S, Row>) stage.backward(t, in, out, g);
    else detail::derived_adjoint<Row>::backward(stage, t, in, g);
}

}  // namespace guild::inline v0
