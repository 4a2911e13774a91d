#include <support/products.hpp>
#include <support/left_behind.hpp>
#include <support/outcome.hpp>
#include <support/pairs.hpp>
#include <support/policies.hpp>
#include <support/pools.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <limits>
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
const test::shape large{.config = {.hidden = 260, .expert_hidden = 40, .routed_experts = 3, .top_k = 1, .shared_hidden = 260}};
/// With losses, learned numbers and random draws.
struct everything : guild::model<config{.hidden = 40, .expert_hidden = 24, .routed_experts = 6, .top_k = 2, .shared_experts = 1},
                                 test::learned_gate{}, guild::expert_loss{}, guild::switch_loss{}, guild::z_loss{}, test::comparing_loss{}> {};

/// `count` of `all` tokens in a random order.
std::vector<long> some_of(long all, long count, unsigned long long seed) {
    const std::vector<int> order = test::draws(seed).permutation(static_cast<int>(all));
    return {order.begin(), order.begin() + count};
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

/// A batch of the sample: some of 130 tokens in some order, by so many threads, each matrix at an address of its own.
struct drawn_batch {
    std::vector<long> token;
    int threads;
    test::batch_places at;
};
/// Checks a batch: against the same one by one thread in matrices that lie straight, and its tokens against those of all 130, where no token looks at
/// the others.
template <class S, class Model> std::function<void(const drawn_batch&)> promises(const guild::weights<Model, S>& w, bool each_alone) {
    const auto layer_by = [&w](int threads) { return layer<S, Model>(w, guild::backend::eigen{guild::threads{test::pool_of(threads)}}); };
    auto whole = std::make_shared<test::outcome<layer<S, Model>>>(layer_by(2), test::first_tokens(130));
    return [=](const drawn_batch& b) {
        const test::outcome straight(layer_by(1), b.token), found(layer_by(b.threads), b.token, {}, b.at);
        CHECK(found.intact());
        check_same_batch(found, straight);
        CHECK((!each_alone || same_tokens(found, *whole, b.token)));
    };
}

/// Numbers of tokens: those about the heights of tiles and of blocks, and between.
const std::pair<int, int> token_counts[] = {{1, 1},   {2, 2},   {3, 3},   {4, 5},   {6, 7},   {8, 15},   {16, 17},   {18, 31},
                                            {32, 33}, {34, 63}, {64, 65}, {66, 95}, {96, 97}, {98, 127}, {128, 129}, {130, 130}};
}  // namespace

TEST_CASE_TEMPLATE("bits of a token and of a batch: any threads, companions, order and alignment", S, float, double) {
    const auto w = small.weights<S>(small.model<test::gated_model<>>()), wide = large.weights<S>(large.model<test::gated_model<>>());
    const auto lossy = guild::random_weights<everything, S>(1);
    const std::function<void(const drawn_batch&)> check[] = {promises<S>(w, true), promises<S>(wide, true), promises<S>(lossy, false)};
    const int addresses = 64 / sizeof(S);
    const std::vector<int> axes{3, 7, static_cast<int>(std::size(token_counts)), addresses, addresses, addresses, addresses};
    const auto cases = std::is_same_v<S, double> ? test::pairs_of_bins(axes, test::first_seed()) : test::sample(axes, test::first_seed());
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::vector<int>& c = cases[i];
        const unsigned long long seed = test::first_seed() + i;
        test::draws draw(seed);
        const auto at = [&](int offset) { return test::place{offset, draw.integer(0, 3)}; };
        const int count = draw.integer(token_counts[c[2]]), threads = test::thread_counts[c[1]];
        CAPTURE(c[0]);
        CAPTURE(count);
        CAPTURE(threads);
        CAPTURE(seed);
        check[c[0]]({some_of(130, count, seed), threads, {at(c[3]), at(c[4]), at(c[5]), at(c[6])}});
    }
}

namespace {
/// Forward, loss and backward in each environment have the bits of the usual one, and leave it as it was. Half of x and dy is denormal.
template <class S, class Model> void any_environment(const guild::weights<Model, S>& w) {
    using layer = ::layer<S, Model>;
    const layer l(w, guild::backend::eigen{guild::threads{test::pool_of(2)}});
    const auto prepare = [&](test::outcome<layer>& o) {
        for (long r = 0; r < o.x.rows(); ++r)
            for (long h = 1; h < o.x.cols(); h += 2) o.x(r, h) *= std::numeric_limits<S>::min(), o.dy(r, h) *= std::numeric_limits<S>::min();
        o.gradient = guild::weights<Model, S>(l.model());
    };
    test::outcome<layer> usual(l, test::first_tokens(37));
    prepare(usual), usual.run(l);
    for (const unsigned mode : test::environments()) {
        CAPTURE(mode);
        test::outcome<layer> found(l, test::first_tokens(37));
        prepare(found);
        const bool kept = [&] {
            const test::left_behind caller(mode);
            found.run(l);
            return caller.kept();
        }();
        CHECK(kept);
        check_same_batch(found, usual);
    }
}
}  // namespace

TEST_CASE_TEMPLATE("bits of a batch: whatever the caller has set for denormals and rounding", S, float, double) {
    test::shape s = small;
    s.passive.blend = 1;
    any_environment(s.weights<S>(s.model<test::gated_model<>>()));
    any_environment(guild::random_weights<everything, S>(1));
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
        const auto token = some_of(130, count, 9);
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
