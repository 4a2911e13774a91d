#pragma once
#include <guild/gate/stage/select.hpp>
#include <guild/gate/token.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// Stages that drop rows where an expert or a device has more than its share. They act across tokens: `decide` settles who stays,
/// once for the batch and in an order that ties do not change; the rest of the stage applies that to one token like any other.
namespace guild::inline v0 {

/// How many rows an expert holds: one formula, factor K T / E, rounded as the code named here rounds it, operation by operation, so that counts are
/// equal where a product is just below or above a whole number. In double but for the last.
enum class rounding {
    down,      ///< floor(factor (K T / E)): MegaBlocks
    nearest,   ///< round(factor K T / E), from the left, halves to even: flaxformer's Switch, where K is 1
    up,        ///< ceil((K T / E) factor): Megatron
    share_up,  ///< K floor(factor ceil(T / E)): Tutel; fairseq's and NLLB's top-2 with factor 1
    up_single  ///< ceil((T / E) (factor K)), both and their product in float: DeepSpeed
};
/// Who is kept.
enum class priority {
    choice,    ///< all first choices before any second, in token order: GShard
    position,  ///< in token order, all choices of a token together
    weight     ///< the largest weight, ties to the earlier token
};

/// What a stage with `decide` settled, applied to one token: dropped slots are empty, and what is dropped has no gradient.
struct applies_decision {
    template <class Row> GUILD_HOST_DEVICE static void forward(const auto& t, Row& r) {
        for (int k = 0; k < r.n.slots; ++k) {
            r.expert[k] = t.decided[k];
            if (r.expert[k] == no_expert) r.weight[k] = typename Row::scalar(0);
        }
    }
    template <class Row> GUILD_HOST_DEVICE static void backward(const auto&, const Row&, const Row& out, auto& g) {
        for (int k = 0; k < out.n.slots; ++k)
            if (out.expert[k] == no_expert) g.weight[k] = typename Row::scalar(0);
    }
};

namespace detail {
/// A number of rows; one that no batch can reach where that does not fit, as for a factor that means no limit.
constexpr long whole_rows(double n) {
    constexpr double most = 0x1p62;
    return n < most ? static_cast<long>(n) : static_cast<long>(most);
}
/// Drops row i = t W + k of tokens [begin, end) unless its queue has room; `queue(expert)` names one of `queues`, `room(queue)` says how
/// many it takes. Dropped rows do not take room, which makes no difference to what is kept: a queue that has dropped a row is full.
template <class S, class Queue>
void keep_first(const crowd<S>& c, long begin, long end, priority by, int queues, const auto& room, Queue queue, const auto& exempt) {
    const long first = begin * c.slots, n = (end - begin) * c.slots;
    long* const used = c.counters(queues);
    std::fill_n(used, queues, 0L);
    const auto serve = [&](long i) {
        int& e = c.expert[i];
        if (e == no_expert) return;
        const int own = queue(e);
        long& mine = used[own];
        if (exempt(i / c.slots)) return;
        if (mine < room(own)) ++mine;
        else e = no_expert;
    };
    for (long i = first; i < first + n; ++i)
        if (c.expert[i] != no_expert && exempt(i / c.slots)) ++used[queue(c.expert[i])];
    if (by == priority::position) {
        for (long i = first; i < first + n; ++i) serve(i);
    } else if (by == priority::choice) {
        for (int k = 0; k < c.slots; ++k)
            for (long t = begin; t < end; ++t) serve(t * c.slots + k);
    } else {
        auto* const order = c.ranks(n);
        for (long i = 0; i < n; ++i) order[i] = std::remove_pointer_t<decltype(order)>::of(value(c.weight[first + i]), static_cast<int>(first + i));
        std::sort(order, order + n);
        for (long i = 0; i < n; ++i) serve(order[i].index);
    }
}
}  // namespace detail

/// Each expert takes factor K T / E rows at most (T without padding), rounded and at least `minimum`, or just `rows` of them; the rest
/// are dropped. With `per_sequence` each sequence of the batch is a group of its own, with T its tokens: GShard's local groups. Weights
/// stay as they are: to normalise what survived, or not, is a stage after this one. O(T W), with priority by weight O(T W log(T W)).
/// GShard, arXiv:2006.16668, section 2.2; Switch, arXiv:2101.03961, section 2.2.
struct capacity : applies_decision {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::choice | row_part::weight;
    double factor = 1.25;            ///< times an even share K T / E of the rows; >= 0
    rounding round = rounding::up;   ///< of that product to rows
    priority by = priority::choice;  ///< who is kept
    int minimum = 0;                 ///< rows that an expert takes at least
    int rows = -1;                   ///< of an expert, whatever T; < 0: by factor
    bool per_sequence = false;       ///< each sequence of the batch by itself

