#pragma once
#include <support/draws.hpp>

#include <algorithm>

namespace test {

/// Cases of a test whose axis i has the values 0 .. sizes[i] - 1, such that any two values of any two axes meet in one of them: greedy, little more
/// cases than the two largest axes have pairs. The seed draws which.
inline std::vector<std::vector<int>> pairs(const std::vector<int>& sizes, unsigned long long seed) {
    struct pair {
        std::size_t i, j;  // axes, i < j
        int a, b;          // their values
    };
    const std::size_t axes = sizes.size();
    draws draw(seed);
    std::vector<pair> all;
    std::vector<std::vector<bool>> met(axes * axes);
    const auto has_met = [&](std::size_t i, int a, std::size_t j, int b) {
        return i < j ? met[i * axes + j][static_cast<std::size_t>(a * sizes[j] + b)] : met[j * axes + i][static_cast<std::size_t>(b * sizes[i] + a)];
    };
    for (std::size_t i = 0; i < axes; ++i)
        for (std::size_t j = i + 1; j < axes; ++j) {
            met[i * axes + j].resize(static_cast<std::size_t>(sizes[i] * sizes[j]));
            for (int a = 0; a < sizes[i]; ++a)
                for (int b = 0; b < sizes[j]; ++b) all.push_back({i, j, a, b});
        }
    std::vector<std::vector<int>> cases;
    for (const int n : draw.permutation(static_cast<int>(all.size()))) {
        const pair& p = all[static_cast<std::size_t>(n)];
        if (has_met(p.i, p.a, p.j, p.b)) continue;
        std::vector<int> value(axes, -1);
        value[p.i] = p.a, value[p.j] = p.b;
        for (const int axis : draw.permutation(static_cast<int>(axes))) {  // each takes the value that meets most others for the first time
            const auto i = static_cast<std::size_t>(axis);
            if (value[i] >= 0) continue;
            int best = 0, most = -1;
            for (const int v : draw.permutation(sizes[i])) {
                int fresh = 0;
                for (std::size_t j = 0; j < axes; ++j) fresh += j != i && value[j] >= 0 && !has_met(i, v, j, value[j]);
                if (fresh > most) best = v, most = fresh;
            }
            value[i] = best;
        }
        for (std::size_t i = 0; i < axes; ++i)
            for (std::size_t j = i + 1; j < axes; ++j) met[i * axes + j][static_cast<std::size_t>(value[i] * sizes[j] + value[j])] = true;
        cases.push_back(std::move(value));
    }
    return cases;
}

/// Fewer: neighbouring values share a bin, an axis has a quarter as many bins as values but at least four or all, the first axis all. Any
/// two bins meet, and the values of a bin take turns.
inline std::vector<std::vector<int>> pairs_of_bins(const std::vector<int>& sizes, unsigned long long seed) {
    std::vector<int> bins;
    std::vector<std::vector<int>> turn;
    for (const int n : sizes) {
        bins.push_back(bins.empty() ? n : std::max(n / 4, std::min(n, 4)));
        turn.emplace_back(static_cast<std::size_t>(bins.back()));
    }
    std::vector<std::vector<int>> cases = pairs(bins, seed);
    for (std::vector<int>& c : cases)
        for (std::size_t i = 0; i < c.size(); ++i) {
            const int first = c[i] * sizes[i] / bins[i], next = (c[i] + 1) * sizes[i] / bins[i];
            c[i] = first + turn[i][static_cast<std::size_t>(c[i])]++ % (next - first);
        }
    return cases;
}

/// Cases of a test whose first axis is what it tests.
inline std::vector<std::vector<int>> sample(const std::vector<int>& sizes, unsigned long long seed) {
    return few ? pairs_of_bins(sizes, seed) : pairs(sizes, seed);
}

}  // namespace test
