#pragma once
#include <guild/core/functions.hpp>
#include <guild/core/rank.hpp>
#include <guild/gate/lanes.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

/// One token on its way through a gate, and the handful of operations a stage is written in. The same stage runs as a plain
/// loop over the experts (one_lane) and as a warp that shares them (warp_lanes), in float, double, dual or variable.
namespace guild::inline v0 {

class scratch;

/// Sizes known to the compiler: experts E, extra logits X, slots W (K, or E where a token may choose any number).
template <int E, int X, int W> struct extent {
    /// E, X and W, and the most that they can be.
    static constexpr int experts = E, extra = X, slots = W, max_experts = E, max_extra = X, max_slots = W;
};
/// The same sizes read at run time, each at most Max.
template <int Max> struct any_extent {
    /// The most that they can be.
    static constexpr int max_experts = Max, max_extra = Max, max_slots = Max;
    /// E, X and W.
    int experts = 0, extra = 0, slots = 0;
};

/// What of a row a stage touches. A stage may say so, and a model whose stages come in an order that does nothing is then refused:
///
///     static constexpr row_part reads = row_part::score | row_part::bias, writes = row_part::choice | row_part::weight;   // top_k
/// What is written and not read is replaced. `score` stands for the logits that it begins as, too; `shared` for weights of shared experts.
enum class row_part : unsigned { none = 0, score = 1, bias = 2, choice = 4, weight = 8, shared = 16 };
/// Both parts.
constexpr row_part operator|(row_part a, row_part b) { return static_cast<row_part>(static_cast<unsigned>(a) | static_cast<unsigned>(b)); }

/// One token on its way through the stages. S: its scalar; Extent: its sizes; Lanes: who shares its experts.
template <class S, class Extent, class Lanes = one_lane> struct row {
    using scalar = S;                                     ///< of scores and weights
    using real = real_t<S>;                               ///< what decisions compare
    Extent n{};                                           ///< sizes
    Lanes lanes{};                                        ///< who shares the experts
    field<S, Extent::max_experts, Lanes::count> score;    ///< [E] logits at first; then what the stages make of them
    field<S, Extent::max_extra, Lanes::count> extra;      ///< [X] further logits that a stage asked for
    field<real, Extent::max_experts, Lanes::count> bias;  ///< [E] added for ranking only, never part of a weight
    int expert[Extent::max_slots];                        ///< [W] chosen expert or no_expert
    S weight[Extent::max_slots];                          ///< [W]

    /// f(e) for each expert, shared out over the lanes. Inside f touch the own e alone: a loop over e has no order.
    template <class F> GUILD_HOST_DEVICE void each(F f) const {
        if constexpr (Lanes::count == 1) {
            for (int e = 0; e < n.experts; ++e) f(e);
        } else {
            const unsigned parts = static_cast<unsigned>(n.experts + Lanes::count - 1) / Lanes::count;
            GUILD_UNROLL
            for (unsigned i = 0; i < parts; ++i)  // i Lanes | lane: the compiler sees that the part of e is i
                if (const int e = static_cast<int>(i * Lanes::count | static_cast<unsigned>(lanes.lane())); e < n.experts) f(e);
        }
    }
    /// sum_e f(e), on every lane. In 16 interleaved partial sums on one lane: vector code, in an order that depends on E alone.
    template <class F> GUILD_HOST_DEVICE S sum(F f) const {
        if constexpr (Lanes::count == 1) {
            constexpr int width = 16;
            S part[width] = {};
            int e = 0;
            for (; e + width <= n.experts; e += width)
                for (int i = 0; i < width; ++i) part[i] += f(e + i);
            for (int i = 0; e + i < n.experts; ++i) part[i] += f(e + i);
            for (int half = width / 2; half > 0; half /= 2)
                for (int i = 0; i < half; ++i) part[i] += part[i + half];
            return part[0];
        } else {
            S s(0);
            each([&](int e) { s += f(e); });
            return lanes.reduce(s, [](S a, S b) { return a + b; });
        }
    }
    /// max_e f(e) without NaN, on every lane; -infinity if there is nothing else. Of scores that carry derivatives, with that of the first that
    /// is largest; of their values, a number without one.
    template <class F> GUILD_HOST_DEVICE auto(max)(F f) const {
        if constexpr (differentiated<decltype(f(0))>) {
            S m(worst());
            if constexpr (Lanes::count == 1) {
                each([&](int e) {
                    const S v = f(e);
                    if (m < v) m = v;
                });
                return m;
            } else {
                auto top = rank<real>::worst();
                each([&](int e) {
                    const auto r = rank<real>::of(value(f(e)), e);
                    if (r < top) top = r;
                });
                top = lanes.reduce(top, [](rank<real> a, rank<real> b) { return b < a ? b : a; });
                each([&](int e) {
                    if (e == top.index && top.key > worst()) m = f(e);
                });
                return lanes.from(m, top.index % Lanes::count);
            }
        } else if constexpr (in_order) {
            std::int32_t key[Extent::max_experts], top = to_ordered(worst());
            for (int e = 0; e < n.experts; ++e) key[e] = to_ordered(f(e));
            for (int e = 0; e < n.experts; ++e) top = key[e] > top ? key[e] : top;
            return from_ordered(top);
        } else {
            real m = worst();
            each([&](int e) {
                const real v = f(e);
                m = v > m ? v : m;
            });
            return lanes.reduce(m, [](real a, real b) { return a > b ? a : b; });
        }
    }
    /// A score that all lanes ask for by the same index, and an addition to one.
    GUILD_HOST_DEVICE S at(int e) const { return lanes.from(score.pick(e), e % Lanes::count); }
    /// Extra logit i, on every lane.
    GUILD_HOST_DEVICE S extra_at(int i) const { return lanes.from(extra.pick(i), i % Lanes::count); }
    /// score[e] += s, asked for by all lanes.
    GUILD_HOST_DEVICE void add(int e, S s) {
        if constexpr (Lanes::count == 1) score[e] += s;
        else
            each([&](int own) {
                if (own == e) score[own] += s;
            });
    }
    /// Whether expert or extra logit e is of this lane.
    GUILD_HOST_DEVICE bool owns(int e) const { return e % Lanes::count == lanes.lane(); }
    /// extra[i] += s, asked for by all lanes.
    GUILD_HOST_DEVICE void add_extra(int i, S s) {
        if (owns(i)) extra[i] += s;
    }
    /// extra[i] = s, asked for by all lanes.
    GUILD_HOST_DEVICE void set_extra(int i, S s) {
        if (owns(i)) extra[i] = s;
    }

    /// The `count` <= end - begin best of experts [begin, end) by score + bias, best first: distinct and in range for any bit patterns.
    /// One lane counts for each of at most 16 experts those that are better, O(E^2) in vector code. Of more it orders (key, -index) as one
    /// integer, keeps the maximum of each of 16 columns of experts, in vector code, and after each of the `count` looks only at the column that
    /// lost it, O(E + count (16 + E / 16)); or where a key does not fit one inserts while it scans; a warp takes `count` maxima.
    GUILD_HOST_DEVICE void best(int count, rank<real>* out, int begin, int end) const {
        const auto ranked = [&](int e) { return rank<real>::of(value(score[e]) + bias[e], e); };
        if constexpr (in_order && Extent::max_experts <= 16) {
            constexpr int wide = Extent::max_experts;
            std::int32_t key[std::size_t{wide}], place[std::size_t{wide}] = {};  // place: how many are better
            unsigned char at[std::size_t{wide}];
            const int size = end - begin;
            GUILD_KEEP_LOOP
            for (int i = 0; i < size; ++i) key[i] = to_ordered(value(score[begin + i]) + bias[begin + i]);
            for (int i = size; i < wide; ++i) key[i] = -0x7fffffff;  // below -infinity
            for (int j = 0; j < wide; ++j) {
                GUILD_KEEP_LOOP
                for (int i = 0; i < wide; ++i) place[i] += key[j] > key[i] - (j < i);
            }
            for (int i = 0; i < wide; ++i) at[place[i]] = static_cast<unsigned char>(i);
            for (int k = 0; k < count; ++k) out[k] = {from_ordered(key[at[k]]), begin + at[k]};
        } else if constexpr (in_order) {
            constexpr std::int64_t taken = -0x7fffffffffffffff - 1;
            constexpr int columns = Extent::max_experts < 64 || Extent::max_slots == 1 ? Extent::max_experts : 16;
            constexpr auto wide = static_cast<std::size_t>(columns), rows = static_cast<std::size_t>((Extent::max_experts + columns - 1) / columns);
            std::int64_t key[rows * wide], top[wide];  // top: the maximum of each column of key
            const int size = end - begin, all = (size + columns - 1) / columns * columns;
            for (int i = 0; i < size; ++i)
                key[i] = static_cast<std::int64_t>(to_ordered(value(score[begin + i]) + bias[begin + i])) << 32 | (0x7fffffff - i);
            for (int i = size; i < all; ++i) key[i] = taken;
            for (int j = 0; j < columns; ++j) top[j] = taken;
            for (int i = 0; i < all; i += columns)
                for (int j = 0; j < columns; ++j) top[j] = key[i + j] > top[j] ? key[i + j] : top[j];
            for (int k = 0; k < count; ++k) {
                auto most = taken;
                for (int j = 0; j < columns; ++j) most = top[j] > most ? top[j] : most;
                const int first = 0x7fffffff - static_cast<int>(most & 0x7fffffff);
                out[k] = {from_ordered(static_cast<std::int32_t>(most >> 32)), begin + first};
                key[first] = most = taken;
                const std::int64_t column = first % columns;
                for (int i = first % columns; i < all; i += columns) most = key[i] > most ? key[i] : most;
                for (std::int64_t j = 0; j < columns; ++j) top[j] = j == column ? most : top[j];  // vector code, as its reader is
            }
        } else if constexpr (Lanes::count == 1) {
            int have = 0;
            for (int e = begin; e < end; ++e) insert(out, have, count, ranked(e));
        } else {
            rank<real> last{-worst(), -1};
            for (int k = 0; k < count; ++k) {
                auto top = rank<real>::worst();
                each([&](int e) {
                    const auto r = ranked(e);
                    if (e >= begin && e < end && last < r && r < top) top = r;
                });
                out[k] = last = lanes.reduce(top, [](rank<real> a, rank<real> b) { return b < a ? b : a; });
            }
        }
    }

private:
    /// Keys are compared as integers.
    static constexpr bool in_order = Lanes::count == 1 && std::is_same_v<real, float>;
    GUILD_HOST_DEVICE static constexpr real worst() { return rank<real>::worst().key; }
};

/// The adjoint of a row, and where a stage adds the gradient of its learned numbers and of the logits of the layer before.
template <class Row> struct row_gradient : Row {
    typename Row::scalar* learned = nullptr;   ///< [stage.learned(E)] += the gradient of the stage's own numbers
    typename Row::scalar* previous = nullptr;  ///< [E] += by token.previous; null: nobody asks
    scratch* memory = nullptr;                 ///< what the adjoints that are derived note in; null: they take their own
    /// learned[i] += s, from outside `each`, where every lane has s.
    GUILD_HOST_DEVICE void learn(int i, typename Row::scalar s) {
        if (i % decltype(this->lanes)::count == this->lanes.lane()) learned[i] += s;
    }
};

}  // namespace guild::inline v0