    /// The numbers in their order.
    constexpr capacity(double f = 1.25, rounding r = rounding::up, priority p = priority::choice, int least = 0, int exactly = -1, bool split = false)
        : factor(f), round(r), by(p), minimum(least), rows(exactly), per_sequence(split) {}
    constexpr bool fits(int, int) const { return factor >= 0 && is_finite(factor); }
    /// Rows of an expert for T tokens with K choices each.
    long room(long T, int E, int K) const {
        if (rows >= 0) return rows;
        const double tokens = static_cast<double>(T), even = K * tokens / E;
        double n = 0;
        if (round == rounding::down) n = std::floor(factor * even);
        if (round == rounding::nearest) n = std::nearbyint(factor * K * tokens / E);
        if (round == rounding::up) n = std::ceil(even * factor);
        if (round == rounding::share_up) n = K * std::floor(factor * std::ceil(tokens / E));
        if (round == rounding::up_single) {
            constexpr double most = (std::numeric_limits<float>::max)();
            n = static_cast<double>(std::ceil(static_cast<float>(tokens / E) * static_cast<float>((std::min)(factor * K, most))));
        }
        return std::max<long>(minimum, detail::whole_rows(n));
    }
    template <class S> void decide(const crowd<S>& c) const {
        const auto group = [&](long begin, long end) {
            const long most = room(c.present(begin, end), c.experts, c.slots);
            detail::keep_first(
                c, begin, end, by, c.experts, [=](int) { return most; }, [](int e) { return e; }, [](long) { return false; });
        };
        const auto& bound = c.side->sequence;
        if (!per_sequence || bound.empty()) return group(0, c.tokens);
        for (std::size_t b = 0; b + 1 < bound.size(); ++b) group(bound[b], bound[b + 1]);
    }
};

/// Capacity by kind: the last `zero_computation` of the experts (guild::passive) take factor T / (ratio N + Z) rows at most, the N others
/// `ratio` times as many, Z = zero_computation, rounded up; the rest are dropped. All of them together hold factor T rows: published
/// without K, so a gate of K choices that is to hold all of them takes a factor above K. MoE++, arXiv:2410.07348, eq. 8. O(T W).
struct heterogeneous_capacity : applies_decision {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::choice | row_part::weight;
    int zero_computation = 1;        ///< Z: experts without matrices, the last ones
    double factor = 1.1;             ///< rows of all experts over T
    double ratio = 0.75;             ///< rows of an expert with matrices over those of one without; > 0
    priority by = priority::choice;  ///< who is kept

    /// The numbers in their order.
    constexpr heterogeneous_capacity(int z = 1, double f = 1.1, double tau = 0.75, priority p = priority::choice)
        : zero_computation(z), factor(f), ratio(tau), by(p) {}
    constexpr bool fits(int experts, int) const {
        return zero_computation >= 0 && zero_computation <= experts && factor >= 0 && is_finite(factor) && ratio > 0 && is_finite(ratio);
    }
    /// Rows of expert e for T tokens.
    long room(long T, int e, int E) const {
        const int own = E - zero_computation;
        return detail::whole_rows(std::ceil(factor * (e < own ? ratio : 1) * static_cast<double>(T) / (ratio * own + zero_computation)));
    }
    template <class S> void decide(const crowd<S>& c) const {
        const long T = c.present(), own = room(T, 0, c.experts), passive = room(T, c.experts - 1, c.experts);
        const int first = c.experts - zero_computation;
        detail::keep_first(
            c, 0, c.tokens, by, c.experts, [=](int e) { return e < first ? own : passive; }, [](int e) { return e; }, [](long) { return false; });
    }
};

/// Each of `devices` equal runs of experts takes factor K T / devices rows at most; beyond that those of the lowest weight are dropped.
/// Tokens of about `protect` of the sequences, drawn by the batch's seed, are never dropped (they take room first).
/// DeepSeek-V2, arXiv:2405.04434, section 2.2.4: factor 1, protect 0.1.
struct device_capacity : applies_decision {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::choice | row_part::weight;
    static constexpr int stream = 4;
    int devices = 8;       ///< D, equal runs of experts: divides E
    double factor = 1;     ///< times an even share K T / D of the rows; >= 0
    double protect = 0.1;  ///< share of the sequences that nothing is dropped of, in [0, 1]

    /// The numbers in their order.
    constexpr device_capacity(int d = 8, double f = 1, double p = 0.1) : devices(d), factor(f), protect(p) {}
    constexpr bool fits(int experts, int) const {
        return devices >= 1 && experts % devices == 0 && factor >= 0 && is_finite(factor) && protect >= 0 && protect <= 1;
    }
    template <class S> void decide(const crowd<S>& c) const {
        const int size = c.experts / devices;
        const long room = detail::whole_rows(factor * c.slots * static_cast<double>(c.present()) / devices);
        const auto safe = [&](long t) { return uniform(c.side->seed, stream, c.sequence_of(t), 0) < protect; };
        detail::keep_first(
            c, 0, c.tokens, priority::weight, devices, [=](int) { return room; }, [&](int e) { return e / size; }, safe);
    }
};

}  // namespace guild::inline v0
