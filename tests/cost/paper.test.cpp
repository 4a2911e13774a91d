#include <guild/cost/paper.hpp>

#include <doctest/doctest.h>

#include <vector>

using guild::cost::combinations;

TEST_CASE("combinations follow Pascal's triangle as far as 64 bits go") {
    std::vector<std::int64_t> above{1};
    for (int n = 1; n <= 66; ++n) {
        std::vector<std::int64_t> row(static_cast<std::size_t>(n) + 1, 1);
        for (std::size_t k = 1; k + 1 < row.size(); ++k) row[k] = above[k - 1] + above[k];
        for (int k = 0; k <= n; ++k) CHECK(combinations(n, k) == row[static_cast<std::size_t>(k)]);
        above = row;
    }
}

TEST_CASE("what does not fit or makes no sense is refused") {
    CHECK_THROWS_WITH_AS(combinations(67, 33), "guild::cost::combinations: 67 over 33 does not fit in 64 bits", guild::argument_error);
    CHECK_THROWS_AS(combinations(2000000000, 1000000000), guild::argument_error);
    CHECK(combinations(2000000000, 1999999999) == 2000000000);
    CHECK(combinations(2000000000, 2) == 1999999999000000000);
    CHECK_THROWS_AS(combinations(-1, 0), guild::argument_error);
    CHECK_THROWS_AS(combinations(3, -1), guild::argument_error);
}

TEST_CASE("expert parameters: all and those of a token, without attention, embeddings and dense layers") {
    // DeepSeekMoE 16B: 27 of 28 layers of 64 routed experts of a quarter and 2 shared ones; 6 and the shared ones for a token.
    constexpr guild::cost::paper m{.layers = 28, .hidden = 2048, .vocabulary = 102400, .active = 2, .total = 16.5, .dense_layers = 1, .dense = 1};
    constexpr double network = 8. * 2048 * 2048;
    CHECK(m.expert_parameters() == 27 * 16.5 * network);
    CHECK(m.active_expert_parameters() == 27 * 2 * network);
    CHECK(m.parameters() - m.active_parameters() == m.expert_parameters() - m.active_expert_parameters());
    constexpr guild::cost::paper dense{.layers = 3, .hidden = 16, .vocabulary = 10};
    CHECK(dense.expert_parameters() == 3 * 8 * 256);
    CHECK(dense.active_expert_parameters() == dense.expert_parameters());
    constexpr guild::cost::paper narrow{.layers = 4, .hidden = 16, .vocabulary = 10, .active = 3, .total = 5, .dense_layers = 3, .network = 6};
    CHECK(narrow.expert_parameters() == 5 * 6 * 256);
    CHECK(narrow.active_expert_parameters() == 3 * 6 * 256);
}

TEST_CASE("the paper's figures do not need constant expressions") {
    const guild::cost::paper dense_7b{.layers = 30, .hidden = 4096, .vocabulary = 102400};
    CHECK(dense_7b.training_flops(4096) / 1e12 == doctest::Approx(183.48).epsilon(1e-4));
}
