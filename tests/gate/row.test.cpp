#include <guild/core/random.hpp>
#include <guild/gate/row.hpp>

#include <doctest/doctest.h>
#include <support/gate_row.hpp>
#include <support/warp_emulator.hpp>

#include <cmath>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;
constexpr int sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64};
constexpr float no_number = std::numeric_limits<float>::quiet_NaN();

template <class Row> void fill(Row& r, const std::vector<float>& score, const std::vector<float>& bias) {
    r.n = {static_cast<int>(score.size()), static_cast<int>(score.size()), 1};
    r.each([&](int e) {
        r.score[e] = typename Row::scalar(score.data()[e]);
        r.extra[e] = typename Row::scalar(-score.data()[e]);
        r.bias[e] = bias.empty() ? 0 : bias.data()[e];
    });
}
/// What f(row) answers: on one lane in S, and, for float, on a warp, where all lanes must answer the same.
template <class S, int Max = 64, class F> numbers answer(const std::vector<float>& score, const std::vector<float>& bias, F f) {
    guild::row<S, any_extent<Max>> r;
    fill(r, score, bias);
    return f(r);
}
template <class F> numbers answer_of_warp(const std::vector<float>& score, const std::vector<float>& bias, F f) {
    numbers all[32];
    warp_emulator().run([&](const warp_emulator::thread& thread) {
        guild::row<float, any_extent<64>, warp_lanes<warp_emulator::thread>> r;
        r.lanes.thread = &thread;
        fill(r, score, bias);
        all[thread.lane()] = f(r);
    });
    for (const numbers& one : all) CHECK(one == all[0]);
    return all[0];
}
/// f answers the same everywhere: what it answers.
template <class F> numbers everywhere(const std::vector<float>& score, const std::vector<float>& bias, F f) {
    const numbers one = answer<float>(score, bias, f);
    CHECK(answer_of_warp(score, bias, f) == one);
    CHECK(answer<double>(score, bias, f) == one);
    CHECK(answer<dual<float>>(score, bias, f) == one);
    if (score.size() <= 16) CHECK(answer<float, 16>(score, bias, f) == one);
    return one;
}
}  // namespace

