#pragma once
#include <guild/gate/row.hpp>

/// A map turns one vector into another: `score{map}` applies one to all E scores, `weigh{map}` to the chosen weights.
///
///     forward(v)               v in place
///     backward(in, out, g)     g: gradient by out -> gradient by in, in place; walk with out.each, which knows the holes
///     valid()                  optional: whether its numbers can be used
namespace guild::inline v0 {

/// The E scores as a range.
template <class Row> struct experts_of {
    using scalar = typename Row::scalar;  ///< of the scores
    Row& row;                             ///< of one token
    /// The score of expert e.
    GUILD_HOST_DEVICE auto& operator[](int e) const { return row.score[e]; }
    /// f(e) for each expert.
    template <class F> GUILD_HOST_DEVICE void each(F f) const { row.each(f); }
    /// sum_e f(e).
    template <class F> GUILD_HOST_DEVICE auto sum(F f) const { return row.sum(f); }
    /// max_e f(e).
    template <class F> GUILD_HOST_DEVICE auto(max)(F f) const { return (row.max)(f); }
};
/// Of a row.
template <class Row> experts_of(Row&) -> experts_of<Row>;

/// The weights of the occupied slots as a range; every lane holds all of them.
template <class Row> struct slots_of {
    using scalar = typename Row::scalar;  ///< of the weights
    Row& row;                             ///< of one token
    /// The weight in slot k.
    GUILD_HOST_DEVICE auto& operator[](int k) const { return row.weight[k]; }
    /// f(k) for each occupied slot.
    template <class F> GUILD_HOST_DEVICE void each(F f) const {
        for (int k = 0; k < row.n.slots; ++k)
            if (row.expert[k] != no_expert) f(k);
    }
    /// sum_k f(k) over the occupied slots.
    template <class F> GUILD_HOST_DEVICE auto sum(F f) const {
        scalar s(0);
        each([&](int k) { s += f(k); });
        return s;
    }
    /// max_k f(k) over the occupied slots; -infinity if there is none.
    template <class F> GUILD_HOST_DEVICE auto(max)(F f) const {
        std::remove_cvref_t<decltype(f(0))> m(rank<typename Row::real>::worst().key);
        each([&](int k) {
            const auto v = f(k);
            m = v > m ? v : m;
        });
        return m;
    }
};
/// Of a row.
template <class Row> slots_of(Row&) -> slots_of<Row>;

/// e^(v_i) / sum_j e^(v_j), computed relative to the largest.
struct softmax {
    GUILD_HOST_DEVICE void forward(auto v) const {
        const auto top = (v.max)([&](int i) { return value(v[i]); });
        v.each([&](int i) { v[i] = exp(v[i] - top); });
        const auto total = v.sum([&](int i) { return v[i]; });
        v.each([&](int i) { v[i] = v[i] / total; });
    }
    /// p_i (g_i - sum_j p_j g_j). What all g have in common must cancel, but the p sum to 1 only within rounding: taken out twice.
    GUILD_HOST_DEVICE void backward(auto, auto out, auto g) const {
        for (int pass = 0; pass < 2; ++pass) {
            const auto dot = out.sum([&](int i) { return g[i] * out[i]; });
            out.each([&](int i) { g[i] = g[i] - dot; });
        }
        out.each([&](int i) { g[i] = out[i] * g[i]; });
    }
};

/// 1 / (1 + e^-v)
struct sigmoid {
    GUILD_HOST_DEVICE void forward(auto v) const {
        v.each([&](int i) { v[i] = logistic(v[i]); });
    }
    template <class V> GUILD_HOST_DEVICE void backward(auto, auto out, V g) const {
        out.each([&](int i) { g[i] = g[i] * out[i] * (typename V::scalar(1) - out[i]); });
    }
};

/// v / (sum v + epsilon). Where that sum is 0 (everything underflowed) the result is 0, not NaN.
struct unit_sum {
    double epsilon = 0;  ///< added to the sum; >= 0
    constexpr bool valid() const { return epsilon >= 0 && is_finite(epsilon); }
    GUILD_HOST_DEVICE void forward(auto v) const {
        const auto s = total(v);
        v.each([&](int i) { v[i] = value(s) == 0 ? s : v[i] / s; });
    }
    GUILD_HOST_DEVICE void backward(auto in, auto out, auto g) const {
        const auto s = total(in), dot = out.sum([&](int i) { return g[i] * out[i]; });
        out.each([&](int i) { g[i] = value(s) == 0 ? s : slope::held((g[i] - dot) / s); });
    }

private:
    template <class V> GUILD_HOST_DEVICE auto total(V v) const {
        return v.sum([&](int i) { return v[i]; }) + typename V::scalar(static_cast<real_t<typename V::scalar>>(epsilon));
    }
};

/// factor v
struct times {
    double factor = 1;  ///< may be negative
    constexpr bool valid() const { return is_finite(factor); }
    template <class V> GUILD_HOST_DEVICE void forward(V v) const { scale(v, v); }
    template <class V> GUILD_HOST_DEVICE void backward(auto, auto out, V g) const { scale(out, g); }

private:
    template <class V> GUILD_HOST_DEVICE void scale(auto range, V v) const {
        range.each([&](int i) { v[i] = v[i] * typename V::scalar(nearest<real_t<typename V::scalar>>(factor)); });
    }
};

}  // namespace guild::inline v0
