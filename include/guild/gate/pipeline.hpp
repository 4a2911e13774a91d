#pragma once
#include <guild/gate/adjoint.hpp>

#include <concepts>
#include <utility>

/// A gate is a list of stages. This file runs them over one token, forward and backward, and knows none of them.
namespace guild::inline v0 {

namespace detail {
template <int Index, class Stage> struct numbered { Stage stage; };
template <class Indices, class... Stages> struct stage_list;
template <int... Index, class... Stages> struct stage_list<std::integer_sequence<int, Index...>, Stages...> : numbered<Index, Stages>... {
    constexpr explicit stage_list(Stages... s) : numbered<Index, Stages>{s}... {}
};
template <class Stage> concept looks_across = requires(const Stage& s, const crowd<double>& c) { s.decide(c); };
template <class Stage> concept reads_token_id = requires { requires Stage::needs_token_id; };
template <class Stage> concept reads_table = requires { requires Stage::needs_table; };
template <class Stage> concept changes_logits = requires { requires Stage::logits; };
template <class Stage> concept scores = requires { requires Stage::scores; };
}  // namespace detail

/// The stages of a gate, as its stages() returns them, and how they go over one token. Pipelines of stages are not nested.
template <class... Stages> struct pipeline : detail::stage_list<std::make_integer_sequence<int, static_cast<int>(sizeof...(Stages))>, Stages...> {
    using detail::stage_list<std::make_integer_sequence<int, static_cast<int>(sizeof...(Stages))>, Stages...>::stage_list;
    /// how many stages
    static constexpr int size = static_cast<int>(sizeof...(Stages));

    /// The index of the stage that acts across tokens, or `size`; and how many of them there are (one at most is allowed).
    static constexpr int across = [] {
        constexpr bool is[] = {detail::looks_across<Stages>..., true};
        int i = 0;
        while (!is[i]) ++i;
        return i;
    }();
    /// How many stages act across tokens.
    static constexpr int across_count = (static_cast<int>(detail::looks_across<Stages>) + ... + 0);
    /// Stages [0, logits_end) change logits that stay logits: a bias, noise, a bound.
    static constexpr int logits_end = [] {
        constexpr bool is[] = {detail::changes_logits<Stages>..., false};
        int i = 0;
        while (is[i]) ++i;
        return i;
    }();
    /// Stages [0, scored) make the scores that losses read: everything up to the last `score` stage.
    static constexpr int scored = [] {
        constexpr bool is[] = {detail::scores<Stages>..., false};
        int last = logits_end;
        for (int i = 0; i < size; ++i)
            if (is[i]) last = i + 1;
        return last;
    }();
    /// Whether a stage reads token ids.
    static constexpr bool needs_token_id = (detail::reads_token_id<Stages> || ...);
    /// Whether a stage reads the table of experts by token id.
    static constexpr bool needs_table = (detail::reads_table<Stages> || ...);
    /// Whether a stage reads the logits of the layer before.
    static constexpr bool needs_previous = (detail::reads_previous<Stages> || ...);
    /// Whether the adjoint of a stage is derived.
    template <class S, class Row> static constexpr bool derives = !(has_adjoint<Stages, S, Row> && ...);

    /// Stage `Index`.
    template <int Index> GUILD_HOST_DEVICE constexpr const auto& get() const { return at<Index>(*this); }
    /// f(stage) for each stage in order.
    template <int Index = 0, class F> constexpr void each(F f) const {
        if constexpr (Index < size) {
            f(get<Index>());
            each<Index + 1>(f);
        }
    }

    // What the stages ask for, each by a member function that it may leave out.

    /// W for E experts and top_k K.
    constexpr int slots(int E, int K) const {
        each([&](const auto& s) {
            if constexpr (requires { s.slots(E, K); }) K = s.slots(E, K);
        });
        return K;
    }
    /// X
    constexpr int extra(int E) const {
        int n = 0;
        each([&](const auto& s) {
            if constexpr (requires { s.extra(E); }) n += s.extra(E);
        });
        return n;
    }
    /// How many stages ask for extra logits: at most one may, they all count from 0.
    constexpr int extra_count(int E) const {
        int n = 0;
        each([&](const auto& s) {
            if constexpr (requires { s.extra(E); }) n += s.extra(E) > 0;
        });
        return n;
    }
    /// Whether a stage is of this type.
    template <class Stage> static constexpr bool has = (std::same_as<Stage, Stages> || ...);
    /// Whether every stage accepts E experts of which K are chosen.
    constexpr bool fits(int E, int K) const {
        bool all = true;
        each([&](const auto& s) {
            if constexpr (requires { s.fits(E, K); }) all = all && s.fits(E, K);
        });
        return all;
    }
    /// Learned numbers of the stages in [Index, End).
    template <int Index = 0, int End = size> GUILD_HOST_DEVICE constexpr int learned(int E) const {
        if constexpr (Index >= End) return 0;
        else {
            const auto& s = get<Index>();  // nvcc: a requirement on get<Index>() itself never holds
            if constexpr (requires { s.learned(E); }) return s.learned(E) + learned<Index + 1, End>(E);
            else return learned<Index + 1, End>(E);
        }
    }
    /// Numbers of state of the stages in [Index, End).
    template <int Index = 0, int End = size> GUILD_HOST_DEVICE constexpr int state(int E) const {
        if constexpr (Index >= End) return 0;
        else {
            const auto& s = get<Index>();  // nvcc: a requirement on get<Index>() itself never holds
            if constexpr (requires { s.state(E); }) return s.state(E) + state<Index + 1, End>(E);
            else return state<Index + 1, End>(E);
        }
    }

    /// Stages [Index, End) in order, in place on r.
    template <int Index = 0, int End = size, class S, class Row> GUILD_HOST_DEVICE void forward(const token<S>& t, Row& r) const {
        if constexpr (Index < End) {
            get<Index>().forward(own<Index>(t, r.n.experts), r);
            forward<Index + 1, End>(t, r);
        }
    }
    /// Recomputes the row stage by stage, one stack frame each, and walks back as the frames return: g holds the gradient by
    /// the outputs (g.weight) on entry, and by the logits (g.score, g.extra) on return. `d_score` and `d_logit` [E], if not null, are
    /// gradients by the scores after stages [0, scored) and [0, logits_end), and are added on the way.
    template <int Index = 0, class S, class Row>
    GUILD_HOST_DEVICE void backward(const token<S>& t, const Row& in, row_gradient<Row>& g, const S* d_score = nullptr,
                                    const S* d_logit = nullptr) const {
        if constexpr (Index < size) {
            const token<S> mine = own<Index>(t, in.n.experts);
            Row out = in;
            get<Index>().forward(mine, out);
            backward<Index + 1>(t, out, g, d_score, d_logit);
            S* const all = g.learned;
            if (all) g.learned = all + learned<0, Index>(in.n.experts);
            adjoint(get<Index>(), mine, in, out, g);
            g.learned = all;
        }
        if constexpr (Index == scored) add(in, g, d_score);
        if constexpr (Index == logits_end) add(in, g, d_logit);
    }

private:
    template <class Row, class S> GUILD_HOST_DEVICE static void add(const Row& in, row_gradient<Row>& g, const S* d) {
        if (d) in.each([&](int e) { g.score[e] += d[e]; });
    }
    template <int Index, class Stage> GUILD_HOST_DEVICE static constexpr const Stage& at(const detail::numbered<Index, Stage>& n) { return n.stage; }
    /// The token with its pointers moved to what belongs to stage Index.
    template <int Index, class S> GUILD_HOST_DEVICE constexpr token<S> own(token<S> t, int E) const {
        if (t.learned) t.learned += learned<0, Index>(E);
        if (t.state) t.state += state<0, Index>(E);
        return t;
    }
};
/// In their order.
template <class... Stages> pipeline(Stages...) -> pipeline<Stages...>;

}  // namespace guild::inline v0
