#include <support/products.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

// Same bits on one machine and build: y and dx of a token for any threads, alignment and companions; gradients of parameters and losses of
// one batch for any threads and alignment.

namespace {
using guild::config;
template <class S, class Model> using layer = guild::layer<Model, S, guild::backend::eigen<guild::threads>>;

const test::shape small{
    .config = {.hidden = 40, .expert_hidden = 72, .routed_experts = 16, .top_k = 4, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
    .passive = {.zero = 1, .identity = 1, .constant = 1},
    .residual = guild::residual::complement};
const test::shape large{.config = {.hidden = 300, .expert_hidden = 513, .routed_experts = 4, .top_k = 2, .shared_hidden = 260}};
/// With losses, learned numbers and random draws.
struct everything : guild::model<config{.hidden = 40, .expert_hidden = 24, .routed_experts = 6, .top_k = 2, .shared_experts = 1},
                                 test::learned_gate{}, guild::expert_loss{}, guild::switch_loss{}, guild::z_loss{}> {};

/// `count` of `all` tokens in a random order.
std::vector<long> some_of(long all, long count) {
    auto token = test::first_tokens(all);
    const auto rank = [&](long t) { return guild::uniform(9, 0, count, t); };
    std::sort(token.begin(), token.end(), [&](long a, long b) { return rank(a) < rank(b); });
    token.resize(static_cast<std::size_t>(count));
    return token;
}
template <class S> guild::view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }

/// Whether the tokens of `part` have the same y and dx as in `whole`, which holds tokens 0, 1, ...
template <class Outcome> bool same_tokens(const Outcome& part, const Outcome& whole, const std::vector<long>& token) {
    for (std::size_t i = 0; i < token.size(); ++i) {
        const long r = static_cast<long>(i), t = token[i];
        if (!test::same_bits(row(part.inferred, r), row(whole.y, t)) || !test::same_bits(row(part.y, r), row(whole.y, t)) ||
            !test::same_bits(row(part.dx, r), row(whole.dx, t)))
            return false;
    }
    return true;
}
template <class Outcome> void check_same_batch(const Outcome& a, const Outcome& b) {
    CHECK(test::same_bits(a.inferred, b.y));
    CHECK(test::same_bits(a.y, b.y));
    CHECK(test::same_bits(a.dx, b.dx));
    CHECK(test::same_gradients(a.gradient, b.gradient));
    CHECK(std::memcmp(&a.loss, &b.loss, sizeof a.loss) == 0);
}

template <class S> void any_companions(const test::shape& s, const std::vector<long>& counts) {
    const guild::thread_pool pool(2);
    const auto w = s.weights<S>(s.model<test::gated_model<>>());
    const layer<S, test::gated_model<>> l(w, guild::backend::eigen{guild::threads{pool}});
    const test::outcome whole(l, test::first_tokens(130));
    for (const long count : counts) {
        CAPTURE(count);
        const auto token = some_of(130, count);
        CHECK(same_tokens(test::outcome(l, token), whole, token));
    }
}
template <class S, class Model> void any_threads(const guild::weights<Model, S>& w, long T) {
    const auto token = test::first_tokens(T);
    const guild::thread_pool alone(1);
    const test::outcome one(layer<S, Model>(w, guild::backend::eigen{guild::threads{alone}}), token);
    for (const int threads : {2, 3, 7}) {
        CAPTURE(threads);
        const guild::thread_pool pool(threads);
        check_same_batch(test::outcome(layer<S, Model>(w, guild::backend::eigen{guild::threads{pool}}), token), one);
    }
}
template <class S, class Model> void any_place(const guild::weights<Model, S>& w, long T) {
    const guild::thread_pool pool(2);
    const layer<S, Model> l(w, guild::backend::eigen{guild::threads{pool}});
    const test::outcome straight(l, test::first_tokens(T));
    for (long offset = 0; offset < 64 / static_cast<long>(sizeof(S)); ++offset) {
        CAPTURE(offset);
        const test::outcome moved(l, test::first_tokens(T), {}, {.offset = offset, .gap = offset % 3});
        CHECK(moved.intact());
        check_same_batch(moved, straight);
    }
}
}  // namespace

