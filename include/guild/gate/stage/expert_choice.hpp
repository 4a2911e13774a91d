#pragma once
#include <guild/gate/stage/capacity.hpp>

namespace guild::inline v0 {

/// Each expert takes its C = floor(factor T / E) best tokens by score (T without padding), or just `rows` of them; ties to the earlier
/// token. A token may end with none or with all, so W = E. Not causal: a choice depends on later tokens. O(T E).
/// Zhou et al. 2022, arXiv:2202.09368, eq. 1-2.
struct expert_choice : takes_score {
    static constexpr row_part reads = row_part::score, writes = row_part::choice | row_part::weight;
    double factor = 2;  ///< rows of an expert over T / E; >= 0
    int rows = -1;      ///< of an expert, whatever T; < 0: by factor

    /// The numbers in their order.
    constexpr expert_choice(double f = 2, int exactly = -1) : factor(f), rows(exactly) {}
    static constexpr int slots(int experts, int) { return experts; }
    constexpr bool fits(int, int) const { return factor >= 0 && is_finite(factor); }
    template <class S> void decide(const crowd<S>& c) const {
        const long n = c.present(), room = rows >= 0 ? rows : detail::whole_rows(factor * static_cast<double>(n) / c.experts),
                   take = (std::min)(room, n);
        auto* const order = c.ranks(n);
        using place = std::remove_pointer_t<decltype(order)>;
        std::fill_n(c.expert, c.tokens * c.slots, no_expert);
        for (int e = 0; e < c.experts; ++e) {
            long i = 0;
            for (long t = 0; t < c.tokens; ++t)
                if (!c.padded(t)) order[i++] = place::of(value(c.score[t * c.experts + e]), static_cast<int>(t));
            std::nth_element(order, order + take, order + n);
            for (i = 0; i < take; ++i) c.expert[order[i].index * static_cast<long>(c.slots) + e] = e;
        }
    }
    GUILD_HOST_DEVICE void forward(const auto& t, auto& r) const {
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = t.decided[k];
        take(r);
    }
};

}  // namespace guild::inline v0
