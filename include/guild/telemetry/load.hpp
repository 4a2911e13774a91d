#pragma once
#include <cmath>
#include <vector>

namespace guild::inline v0 {

/// How the rows of a forward were shared out: a value, made when asked for.
struct load {
    std::vector<long> count;  ///< [E] rows of each expert, passive ones included
    long total = 0;           ///< their sum R

    /// In bits, of the shares count / total: log2 E if uniform, 0 if one expert has everything or nothing was routed.
    double entropy() const {
        double sum = 0;
        for (long c : count)
            if (c > 0) sum -= share(c) * std::log2(share(c));
        return sum;
    }
    /// max_e count_e / mean - 1: 0 if uniform, E - 1 if one expert has everything. MaxVio of arXiv:2408.15664, section 4.1.
    double max_violation() const {
        long most = 0;
        for (long c : count) most = c > most ? c : most;
        return total == 0 ? 0 : share(most) * static_cast<double>(count.size()) - 1;
    }
    /// Adds another batch.
    load& operator+=(const load& other) {
        if (count.size() < other.count.size()) count.resize(other.count.size());
        for (std::size_t e = 0; e < other.count.size(); ++e) count[e] += other.count[e];
        total += other.total;
        return *this;
    }

private:
    double share(long c) const { return static_cast<double>(c) / static_cast<double>(total); }
};

}  // namespace guild::inline v0