TEST_CASE_TEMPLATE("bits of a token: any companions", S, float, double) {
    std::vector<long> every;
    for (long n = 1; n <= 130; ++n) every.push_back(n);
    any_companions<S>(small, every);
    any_companions<S>(large, {1, 2, 3, 4, 5, 7, 66, 127, 130});
}

TEST_CASE_TEMPLATE("bits of a batch: any number of threads", S, float, double) {
    any_threads(small.weights<S>(small.model<test::gated_model<>>()), 130);
    any_threads(large.weights<S>(large.model<test::gated_model<>>()), 67);
    any_threads(guild::random_weights<everything, S>(1), 200);
}

TEST_CASE_TEMPLATE("bits of a batch: any alignment", S, float, double) {
    any_place(small.weights<S>(small.model<test::gated_model<>>()), 37);
    any_place(large.weights<S>(large.model<test::gated_model<>>()), 9);
    any_place(guild::random_weights<everything, S>(1), 130);
}

TEST_CASE_TEMPLATE("bits of a batch: weights at any address", S, float, double) {
    using model = test::gated_model<>;
    const guild::thread_pool pool(2);
    const guild::backend::eigen backend{guild::threads{pool}};
    const auto w = small.weights<S>(small.model<model>());
    const auto token = test::first_tokens(37);
    const test::outcome straight(layer<S, model>(w, backend), token);
    for (long offset = 1; offset < 64 / static_cast<long>(sizeof(S)); offset += 2) {
        std::vector<std::vector<S>> moved;
        const auto move = [&](const S* from, std::size_t n) {
            moved.emplace_back(static_cast<std::size_t>(offset) + n);
            std::copy_n(from, n, moved.back().data() + offset);
            return moved.back().data() + offset;
        };
        guild::weights_view<S> v = w;
        v.router.data = move(w.router.data(), w.router.size());
        v.experts.gate.data = move(w.experts.gate.data(), w.experts.gate.size());
        v.experts.up.data = move(w.experts.up.data(), w.experts.up.size());
        v.experts.down.data = move(w.experts.down.data(), w.experts.down.size());
        v.shared.up.data = move(w.shared.up.data(), w.shared.up.size());
        check_same_batch(test::outcome(layer<S, model>(v, w.model, backend), token), straight);
    }
}

TEST_CASE_TEMPLATE("bits of a token: padded companions, and its draws go by position", S, float, double) {
    struct drawn
        : guild::model<config{.hidden = 40, .expert_hidden = 24, .routed_experts = 16, .top_k = 3, .shared_experts = 1}, test::jitter_gate{}> {};
    const guild::thread_pool pool(2);
    const auto w = guild::random_weights<drawn, S>(1);
    const layer<S, drawn> l(w, guild::backend::eigen{guild::threads{pool}});
    const test::outcome whole(l, test::first_tokens(130), {.first = 1000, .seed = 6, .training = true});
    const test::outcome undrawn(l, test::first_tokens(130));
    CHECK(!test::same_bits(whole.y, undrawn.y));
    for (const long count : {1, 6, 65, 129}) {
        CAPTURE(count);
        const auto token = some_of(130, count);
        auto position = token;
        for (long& p : position) p += 1000;
        CHECK(same_tokens(test::outcome(l, token, {.position = position, .seed = 6, .training = true}), whole, token));
    }
    const auto padding = std::make_unique<bool[]>(130);
    for (long t = 0; t < 130; ++t) padding[static_cast<std::size_t>(t)] = t % 3 == 1;
    const test::outcome some(l, test::first_tokens(130), {.padding = {padding.get(), 130}, .first = 1000, .seed = 6, .training = true});
    for (long t = 0; t < 130; ++t) {
        CHECK(test::same_bits(row(some.y, t), row(whole.y, t)) == (t % 3 != 1));
        CHECK(test::same_bits(row(some.dx, t), row(whole.dx, t)) == (t % 3 != 1));
    }
}
