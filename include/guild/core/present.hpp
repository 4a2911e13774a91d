#pragma once
#include <guild/core/batch.hpp>
#include <guild/core/buffer.hpp>

#include <algorithm>

namespace guild::inline v0 {

/// The tokens of a batch that are not padding, in ascending order, and after them the others. Every sum over tokens goes along the first
/// count(): what a padded token holds, NaN even, has no part in it, and its order, so its bits, are those of the batch without padding.
class present_tokens {
public:
    /// O(T), O(1) for a batch without padding. Allocates as a buffer does.
    void find(const batch& side, long T) {
        count_ = T - static_cast<long>(std::count(side.padding.begin(), side.padding.end(), true));
        listed_ = count_ < T;
        if (!listed_) return;
        int* const token = token_.shape(1, T).data;
        long present = 0, padded = count_;
        for (long t = 0; t < T; ++t) token[side.padding[static_cast<std::size_t>(t)] ? padded++ : present++] = static_cast<int>(t);
    }
    void reserve(long T) { token_.shape(1, T); }

    long count() const { return count_; }
    /// Token i, i < T.
    long operator[](long i) const { return listed_ ? token_[i] : i; }
    /// The same as groups name the rows they read; null where no token is padding.
    const int* source() const { return listed_ ? token_.data() : nullptr; }

private:
    buffer<int> token_;  ///< [T]
    long count_ = 0;
    bool listed_ = false;
};

}  // namespace guild::inline v0
