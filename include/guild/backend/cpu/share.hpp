#pragma once
#include <guild/dispatch/groups.hpp>

#include <algorithm>

namespace guild::inline v0::cpu {

/// Rows [row, row + rows) of one expert by panels [first, last) of outputs: what one thread computes in one go.
struct piece {
    int expert;
    long row, rows, first, last;
};

/// How groups by panels are cut: a panel costs the rows of its expert, or `ridge` rows where it is the weights that take the time; `work`
/// multiplications for a row of a panel. Where there are plenty, `together` panels, which lie side by side in memory, stay with one thread.
struct cut {
    long panels, ridge, work, together = 1;
};

namespace detail {
template <class S> long cost_of(const groups<S>& g, int e, cut by) { return g.rows(e) > 0 ? (std::max)(g.rows(e), by.ridge) : 0; }

/// Into how many shares work is cut at most: one for each thread, up to the ranges of a pool; `otherwise` where the executor does not say by size()
/// how many threads it has.
template <class X> long most_shares(const X& executor, long otherwise) {
    if constexpr (requires { executor.size(); }) return std::clamp(static_cast<long>(executor.size()), 1L, 64L);
    else return otherwise;
}
/// Shares for so much work: threads are woken for some 10 microseconds of it each, at the rate of fp32.
inline long shares_of(long cost, long work, long most) { return std::clamp(cost / ((1L << 18) / work + 1), 1L, most); }
}  // namespace detail

/// f(piece) for pieces that cover all groups by all panels, spread over threads in equal shares of cost: large experts are split between
/// threads at a panel, small ones stand together. No output is computed by two pieces, so shares change no bit. O(E) for each range.
template <class X, class S, class F> void share(const X& executor, const groups<S>& g, cut by, F f) {
    long total = 0, busy = 0;
    for (int e = 0; e < g.count; ++e) {
        total += detail::cost_of(g, e, by) * by.panels;
        busy += g.rows(e) > 0;
    }
    if (total == 0) return;
    const long most = detail::most_shares(executor, 64), unit = busy * by.panels >= 32 * most * by.together ? by.together : 1;
    constexpr long ridge_of_fp32 = 20;  // arithmetic of a higher ridge is so much faster
    const long shares = detail::shares_of(total, (std::max)(by.work * ridge_of_fp32 / (std::max)(by.ridge, ridge_of_fp32), 1L), most);
    if (shares == 1)
        return executor.run(1, [&](long, long) {
            for (int e = 0; e < g.count; ++e)
                if (g.rows(e) > 0) f(piece{e, g.begin(e), g.rows(e), 0, by.panels});
        });
    executor.run(shares, [&](long begin, long end) {
        // A panel, or `unit` of them, belongs to the range in which its cost begins.
        const auto from = [&](long i) { return total / shares * i + (total % shares * i + shares - 1) / shares; };
        const long low = from(begin), high = from(end);
        for (long e = 0, at = 0; e < g.count && at < high; ++e) {
            const long cost = detail::cost_of(g, static_cast<int>(e), by);
            if (cost == 0) continue;
            const auto panel = [&](long edge) { return std::clamp((edge - at + cost * unit - 1) / (cost * unit) * unit, 0L, by.panels); };
            const piece p{static_cast<int>(e), g.begin(static_cast<int>(e)), g.rows(static_cast<int>(e)), panel(low), panel(high)};
            if (p.first < p.last) f(p);
            at += cost * by.panels;
        }
    });
}

/// f(piece) for the parts of a piece that have at most `rows` rows, of about equal size, and lie within one run of `wide` panels. A run stays while
/// its rows pass, so that its weights are read from memory once.
template <class F> void each_part(const piece& whole, long rows, long wide, F f) {
    if (whole.rows <= rows && whole.last <= wide) return f(whole);
    const long blocks = (whole.rows + rows - 1) / rows;
    for (long first = whole.first; first < whole.last;) {
        const long last = (std::min)(whole.last, (first / wide + 1) * wide);
        for (long i = 0; i < blocks; ++i) {
            const long top = whole.rows * i / blocks, bottom = whole.rows * (i + 1) / blocks;
            f(piece{whole.expert, whole.row + top, bottom - top, first, last});
        }
        first = last;
    }
}

}  // namespace guild::inline v0::cpu
