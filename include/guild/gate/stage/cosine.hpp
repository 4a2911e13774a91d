#pragma once
#include <guild/gate/row.hpp>

namespace guild::inline v0 {

/// logit_e = cos(p, v_e) / temperature, p [d] = W x (+ b) a learned projection, v [E, d] learned embeddings of the experts. X-MoE,
/// arXiv:2204.09179, section 3; Tutel's cosine router, which has the bias, learns log(1 / temperature), and bounds the temperature from below.
///
/// W is the router: its first d rows, so that P = max(E, d), max(0, d - E) of them extra; rows from d on, where d < E, are not read and have
/// gradient 0. Learned numbers: v, then log(1 / temperature), then b [d] if `bias`. Lengths count as 1e-12 at least, which makes the cosine
/// with a zero vector 0. The first stage of a gate. O(E d) a token.
struct cosine {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool logits = true;
    int dimension = 256;    ///< d
    bool bias = false;      ///< of the projection
    double coldest = 0.01;  ///< the least temperature

    /// The numbers in their order.
    constexpr cosine(int d = 256, bool b = false, double c = 0.01) : dimension(d), bias(b), coldest(c) {}
    constexpr int extra(int experts) const { return dimension > experts ? dimension - experts : 0; }
    constexpr bool fits(int experts, int) const {
        return dimension >= 1 && coldest > 0 && is_finite(coldest) && (experts + 1L) * dimension < 0x7fffffff;  // learned(E) is an int
    }
    GUILD_HOST_DEVICE constexpr int learned(int experts) const { return experts * dimension + 1 + (bias ? dimension : 0); }

    template <class Row> GUILD_HOST_DEVICE void forward(const auto& t, Row& r) const {
        using S = typename Row::scalar;
        S p[room<Row>];
        const S heat = scale(t.learned[r.n.experts * dimension]);
        const S by = heat / length(project(t, r, p).square);
        r.each([&](int e) {
            const auto [square, dot, unit] = against(p, t.learned + e * dimension);
            r.score[e] = by * dot / length(square);
        });
    }
    /// With c the logit and n, n_e the lengths: by p, (v_e / (temperature n_e) - c p / n) / n; by v_e, (p / (temperature n) - c v_e / n_e) / n_e.
    template <class Row> GUILD_HOST_DEVICE void backward(const auto& t, const Row& in, const Row& out, auto& g) const {
        using S = typename Row::scalar;
        const int E = in.n.experts;
        S p[room<Row>];
        const auto [square_p, unit_p] = project(t, in, p);
        const S n = length(square_p), heat = scale(t.learned[E * dimension]);
        const S all = out.sum([&](int e) { return g.score[e] * out.score[e]; });
        if (value(heat) < bound<S>()) g.learn(E * dimension, all);
        out.each([&](int e) {
            const S* const v = t.learned + e * dimension;
            S* const d = g.learned + e * dimension;
            const auto [square, dot, unit] = against(p, v);
            const S along = held(square) ? S(0) : g.score[e] * out.score[e] / square;
            g.score[e] = unit * (g.score[e] * heat / (n * length(square)));  // by the dot product
            for (int i = 0; i < dimension; ++i) d[i] += g.score[e] * p[i] - unit * along * (unit * v[i]);
        });
        const S along = held(square_p) ? S(0) : all / square_p;
        for (int i = 0; i < dimension; ++i) {
            p[i] = unit_p * (out.sum([&](int e) { return g.score[e] * t.learned[e * dimension + i]; }) - along * p[i]);
            if (bias) g.learn(E * dimension + 1 + i, p[i]);
            if (i >= E) g.add_extra(i - E, p[i]);
        }
        out.each([&](int e) { g.score[e] = e < dimension ? p[e] : S(0); });
    }

private:
    template <class Row> static constexpr int room = decltype(Row::n)::max_experts + decltype(Row::n)::max_extra;
    template <class S> GUILD_HOST_DEVICE static bool held(S square) { return value(square) < real_t<S>(1e-24); }
    template <class S> GUILD_HOST_DEVICE static S length(S square) { return held(square) ? S(real_t<S>(1e-12)) : sqrt(square); }
    template <class S> GUILD_HOST_DEVICE real_t<S> bound() const { return static_cast<real_t<S>>(1 / coldest); }
    /// 1 / temperature
    template <class S> GUILD_HOST_DEVICE S scale(S log_scale) const {
        const S s = exp(log_scale);
        return value(s) < bound<S>() ? s : S(bound<S>());
    }
    /// A vector whose square overflows is taken times a power of two: a cosine does not change.
    template <class S> struct projected { S square, unit; };
    template <class S> struct measured { S square, dot, unit; };
    /// p [d] = the projection times unit, on every lane; its squared length.
    template <class Row, class S> GUILD_HOST_DEVICE projected<S> project(const auto& t, const Row& r, S* p) const {
        const int E = r.n.experts;
        S square(0);
        for (int i = 0; i < dimension; ++i) {
            p[i] = i < E ? r.at(i) : r.extra_at(i - E);
            if (bias) p[i] += t.learned[E * dimension + 1 + i];
            square += p[i] * p[i];
        }
        if (is_finite(value(square))) return {square, S(1)};
        const S unit = unit_of(p);
        square = S(0);
        for (int i = 0; i < dimension; ++i) p[i] = unit * p[i], square += p[i] * p[i];
        return {square, unit};
    }
    /// Of unit v [d]: its squared length, and its product with p.
    template <class S> GUILD_HOST_DEVICE measured<S> against(const S* p, const S* v) const {
        S dot(0), square(0);
        for (int i = 0; i < dimension; ++i) dot += p[i] * v[i], square += v[i] * v[i];
        if (is_finite(value(square)) && is_finite(value(dot))) return {square, dot, S(1)};
        const S unit = unit_of(v);
        dot = square = S(0);
        for (int i = 0; i < dimension; ++i) dot += p[i] * (unit * v[i]), square += unit * v[i] * (unit * v[i]);
        return {square, dot, unit};
    }
    template <class S> GUILD_HOST_DEVICE S unit_of(const S* v) const {
        real_t<S> most(0);
        for (int i = 0; i < dimension; ++i) {
            const real_t<S> size = value(v[i]) < 0 ? -value(v[i]) : value(v[i]);
            most = size > most ? size : most;
        }
        return S(to_one(most));
    }
};

}  // namespace guild::inline v0
