#pragma once
#include <guild/gate/stage/capacity.hpp>

#include <limits>

namespace guild::inline v0 {

/// In training, each expert gets T / E of the tokens (one more for the first T mod E), so that the sum of their scores is within
/// T `gap` R of the largest possible, R the largest magnitude of a score; in evaluation the choice before it stands. It follows top_k with
/// K = 1 and takes the score anew. At most O(T / gap) bids of O(T + E), usually a few per token.
/// The assignment carries no gradient. By auction: tokens bid for experts, each of which has as many seats as tokens it gets.
/// BASE layers, arXiv:2103.16716, section 2.2; Bertsekas 1992, Auction algorithms for network flow problems.
struct balanced_assignment : takes_score {
    static constexpr row_part reads = row_part::score | row_part::choice, writes = row_part::choice | row_part::weight;
    double gap = 1e-4;  ///< the smallest raise of a bid, as a share of R: smaller is better and slower

    constexpr balanced_assignment() = default;
    /// With that gap.
    constexpr explicit balanced_assignment(double g) : gap(g) {}
    constexpr bool fits(int, int k) const { return k == 1 && gap >= 1e-6 && gap <= 1; }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = t.decided[k];
        take(r);
    }

    template <class S> void decide(const crowd<S>& c) const {
        const long n = c.present();
        if (!c.side->training || n == 0) return;
        // seat [n]: its token or -1, and what that token bid; first [E + 1]: the seats of an expert.
        auto* const seat = c.ranks(n);
        using place = std::remove_cvref_t<decltype(*seat)>;
        long* const first = c.counters(c.experts + 1);
        first[0] = 0;
        for (int e = 0; e < c.experts; ++e) first[e + 1] = first[e] + (n + c.experts - 1 - e) / c.experts;
        for (long i = 0; i < n; ++i) seat[i] = {0, -1};
        const double range = magnitude(c);
        // From a coarse gap to the one asked for, so that near ties are not fought out in small steps; the prices stay.
        for (double least = gap < 0.02 ? 0.02 : gap;; least = least / 5 > gap ? least / 5 : gap) {
            for (int e = 0; e < c.experts && first[e] < first[e + 1]; ++e)
                std::fill(seat + first[e], seat + first[e + 1], place{seat[cheapest(seat, first, e)].key, -1});
            for (long t = 0; t < c.tokens; ++t) {
                if (c.padded(t)) continue;
                for (int bidder = static_cast<int>(t); bidder >= 0;) bidder = bid(c, bidder, range, least, seat, first);
            }
            if (least <= gap) break;
        }
        for (int e = 0; e < c.experts; ++e)
            for (long i = first[e]; i < first[e + 1]; ++i) c.expert[static_cast<long>(seat[i].index) * c.slots] = e;
    }

private:
    /// The cheapest seat of expert e.
    static long cheapest(const auto* seat, const long* first, int e) {
        long best = first[e];
        for (long i = first[e] + 1; i < first[e + 1]; ++i)
            if (seat[i].key < seat[best].key) best = i;
        return best;
    }
    /// The largest magnitude of a score; what lies outside, an infinity or NaN, counts as that large: NaN as the worst. Never 0.
    template <class S> static double magnitude(const crowd<S>& c) {
        double most = 0;
        for (long i = 0; i < c.tokens * c.experts; ++i) {
            const double v = c.padded(i / c.experts) ? 0 : static_cast<double>(value(c.score[i]));
            if (is_finite(v) && (v < 0 ? -v : v) > most) most = v < 0 ? -v : v;
        }
        return most > 0 ? most : 1;
    }
    /// The score of token t and expert e over the range: in [-1, 1], so that no raise is lost to rounding.
    template <class S> static real_t<S> affinity(const crowd<S>& c, long t, int e, double range) {
        const double v = static_cast<double>(value(c.score[t * c.experts + e])) / range;
        return static_cast<real_t<S>>(v >= 1 ? 1 : v >= -1 ? v : -1);
    }
    /// Token `t` takes the seat it gains most from, for the price at which the next best expert is as good, plus the gap; who sat there bids
    /// next. Seats of one expert do not compete: its price is that of its cheapest (Bertsekas & Castanon 1989, similar objects).
    template <class S> int bid(const crowd<S>& c, int t, double range, double least, auto* seat, const long* first) const {
        using R = real_t<S>;
        R best = -(std::numeric_limits<R>::max)(), second = best;
        long at = -1;
        for (int e = 0; e < c.experts; ++e) {
            if (first[e] == first[e + 1]) continue;
            const long i = cheapest(seat, first, e);
            const R worth = affinity(c, t, e, range), gain = worth - seat[i].key;
            if (gain > best) {
                second = best;
                best = gain;
                at = i;
            } else if (gain > second) second = gain;
        }
        const int out = seat[at].index;
        const R price = seat[at].key;
        const R raise = second == -(std::numeric_limits<R>::max)() ? R(0) : best - second;
        const R next = price + raise + static_cast<R>(least);
        seat[at] = {next > price ? next : std::nextafter(price, (std::numeric_limits<R>::max)()), t};
        return out;
    }
};

}  // namespace guild::inline v0
