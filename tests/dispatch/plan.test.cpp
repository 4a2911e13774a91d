#include <guild/core/random.hpp>
#include <guild/dispatch/plan.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace guild;

namespace {
using ids = std::vector<int>;

choice<float> choice_of(const ids& expert, int W) {
    choice<float> c;
    c.resize(static_cast<long>(expert.size()) / W, W);
    std::copy(expert.begin(), expert.end(), c.expert.data());
    return c;
}
void make(plan& p, const ids& expert, int W, int E) {
    const auto c = choice_of(expert, W);
    dispatch::count(c, E, p);
    dispatch::sort(c, E, p);
}
ids list(const buffer<int>& b, std::size_t n) { return {b.data(), b.data() + n}; }

/// The plan that a stable sort gives.
void check_plan(const plan& p, const ids& expert, int W, int E) {
    ids slots;
    for (int i = 0; i < static_cast<int>(expert.size()); ++i)
        if (expert[static_cast<std::size_t>(i)] != no_expert) slots.push_back(i);
    const auto expert_of = [&](int slot) { return expert[static_cast<std::size_t>(slot)]; };
    std::stable_sort(slots.begin(), slots.end(), [&](int a, int b) { return expert_of(a) < expert_of(b); });

    REQUIRE(p.rows == static_cast<long>(slots.size()));
    CHECK(list(p.slot, slots.size()) == slots);
    for (int e = 0; e <= E; ++e) CHECK(p.offset[e] == std::count_if(slots.begin(), slots.end(), [&](int slot) { return expert_of(slot) < e; }));
    for (long r = 0; r < p.rows; ++r) CHECK(p.token[r] == p.slot[r] / W);
    for (long t = 0; t < static_cast<long>(expert.size()) / W; ++t) {
        ids rows;
        for (int r = 0; r < p.rows; ++r)
            if (p.token[r] == t) rows.push_back(r);
        rows.resize(static_cast<std::size_t>(W), -1);
        CHECK(ids(p.row.data() + t * W, p.row.data() + (t + 1) * W) == rows);
    }
}
std::string error_of(const ids& expert, int W, int E) {
    try {
        plan p;
        make(p, expert, W, E);
    } catch (const argument_error& e) { return e.what(); }
    return "none";
}
}  // namespace

TEST_CASE("plan: by hand") {
    plan p;
    make(p, {2, 0, 0, 3, 2, no_expert}, 2, 4);  // three tokens
    CHECK(p.rows == 5);
    CHECK(list(p.offset, 5) == ids{0, 2, 2, 4, 5});
    CHECK(list(p.slot, 5) == ids{1, 2, 0, 4, 3});
    CHECK(list(p.token, 5) == ids{0, 1, 0, 2, 1});
    CHECK(list(p.row, 6) == ids{0, 2, 1, 4, 3, -1});
}
TEST_CASE("plan: a stable sort of any choice, with holes, whatever the plan held before") {
    plan p;
    for (int seed = 0; seed < 60; ++seed) {
        const auto draw = [&](int i, int n) { return static_cast<int>(uniform(4, seed, 0, i) * n); };
        const int E = 1 + draw(0, seed % 2 ? 40 : 4), W = 1 + draw(1, E), T = draw(2, 20), holes = seed % 3;
        ids expert;
        for (int t = 0; t < T; ++t) {
            ids all(static_cast<std::size_t>(E));  // W distinct ones, some of them empty
            for (int e = 0; e < E; ++e) all[static_cast<std::size_t>(e)] = e;
            for (int k = 0; k < W; ++k) {
                const int at = k + draw(1000 * (t + 1) + k, E - k);
                std::swap(all[static_cast<std::size_t>(k)], all[static_cast<std::size_t>(at)]);
                expert.push_back(holes && draw(7000 * (t + 1) + k, 3) < holes ? no_expert : all[static_cast<std::size_t>(k)]);
            }
        }
        CAPTURE(seed);
        make(p, expert, W, E);
        check_plan(p, expert, W, E);
    }
}
TEST_CASE("plan: no tokens, no rows, one expert, all to one") {
    plan p;
    make(p, {}, 2, 3);
    CHECK(p.rows == 0);
    CHECK(list(p.offset, 4) == ids{0, 0, 0, 0});
    make(p, {-1, -1, -1, -1}, 2, 3);
    check_plan(p, {-1, -1, -1, -1}, 2, 3);
    make(p, ids(9, 0), 1, 1);
    check_plan(p, ids(9, 0), 1, 1);
    make(p, ids(9, 4), 1, 5);
    check_plan(p, ids(9, 4), 1, 5);
}
TEST_CASE("plan: an expert that does not exist is named") {
    CHECK(error_of({0, 1, 2, 3}, 2, 3) == "guild::layer: the gate chose expert 3 for token 1, expected one of 3");
    CHECK(error_of({0, -2}, 1, 3) == "guild::layer: the gate chose expert -2 for token 1, expected one of 3");
    CHECK(error_of({1 << 30}, 1, 3) == "guild::layer: the gate chose expert 1073741824 for token 0, expected one of 3");
    CHECK(error_of({2, -1}, 1, 3) == "none");
}
