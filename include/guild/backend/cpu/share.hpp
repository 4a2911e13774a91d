#pragma once
#include <guild/backend/groups.hpp>

#include <algorithm>

namespace guild::inline v0::cpu {

/// Rows [row, row + rows) of one expert by panels [first, last) of outputs: what one thread computes in one go.
struct piece {
    int expert;
    long row, rows, first, last;
};

/// How groups by panels are cut. Rows of an expert beyond `most_rows` go into blocks of about equal size, and a panel costs its rows, or `ridge` rows where
/// it is the weights that take the time.
struct cut {
    long panels, most_rows, ridge;
};

namespace detail {
/// f(expert, row, rows, cost of a panel) for every block of rows, in ascending order.
template <class S, class F> void each_block(const groups<S>& g, cut by, F f) {
    for (int e = 0; e < g.count; ++e) {
        const long n = g.rows(e), blocks = (n + by.most_rows - 1) / by.most_rows;
        for (long i = 0; i < blocks; ++i) {
            const long top = n * i / blocks, rows = n * (i + 1) / blocks - top;
            f(e, g.begin(e) + top, rows, std::max(rows, by.ridge));
        }
    }
}
}  // namespace detail

/// f(piece) for pieces that cover all groups by all panels, spread over threads in equal shares of cost: large experts are split between
/// threads at a panel, small ones stand together. No output is computed by two pieces, so shares change no bit. O(E) for each range.
template <class X, class S, class F> void share(const X& executor, const groups<S>& g, cut by, F f) {
    constexpr long shares = 1024;
    long total = 0;
    detail::each_block(g, by, [&](int, long, long, long cost) { total += cost * by.panels; });
    if (total == 0) return;
    executor.run(shares, [&](long begin, long end) {
        // A panel belongs to the range in which its cost begins.
        const auto from = [&](long i) { return total / shares * i + (total % shares * i + shares - 1) / shares; };
        const long low = from(begin), high = from(end);
        long at = 0;
        detail::each_block(g, by, [&](int e, long row, long rows, long cost) {
            const auto panel = [&](long edge) { return std::clamp((edge - at + cost - 1) / cost, 0L, by.panels); };
            const piece p{e, row, rows, at >= low ? 0 : panel(low), at >= high ? 0 : panel(high)};
            if (p.first < p.last) f(p);
            at += cost * by.panels;
        });
    });
}

}  // namespace guild::inline v0::cpu