TEST_CASE("row: each visits every expert once, sum adds it once") {
    for (const int E : sizes) {
        CAPTURE(E);
        std::vector<float> powers;  // sums of these are exact in any order
        double total = 0;
        for (int e = 0; e < E; ++e) powers.push_back(static_cast<float>(1 + e * e)), total += 1 + e * e;
        CHECK(everywhere(powers, {}, [](auto& r) {
                  r.each([&](int e) { r.score[e] += r.score[e]; });
                  return numbers{static_cast<double>(value(r.sum([&](int e) { return r.score[e]; })))};
              }) == numbers{2 * total});
    }
}
TEST_CASE("row: sum rounds like a tree, not like a chain") {
    std::vector<float> v;
    double total = 0;
    for (int e = 0; e < 64; ++e) v.push_back(static_cast<float>(normal(1, 0, 0, e))), total += v.back();
    const auto sum = [](auto& r) { return numbers{static_cast<double>(value(r.sum([&](int e) { return r.score[e]; })))}; };
    CHECK(std::abs(answer<float>(v, {}, sum)[0] - total) < 2e-6);
    CHECK(std::abs(answer_of_warp(v, {}, sum)[0] - total) < 2e-6);
    CHECK(std::abs(answer<double>(v, {}, sum)[0] - total) < 1e-14);
}
TEST_CASE("row: max passes over NaN") {
    const auto max = [](auto& r) { return numbers{static_cast<double>(r.max([&](int e) { return value(r.score[e]); }))}; };
    for (const int E : sizes) {
        CAPTURE(E);
        for (int at = 0; at < E; ++at) {
            std::vector<float> v(static_cast<std::size_t>(E), -2.f);
            v.data()[(at + 1) % E] = no_number;
            v.data()[at] = -1;
            CHECK(everywhere(v, {}, max) == numbers{-1});
        }
        CHECK(everywhere(std::vector<float>(static_cast<std::size_t>(E), no_number), {}, max) == numbers{-infinity<double>});
        CHECK(everywhere(std::vector<float>(static_cast<std::size_t>(E), -infinity<float>), {}, max) == numbers{-infinity<double>});
        CHECK(everywhere(std::vector<float>(static_cast<std::size_t>(E), infinity<float>), {}, max) == numbers{infinity<double>});
    }
}
TEST_CASE("row: best is the ranking of any bit patterns, in any range") {
    for (const int E : {1, 2, 3, 8, 15, 16, 31, 32, 33, 64})
        for (int kind = 0; kind < 3; ++kind)
            for (int seed = 0; seed < 4; ++seed) {
                CAPTURE(E);
                CAPTURE(kind);
                CAPTURE(seed);
                const auto score = test::any_floats(E, seed, kind);
                const auto bias = seed % 2 ? test::any_floats(E, seed + 100, 2) : std::vector<float>(score.size());
                const int begin = seed == 3 ? E / 3 : 0, end = seed == 2 ? (2 * E + 2) / 3 : E, count = (end - begin + seed % 2) / (1 + seed % 2);
                std::vector<float> key;
                for (std::size_t e = 0; e < score.size(); ++e) key.push_back(score[e] + bias[e]);
                const auto sorted = test::in_rank(key, begin, end);
                const auto best = [&](auto& r) {
                    using real = typename std::remove_cvref_t<decltype(r)>::real;
                    std::vector<rank<real>> out(static_cast<std::size_t>(count));
                    r.best(count, out.data(), begin, end);
                    numbers index;
                    for (const auto& o : out) index.push_back(o.index);
                    return index;
                };
                const numbers expected(sorted.begin(), sorted.begin() + count);
                CHECK(answer<float>(score, bias, best) == expected);
                CHECK(answer<dual<float>>(score, bias, best) == expected);
                if (E <= 16) CHECK(answer<float, 16>(score, bias, best) == expected);  // counted, not searched
                if (E <= 16) CHECK(answer<dual<float>, 16>(score, bias, best) == expected);
                CHECK(answer_of_warp(score, bias, best) == expected);
                const std::vector<double> wide_score(score.begin(), score.end());
                std::vector<double> wide;
                for (std::size_t e = 0; e < score.size(); ++e) wide.push_back(wide_score[e] + static_cast<double>(bias[e]));
                const auto sorted_wide = test::in_rank(wide, begin, end);
                CHECK(answer<double>(score, bias, best) == numbers(sorted_wide.begin(), sorted_wide.begin() + count));
            }
}
TEST_CASE("row: best gives the keys too") {
    const auto keys = [](auto& r) {
        using real = typename std::remove_cvref_t<decltype(r)>::real;
        rank<real> out[4];
        r.best(4, out, 0, 4);
        numbers key;
        for (const auto& o : out) key.push_back(static_cast<double>(o.key));
        return key;
    };
    CHECK(everywhere({1.5f, no_number, -2.f, -0.f}, {0.5f, 1.f, 0.f, 0.f}, keys) == numbers{2, 0, -2, -infinity<double>});
}
TEST_CASE("row: one expert or extra logit, read and added to by its index") {
    for (const int E : sizes)
        for (int e = 0; e < E; ++e) {
            std::vector<float> v;
            for (int i = 0; i < E; ++i) v.push_back(static_cast<float>(i + 1));
            CHECK(everywhere(v, {}, [&](auto& r) {
                      r.add(e, 100);
                      r.add_extra(e, 1000);
                      const int other = (e + 1) % E;
                      return numbers{static_cast<double>(value(r.at(e))), static_cast<double>(value(r.extra_at(e))),
                                     static_cast<double>(value(r.at(other))), static_cast<double>(value(r.extra_at(other)))};
                  }) == numbers{101. + e, 999. - e, (e + 1) % E == e ? 101. + e : 1. + (e + 1) % E, (e + 1) % E == e ? 999. - e : -1. - (e + 1) % E});
        }
}
TEST_CASE("row_gradient: a learned number is added to once") {
    float learned[40] = {}, plain[40] = {};
    warp_emulator().run([&](const warp_emulator::thread& thread) {
        row_gradient<guild::row<float, any_extent<64>, warp_lanes<warp_emulator::thread>>> g;
        g.lanes.thread = &thread;
        g.learned = learned;
        for (int i = 0; i < 40; ++i) g.learn(i, 2);
    });
    row_gradient<guild::row<float, any_extent<64>>> g;
    g.learned = plain;
    for (int i = 0; i < 40; ++i) g.learn(i, 2);
    for (int i = 0; i < 40; ++i) CHECK((learned[i] == 2 && plain[i] == 2));
}
