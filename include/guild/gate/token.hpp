#pragma once
#include <guild/core/batch.hpp>
#include <guild/core/buffer.hpp>
#include <guild/core/random.hpp>
#include <guild/core/rank.hpp>
#include <guild/core/scalar.hpp>

#include <algorithm>
#include <limits>

namespace guild::inline v0 {

namespace detail {
/// The number below 1.
template <class R> inline constexpr R below_one = 1 - std::numeric_limits<R>::epsilon() / 2;  // a variable: device code calls no function of the host
}  // namespace detail

/// One token, as one stage sees it: read only.
template <class S> struct token {
    using real = real_t<S>;              ///< what decisions compare
    long index = 0;                      ///< row in this batch
    long position = 0;                   ///< what its random draws depend on
    int id = -1;                         ///< in the vocabulary, where the batch gives ids
    bool training = false;               ///< noise, sampling, exploration
    unsigned long long seed = 0;         ///< of all random draws of the batch
    const given_draws* draws = nullptr;  ///< [draw_streams]
    int draw_streams = 0;                ///< how many streams are given
    const S* learned = nullptr;          ///< [stage.learned(E)] the stage's own parameters; their gradient: g.learned
    const real* state = nullptr;         ///< [stage.state(E)] kept by a balancer; no gradient
    const int* table = nullptr;          ///< [vocabulary, K] experts by token id: hash routing
    const int* decided = nullptr;        ///< [W] what the stage's own `decide` settled across tokens
    const S* previous = nullptr;         ///< [E] logits of the layer before, where the caller passes them on

    /// Random number i of this token in [0, 1), where a double that `real` rounds to 1 is the number below; `stream` names who asks.
    GUILD_HOST_DEVICE real uniform(int stream, int i) const {
        constexpr real most = detail::below_one<real>;
        const auto* const g = given(stream, i);
        const real u = static_cast<real>(g ? g->value[index * g->count + i] : guild::uniform(seed, stream, position, i));
        return u > most ? most : u;
    }
    /// The same, standard normal.
    GUILD_HOST_DEVICE real normal(int stream, int i) const {
        if (const auto* g = given(stream, i)) return static_cast<real>(g->value[index * g->count + i]);
        return static_cast<real>(guild::normal(seed, stream, position, i));
    }

private:
    GUILD_HOST_DEVICE const given_draws* given(int stream, int i) const {
        for (int s = 0; s < draw_streams; ++s)
            if (draws[s].stream == stream && i < draws[s].count) return draws + s;
        return nullptr;
    }
};

/// What a stage that acts across tokens sees, after the stages before it ran on every token.
template <class S> struct crowd {
    using place = rank<real_t<S>>;  ///< what `ranks` lends
    long tokens;                    ///< T, padded ones included
    /// E and W.
    int experts, slots;
    const S* score;                ///< [T, E]
    const S* weight;               ///< [T, W]
    int* expert;                   ///< [T, W] to be revised in place; no_expert throughout for padded tokens
    const batch* side;             ///< what the batch says beside x
    buffer<long>* counter_memory;  ///< scratch that is kept from call to call, so that `decide` need not allocate
    buffer<place>* rank_memory;    ///< the same

    /// Whether token t is padding.
    bool padded(long t) const { return !side->padding.empty() && side->padding[static_cast<std::size_t>(t)]; }
    /// Tokens of [begin, end) that are not padding; of all of them.
    long present(long begin, long end) const {
        long n = 0;
        for (long t = begin; t < end; ++t) n += !padded(t);
        return n;
    }
    /// Of all tokens.
    long present() const { return present(0, tokens); }
    /// The sequence of token t; 0 where the batch gives no bounds.
    long sequence_of(long t) const {
        if (side->sequence.size() < 3) return 0;
        const auto first = side->sequence.begin() + 1;
        return std::upper_bound(first, side->sequence.end() - 1, t) - first;
    }
    /// n numbers, contents unspecified; n <= max(E + 1, T W) does not allocate after reserve.
    long* counters(long n) const { return counter_memory->shape(1, n).data; }
    /// n places in the order of selections, as `counters`.
    place* ranks(long n) const { return rank_memory->shape(1, n).data; }
};

}  // namespace guild::inline v0
