#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

// What is not finite in one token stays with that token.

namespace {
constexpr double infinite = std::numeric_limits<double>::infinity(), no_number = std::numeric_limits<double>::quiet_NaN();
constexpr long T = 13, sick = 6;
const test::shape numbers{.config = {.hidden = 17, .expert_hidden = 9, .routed_experts = 7, .top_k = 3, .shared_experts = 1, .expert_bias = true},
                          .passive = {.zero = 1, .identity = 1, .constant = 1},
                          .residual = guild::residual::complement};

template <class S> guild::view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }

template <class Outcome> void check_choice(const Outcome& o, int experts) {
    const auto& c = o.tape.gate.choice;
    for (long t = 0; t < c.tokens; ++t) {
        std::set<int> chosen;
        for (int k = 0; k < c.slots; ++k) chosen.insert(c.expert[t * c.slots + k]);
        CHECK(static_cast<int>(chosen.size()) == c.slots);
        CHECK(*chosen.begin() >= 0);
        CHECK(*chosen.rbegin() < experts);
    }
}
}  // namespace

TEST_CASE_TEMPLATE("NaN and infinity of a token reach no other", Backend, guild::backend::eigen<>, guild::backend::reference) {
    const auto w = numbers.weights<float>(numbers.model<test::gated_model<>>());
    const guild::layer layer(w, Backend{});
    const test::outcome healthy(layer, test::first_tokens(T));
    for (const double bad : {no_number, -no_number, infinite, -infinite, 1e38, 1e-45})
        for (const bool whole : {true, false}) {
            CAPTURE(bad);
            CAPTURE(whole);
            test::outcome o(layer, test::first_tokens(T));
            for (long h = 0; h < o.x.cols(); ++h)
                if (whole || h == 5) o.x(sick, h) = static_cast<float>(bad);
            o.run(layer);
            check_choice(o, 10);
            for (long t = 0; t < T; ++t) {
                if (t == sick) continue;
                CHECK(test::same_bits(row(o.inferred, t), row(healthy.y, t)));
                CHECK(test::same_bits(row(o.y, t), row(healthy.y, t)));
                CHECK(test::same_bits(row(o.dx, t), row(healthy.dx, t)));
            }
            if (!std::isfinite(bad)) {
                double sum = 0;
                for (long h = 0; h < o.y.cols(); ++h) sum += o.y(sick, h);
                CHECK(!std::isfinite(sum));  // and it is not hidden
            }
        }
}

TEST_CASE_TEMPLATE("a router of NaN, infinities or one number still chooses distinct experts", S, float, double) {
    for (const double bad : {no_number, infinite, -infinite, 0.0, 1e38, -1e38}) {
        CAPTURE(bad);
        const auto check = [&](auto w, std::size_t some) {
            for (std::size_t i = 0; i < w.router.size(); ++i)
                if (some == 0 || i % some == 0) w.router[i] = static_cast<S>(bad);
            const guild::layer layer(w);
            const test::outcome o(layer, test::first_tokens(T));
            check_choice(o, 10);
            if (some != 0 && bad != bad)
                for (long i = 0; i < T * 3; ++i) CHECK(o.tape.gate.choice.expert[i] % 3 != 0);  // NaN ranks last
        };
        for (const std::size_t some : {0u, 3u * 17u}) {  // every number, or one of every third expert
            check(numbers.weights<S>(numbers.model<test::gated_model<>>()), some);
            check(numbers.weights<S>(numbers.model<test::plain_model<>>()), some);
        }
    }
}

TEST_CASE("NaN in dy of a token reaches no dx of another") {
    const auto w = numbers.weights<float>(numbers.model<test::gated_model<>>());
    const guild::layer layer(w);
    const test::outcome healthy(layer, test::first_tokens(T));
    test::outcome o(layer, test::first_tokens(T));
    o.dy(sick, 3) = std::numeric_limits<float>::quiet_NaN();
    o.run(layer);
    for (long t = 0; t < T; ++t)
        if (t != sick) CHECK(test::same_bits(row(o.dx, t), row(healthy.dx, t)));
}

TEST_CASE("large finite logits give finite results and gradients") {
    for (const float size : {1e2f, 1e4f, 1e8f}) {
        CAPTURE(size);
        const auto check = [&](auto w) {
            for (float& r : w.router) r *= size;
            const guild::layer layer(w);
            test::outcome o(layer, test::first_tokens(T));
            double sum = 0;
            for (long t = 0; t < T; ++t)
                for (long h = 0; h < o.x.cols(); ++h) sum += o.y(t, h) + o.dx(t, h);
            guild::each_tensor(
                [&](const char*, const auto& g) {
                    for (float n : g) sum += n;
                },
                o.gradient);
            CHECK(std::isfinite(sum));
        };
        check(numbers.weights<float>(numbers.model<test::gated_model<>>()));
        check(numbers.weights<float>(numbers.model<test::plain_model<>>()));
    }
}
