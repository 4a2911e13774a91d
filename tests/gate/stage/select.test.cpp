#include <guild/gate/stage/select.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>

#include <algorithm>
#include <bit>
#include <set>
#include <vector>

using namespace guild;
using test::row_of;

namespace {
struct nothing {};
struct with_state {
    const float* state;
};
/// What top_k chooses.
template <class S> std::vector<int> chosen(const std::vector<float>& score, int K) {
    auto r = row_of<S>(score, K);
    top_k{}.forward(nothing{}, r);
    return {r.expert, r.expert + K};
}
}  // namespace

TEST_CASE("top_k: the best first, ties to the lowest index, for every bit pattern") {
    for (const int E : {1, 2, 7, 16, 33, 64})
        for (int kind = 0; kind < 3; ++kind)
            for (int seed = 0; seed < 10; ++seed) {
                const auto score = test::any_floats(E, seed, kind);
                const auto order = test::in_rank(score, 0, E);
                for (const int K : {1, (E + 1) / 2, E}) {
                    const auto c = chosen<float>(score, K);
                    CHECK(std::set<int>(c.begin(), c.end()).size() == static_cast<std::size_t>(K));
                    CHECK(*std::min_element(c.begin(), c.end()) >= 0);
                    CHECK(*std::max_element(c.begin(), c.end()) < E);
                    CHECK(std::equal(c.begin(), c.end(), order.begin()));
                    CHECK(chosen<double>(score, K) == c);
                    CHECK(chosen<dual<double>>(score, K) == c);
                }
            }
}
TEST_CASE("top_k: cases by hand") {
    constexpr float inf = infinity<float>, no_number = std::numeric_limits<float>::quiet_NaN();
    CHECK(chosen<float>({1, 1, 1, 1}, 3) == std::vector{0, 1, 2});
    CHECK(chosen<float>({-0.f, 0.f, -0.f, 0.f}, 4) == std::vector{0, 1, 2, 3});
    CHECK(chosen<float>({no_number, no_number, no_number}, 2) == std::vector{0, 1});
    CHECK(chosen<float>({no_number, -inf, -3.4e38f}, 3) == std::vector{2, 0, 1});
    CHECK(chosen<float>({0, inf, no_number, inf}, 3) == std::vector{1, 3, 0});
    CHECK(chosen<float>({1e-45f, 0, 3e-45f}, 2) == std::vector{2, 0});
    CHECK(chosen<float>({2, 5, 3, 5}, 3) == std::vector{1, 3, 2});
    CHECK(top_k::fits(4, 4));
    CHECK(!top_k::fits(4, 5));
}
TEST_CASE("top_k: the weight is the score, whatever the ranking was") {
    const float bias[] = {0, 12, 0, 0};
    auto r = row_of<float>(std::vector<float>{0.5f, 1e-8f, 0.75f, 0.25f}, 2);
    selection_bias{}.forward(with_state{bias}, r);
    CHECK(r.score[1] == 1e-8f);
    top_k{}.forward(nothing{}, r);
    CHECK(r.expert[0] == 1);
    CHECK(r.expert[1] == 2);
    CHECK(r.weight[0] == 1e-8f);  // not 12 + 1e-8 - 12
    CHECK(r.weight[1] == 0.75f);
    CHECK(selection_bias::state(7) == 7);

    for (int seed = 0; seed < 20; ++seed) {
        const auto score = test::any_floats(9, seed, 0);
        auto any = row_of<float>(score, 9);
        top_k{}.forward(nothing{}, any);
        for (int k = 0; k < 9; ++k) {
            const float expected = score[static_cast<std::size_t>(any.expert[k])];
            CHECK((any.weight[k] == expected || expected != expected));
        }
    }
}
TEST_CASE("selection_bias: added to what is there") {
    const float bias[] = {0.25f, -1, 2};
    auto r = row_of<float>(std::vector<float>{1, 1, 1}, 3);
    r.bias[2] = -5;
    selection_bias{}.forward(with_state{bias}, r);
    CHECK(r.bias[0] == 0.25f);
    CHECK(r.bias[2] == -3);
    top_k{}.forward(nothing{}, r);
    CHECK(std::vector<int>(r.expert, r.expert + 3) == std::vector{0, 1, 2});
}
TEST_CASE("takes_score: an empty slot has weight 0; the adjoint gives each score the gradient of its weight") {
    auto r = row_of<double>(std::vector<double>{1, 2, 3, 4}, 3);
    r.expert[0] = 2;
    r.expert[2] = 0;
    r.weight[1] = 9;
    takes_score::take(r);
    CHECK(std::vector<double>(r.weight, r.weight + 3) == std::vector<double>{3, 0, 1});

    row_gradient<test::row<double>> g;
    static_cast<test::row<double>&>(g) = row_of<double>(std::vector<double>{0.5, 0.5, 0.5, 0.5}, 3);
    for (int k = 0; k < 3; ++k) g.weight[k] = 10 * (k + 1);
    takes_score::backward(nothing{}, r, r, g);
    CHECK(std::vector<double>(g.score.part, g.score.part + 4) == std::vector<double>{30.5, 0.5, 10.5, 0.5});
    CHECK(std::vector<double>(g.weight, g.weight + 3) == std::vector<double>{0, 0, 0});
}
