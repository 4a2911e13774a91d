#include <guild/gate/stage/group_limit.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>

#include <algorithm>
#include <vector>

using namespace guild;
using test::row_of;

namespace {
struct nothing {};
using numbers = std::vector<float>;

/// The keys that a selection sees after the limit.
template <class S> std::vector<real_t<S>> keys(const group_limit& limit, const numbers& score, const numbers& bias = {}) {
    auto r = row_of<S>(score, 1);
    for (std::size_t e = 0; e < bias.size(); ++e) r.bias[static_cast<int>(e)] = bias[e];
    limit.forward(nothing{}, r);
    std::vector<real_t<S>> out;
    for (int e = 0; e < r.n.experts; ++e) out.push_back(ranking_key(value(r.score[e]) + r.bias[e]));
    return out;
}
/// Which groups stay, by sorting.
std::vector<bool> kept(const group_limit& limit, const numbers& key) {
    const int size = static_cast<int>(key.size()) / limit.groups;
    numbers of_group;
    for (int g = 0; g < limit.groups; ++g) {
        numbers members;
        for (int e = g * size; e < (g + 1) * size; ++e) members.push_back(ranking_key(key[static_cast<std::size_t>(e)]));
        std::sort(members.begin(), members.end(), std::greater{});
        of_group.push_back(limit.by == group_score::top2_sum && size > 1 ? members[0] + members[1] : members[0]);
    }
    const auto order = test::in_rank(of_group, 0, limit.groups);
    std::vector<bool> stays(of_group.size());
    for (int i = 0; i < limit.keep; ++i) stays[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = true;
    return stays;
}
constexpr float inf = infinity<float>, no_number = std::numeric_limits<float>::quiet_NaN();
}  // namespace

TEST_CASE("group_limit: groups by their best or their two best") {
    const numbers s{5, 1, 1, 4, 4, 1, 3, 3};  // groups of two: best 5 4 4 3, two best 6 5 5 6
    CHECK(keys<float>({.groups = 4, .keep = 2, .by = group_score::max}, s) == numbers{5, 1, 1, 4, -inf, -inf, -inf, -inf});
    CHECK(keys<float>({.groups = 4, .keep = 2, .by = group_score::top2_sum}, s) == numbers{5, 1, -inf, -inf, -inf, -inf, 3, 3});
    CHECK(keys<float>({.groups = 4, .keep = 3, .by = group_score::top2_sum}, s) == numbers{5, 1, 1, 4, -inf, -inf, 3, 3});
    CHECK(keys<float>({.groups = 4, .keep = 4}, s) == s);
    CHECK(keys<float>({.groups = 1, .keep = 1}, s) == s);
    CHECK(keys<float>({.groups = 2, .keep = 1, .by = group_score::top2_sum}, s) == numbers{5, 1, 1, 4, -inf, -inf, -inf, -inf});
}
TEST_CASE("group_limit: what is left out ranks as the fill, below or above") {
    const numbers s{-5, -1, -2, -9};
    CHECK(keys<float>({.groups = 2, .keep = 1, .fill = 0}, s) == numbers{-5, -1, 0, 0});
    CHECK(keys<float>({.groups = 2, .keep = 1, .fill = -infinity<double>}, s) == numbers{-5, -1, -inf, -inf});
    CHECK(keys<float>({.groups = 2, .keep = 1, .fill = 0}, {0.1f, 0.3f, 1e-30f, 1e-8f}) == numbers{0.1f, 0.3f, 0, 0});
}
TEST_CASE("group_limit: ties among groups to the lowest, groups of one, bias counts, no number counts as nothing") {
    CHECK(keys<float>({.groups = 4, .keep = 2}, numbers(8, 1.f)) == numbers{1, 1, 1, 1, -inf, -inf, -inf, -inf});
    CHECK(keys<float>({.groups = 4, .keep = 2, .by = group_score::top2_sum}, {1, 3, 2, 3}) == numbers{-inf, 3, -inf, 3});
    CHECK(keys<float>({.groups = 2, .keep = 1, .by = group_score::top2_sum}, {1, 1, 2, 2}, {3, 0, 0, 0}) == numbers{4, 1, -inf, -inf});
    CHECK(keys<float>({.groups = 2, .keep = 1, .by = group_score::top2_sum}, {no_number, 9, 1, 1}) == numbers{-inf, -inf, 1, 1});
    CHECK(keys<float>({.groups = 2, .keep = 1}, {no_number, 9, 1, 1}) == numbers{-inf, 9, -inf, -inf});
    CHECK(keys<float>({.groups = 2, .keep = 1}, {no_number, no_number, no_number, 1}) == numbers{-inf, -inf, -inf, 1});
    CHECK(keys<float>({.groups = 2, .keep = 1, .by = group_score::top2_sum}, {inf, -inf, 1, 1}) == numbers{-inf, -inf, 1, 1});
}
TEST_CASE("group_limit: any bit patterns, any grouping") {
    for (const int E : {4, 12, 30, 64})
        for (int groups = 1; groups <= E; ++groups) {
            if (E % groups != 0) continue;
            for (int seed = 0; seed < 6; ++seed) {
                const group_limit limit{groups, 1 + seed % groups, seed % 2 ? group_score::max : group_score::top2_sum};
                const auto s = test::any_floats(E, seed, seed % 3);
                const auto stays = limit.keep == groups ? std::vector<bool>(static_cast<std::size_t>(groups), true) : kept(limit, s);
                const auto key = keys<float>(limit, s);
                const int size = E / groups;
                for (int e = 0; e < E; ++e) {
                    const std::size_t i = static_cast<std::size_t>(e);
                    CHECK(key[i] == (stays[i / static_cast<std::size_t>(size)] ? ranking_key(s[i]) : -inf));
                }
                const auto dual_key = keys<dual<float>>(limit, s);
                CHECK(dual_key == key);
            }
        }
}
TEST_CASE("group_limit: which numbers fit") {
    CHECK(group_limit{.groups = 8, .keep = 4}.fits(256, 8));
    CHECK(group_limit{.groups = 8, .keep = 4}.fits(16, 8));
    CHECK(!group_limit{.groups = 8, .keep = 4}.fits(16, 9));  // the groups kept hold 8
    CHECK(!group_limit{.groups = 3, .keep = 1}.fits(16, 1));  // unequal groups
    CHECK(!group_limit{.groups = 4, .keep = 5}.fits(16, 1));
    CHECK(!group_limit{.groups = 4, .keep = 0}.fits(16, 1));
    CHECK(!group_limit{.groups = 0, .keep = 0}.fits(16, 1));
    CHECK(!group_limit{.groups = -4, .keep = 1}.fits(16, 1));
    CHECK(group_limit{.groups = 64, .keep = 64}.fits(64, 64));
    CHECK(!group_limit{.groups = 65, .keep = 1}.fits(65, 1));  // beyond max_groups
}
