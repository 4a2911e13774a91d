#pragma once
#include <guild/gate/row.hpp>
#include <guild/gate/token.hpp>

#include <vector>

/// The adjoint of a stage: its own, or one derived from its forward.
namespace guild::inline v0 {

template <class Stage, class S, class Row> concept has_adjoint = requires(const Stage& s, const token<S>& t, const Row& r, row_gradient<Row>& g) {
    s.backward(t, r, r, g);
};

namespace detail {
template <class Stage> concept reads_previous = requires { requires Stage::needs_previous; };

template <class Row> struct derived_adjoint {
    template <class Stage, class S> static void backward(const Stage&, const token<S>&, const Row&, row_gradient<Row>&) {
        static_assert(sizeof(Stage) == 0, "guild: a stage without `backward` runs on the host alone; write its adjoint to run it on a device");
    }
};

/// Exact, by one dual-number pass of `forward` for every score, extra logit, weight and learned number, so about E times dearer
/// than a written one, and it may allocate: for research and tests.
template <class S, class Extent> struct derived_adjoint<row<S, Extent, one_lane>> {
    using Row = row<S, Extent, one_lane>;

    template <class Stage> static void backward(const Stage& stage, const token<S>& t, const Row& in, row_gradient<Row>& g) {
        const row_gradient<Row> by = g;
        const int E = in.n.experts;
        std::vector<dual<S>> learned, previous;
        if constexpr (requires { stage.learned(E); }) learned.assign(t.learned, t.learned + stage.learned(E));
        if constexpr (reads_previous<Stage>) previous.assign(t.previous, t.previous + E);

        const auto probe = [&](auto seed) {  // sum over outputs of (gradient by output) (d output / d input)
            row<dual<S>, Extent, one_lane> r;
            r.n = in.n;
            for (int e = 0; e < E; ++e) r.score[e] = in.score[e], r.bias[e] = in.bias[e];
            for (int i = 0; i < in.n.extra; ++i) r.extra[i] = in.extra[i];
            for (int k = 0; k < in.n.slots; ++k) r.expert[k] = in.expert[k], r.weight[k] = in.weight[k];
            seed(r);
            const token<dual<S>> td{t.index,        t.position,     t.id,    t.training, t.seed,    t.draws,
                                    t.draw_streams, learned.data(), t.state, t.table,    t.decided, previous.data()};
            stage.forward(td, r);
            S dot(0);
            for (int e = 0; e < E; ++e) dot += by.score[e] * r.score[e].d;
            for (int i = 0; i < in.n.extra; ++i) dot += by.extra[i] * r.extra[i].d;
            for (int k = 0; k < in.n.slots; ++k) dot += by.weight[k] * r.weight[k].d;
            return dot;
        };
        for (int e = 0; e < E; ++e) g.score[e] = probe([&](auto& r) { r.score[e].d = S(1); });
        for (int i = 0; i < in.n.extra; ++i) g.extra[i] = probe([&](auto& r) { r.extra[i].d = S(1); });
        for (int k = 0; k < in.n.slots; ++k) g.weight[k] = probe([&](auto& r) { r.weight[k].d = S(1); });
        for (std::size_t i = 0; i < learned.size(); ++i) {
            learned[i].d = S(1);
            g.learned[i] += probe([](auto&) {});
            learned[i].d = S(0);
        }
        for (std::size_t i = 0; g.previous && i < previous.size(); ++i) {
            previous[i].d = S(1);
            g.previous[i] += probe([](auto&) {});
            previous[i].d = S(0);
        }
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
