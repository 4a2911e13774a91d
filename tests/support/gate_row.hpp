#pragma once
#include <guild/gate/row.hpp>
#include <guild/gate/token.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <vector>

namespace test {

/// A row of up to 64 experts, sizes read at run time.
template <class S> using row = guild::row<S, guild::any_extent<64>>;

/// Scores, no bias, W empty slots.
template <class S, class T> row<S> row_of(const std::vector<T>& score, int W) {
    row<S> r;
    r.n = {static_cast<int>(score.size()), 0, W};
    for (int e = 0; e < r.n.experts; ++e) {
        r.score[e] = S(static_cast<guild::real_t<S>>(score[static_cast<std::size_t>(e)]));
        r.bias[e] = 0;
    }
    for (int k = 0; k < W; ++k) {
        r.expert[k] = guild::no_expert;
        r.weight[k] = S(0);
    }
    return r;
}

/// n numbers of any bit pattern: `kind` 0 random bits, 1 the troublesome ones, 2 few values, so many ties.
inline std::vector<float> any_floats(int n, int seed, int kind) {
    constexpr std::uint32_t hard[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff, 0x7f800000, 0xff800000, 0,          0x80000000, 1,
                                      0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0x3f800001, 0xbf800000};
    std::vector<float> v;
    for (int i = 0; i < n; ++i) {
        const double u = guild::uniform(static_cast<unsigned long long>(seed), kind, 0, i);
        if (kind == 0) v.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(u * 4294967296.0)));
        else if (kind == 1) v.push_back(std::bit_cast<float>(hard[static_cast<std::size_t>(u * 17)]));
        else v.push_back(static_cast<float>(static_cast<int>(u * 4)));
    }
    return v;
}

/// The indices [begin, end) by larger key, NaN as -infinity, then by lower index.
template <class R> std::vector<int> in_rank(const std::vector<R>& key, int begin, int end) {
    std::vector<int> order(static_cast<std::size_t>(end - begin));
    std::iota(order.begin(), order.end(), begin);
    const auto at = [&](int e) {
        return key[static_cast<std::size_t>(e)] == key[static_cast<std::size_t>(e)] ? key[static_cast<std::size_t>(e)] : -guild::infinity<R>;
    };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return at(a) > at(b); });
    return order;
}

}  // namespace test
