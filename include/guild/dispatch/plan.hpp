#pragma once
#include <guild/core/error.hpp>
#include <guild/core/rank.hpp>
#include <guild/dispatch/choice.hpp>

namespace guild::inline v0 {

/// Step 2 of 4, dispatch: the occupied slots sorted by expert, R <= T W rows.
struct plan {
    long rows = 0;       ///< R
    buffer<int> offset;  ///< [E + 1] first row of each expert
    buffer<int> token;   ///< [R] token of a row; expert-major, in the order of (token, slot) inside an expert
    buffer<int> slot;    ///< [R] t W + k of a row
    buffer<int> row;     ///< [T, W] the rows of a token in ascending order, so in ascending expert id; then -1
    buffer<int> next;    ///< [max(E, T)] scratch
};

namespace dispatch {

/// f(e) for the expert of each occupied slot. Throws argument_error if the gate chose one that is neither in [0, E) nor no_expert.
template <class S, class F> void each_chosen(const choice<S>& c, int experts, F f) {
    for (long i = 0; i < c.tokens * c.slots; ++i) {
        const int e = c.expert[i];
        if (e < no_expert || e >= experts)
            detail::raise<argument_error>("guild::layer: the gate chose expert ", e, " for token ", i / c.slots, ", expected one of ", experts);
        if (e != no_expert) f(e);
    }
}

/// Counts the rows of each expert: p.offset, p.rows. O(T W + E). Throws as each_chosen.
template <class S> void count(const choice<S>& c, int experts, plan& p) {
    int* const offset = p.offset.shape(1, experts + 1).data;
    for (int e = 0; e <= experts; ++e) offset[e] = 0;
    each_chosen(c, experts, [&](int e) { ++offset[e + 1]; });
    for (int e = 0; e < experts; ++e) offset[e + 1] += offset[e];
    p.rows = offset[experts];
}

/// Stable counting sort of the slots, after `count`: p.token, p.slot, p.row. O(T W + E).
template <class S> void sort(const choice<S>& c, int experts, plan& p) {
    const long n = c.tokens * c.slots;
    p.token.shape(1, p.rows);
    p.slot.shape(1, p.rows);
    p.row.shape(c.tokens, c.slots);
    p.next.shape(1, experts > c.tokens ? experts : c.tokens);
    for (int e = 0; e < experts; ++e) p.next[e] = p.offset[e];
    for (long i = 0; i < n; ++i) {
        p.row[i] = -1;
        if (c.expert[i] == no_expert) continue;
        const int r = p.next[c.expert[i]]++;
        p.token[r] = static_cast<int>(i / c.slots);
        p.slot[r] = static_cast<int>(i);
    }
    for (long t = 0; t < c.tokens; ++t) p.next[t] = 0;
    for (int r = 0; r < p.rows; ++r) p.row[long(p.token[r]) * c.slots + p.next[p.token[r]]++] = r;
}

}  // namespace dispatch
}  // namespace guild::inline v0
