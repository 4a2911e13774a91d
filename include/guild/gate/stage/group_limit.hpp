#pragma once
#include <guild/gate/stage/select.hpp>

namespace guild::inline v0 {

/// How good a group of experts is for a token: its best member (DeepSeek-V2), or its two best together (V3).
enum class group_score { max, top2_sum };

/// Only the `keep` best of `groups` equal runs of experts stay eligible: a token then reaches at most `keep` devices or nodes.
/// The ranking score of all others becomes `fill`; published code has both -infinity and 0, which choose different experts
/// once ranking scores can be negative. Ties to the lowest index, among groups too; a closed expert
/// whose score is not finite ranks last whatever the fill. A group of one expert counts with that one.
/// DeepSeek-V2, arXiv:2405.04434, section 2.2.2; DeepSeek-V3, arXiv:2412.19437, section 2.1.2.
struct group_limit {
    static constexpr row_part reads = row_part::score | row_part::bias, writes = row_part::bias;
    static constexpr int max_groups = 64;  ///< most groups that are accepted
    int groups = 1;                        ///< equal runs of experts: divides E
    int keep = 1;                          ///< groups that stay, at most `groups`
    group_score by = group_score::max;     ///< how a group counts
    double fill = -infinity<double>;       ///< ranking score of experts outside of them

    constexpr bool fits(int experts, int k) const {
        return groups >= 1 && groups <= max_groups && experts % groups == 0 && keep >= 1 && keep <= groups && k <= keep * (experts / groups) &&
               !is_nan(fill);
    }
    GUILD_HOST_DEVICE static void backward(const auto&, const auto&, const auto&, auto&) {}
    template <class Row> GUILD_HOST_DEVICE void forward(const auto&, Row& r) const {
        using real = typename Row::real;
        if (keep == groups) return;
        const int size = r.n.experts / groups;
        const bool pair = by == group_score::top2_sum && size > 1;
        rank<real> kept[max_groups];
        int have = 0;
        for (int g = 0; g < groups; ++g) {
            rank<real> best[2];
            r.best(pair ? 2 : 1, best, g * size, (g + 1) * size);
            insert(kept, have, keep, rank<real>::of(pair ? best[0].key + best[1].key : best[0].key, g));
        }
        unsigned long long open = 0;
        for (int i = 0; i < keep; ++i) open |= 1ull << kept[i].index;
        r.each([&](int e) {
            if (!(open >> (e / size) & 1)) r.bias[e] = static_cast<real>(fill) - value(r.score[e]);
        });
    }
};

}  // namespace guild::inline v0
