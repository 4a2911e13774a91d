#include <properties/mixtures.hpp>

#include <algorithm>
#include <set>

// Gates that look across tokens: who is dropped, who takes whom.

using namespace property;

namespace {
struct bounded_gate {
    guild::capacity bound;
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
};
struct device_bounded_gate {
    guild::device_capacity bound;
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, bound}; }
};
using bounded_model = guild::dynamic_model<bounded_gate, guild::swiglu, guild::plain_shared, max_experts>;
using bounded_layer = guild::layer<bounded_model, double, reference>;
using bounded = test::outcome<bounded_layer>;

guild::capacity draw_capacity(draws& d) {
    return guild::capacity(2 * d.real(), static_cast<guild::rounding>(d.integer(0, 3)), static_cast<guild::priority>(d.integer(0, 2)),
                           d.integer(0, 2), d.chance(0.2) ? d.integer(0, 4) : -1);
}
bounded_model draw_bounded(draws& d) {
    const int E = d.integer(1, 12), K = d.integer(1, E);
    bounded_model m{.gate = {draw_capacity(d)}};
    draw_numbers(d, m, E, K);
    return m;
}
long present(const std::array<bool, 16>& padded, long T) { return std::count(padded.begin(), padded.begin() + T, false); }
}  // namespace

TEST_CASE("rows that are kept and rows that are dropped make K for each token") {
    for_cases([](draws& d) {
        const auto m = draw_bounded(d);
        const auto w = guild::random_weights<bounded_model, double>(d.seed(), m);
        const bounded_layer layer(w);
        const auto token = d.tokens(d.integer(1, 9));
        const auto padded = d.flags(0.2);
        const bounded o(layer, token, {.padding = {padded.data(), token.size()}});
        const auto& c = o.tape.gate.choice;
        long kept = 0, dropped = 0, lost_weight = 0;
        for (long i = 0; i < c.tokens * c.slots; ++i) {
            const int asked = o.tape.gate.wanted[i];
            kept += c.expert[i] != guild::no_expert;
            dropped += c.expert[i] == guild::no_expert && asked != guild::no_expert;
            lost_weight += c.expert[i] == guild::no_expert && c.weight[i] != 0;
        }
        const auto load = layer.load(o.tape);
        REQUIRE(load.total == kept);
        REQUIRE(std::accumulate(load.count.begin(), load.count.end(), 0L) == kept);
        REQUIRE(load.total + dropped == present(padded, c.tokens) * m.config.top_k);
        REQUIRE(lost_weight == 0);
        REQUIRE(load.entropy() >= 0);
        REQUIRE(load.entropy() <= std::log2(m.experts()) + 1e-12);
        REQUIRE(load.max_violation() >= (kept == 0 ? 0 : -1e-12));
        REQUIRE(load.max_violation() <= m.experts() - 1 + 1e-12);
    });
}

TEST_CASE("no expert holds more than its capacity, and only a full one drops") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), K = d.integer(1, E), T = d.integer(1, 9);
        const bounded_gate gate{draw_capacity(d)};
        routed<double, bounded_gate> r(d, gate, E, K, T);
        const auto padded = d.flags(0.2);
        r.run({.padding = {padded.data(), static_cast<std::size_t>(T)}});
        const long room = gate.bound.room(present(padded, T), E, K);
        bool good = true;
        for (int e = 0; e < E; ++e) {
            // The order in which rows are served: every row that is kept comes before every one that is dropped.
            using place = std::array<double, 3>;
            std::vector<place> kept, dropped;
            for (long t = 0; t < T; ++t)
                for (int k = 0; k < K; ++k) {
                    const long i = t * K + k;
                    if (r.result.wanted[i] != e) continue;
                    const double at = static_cast<double>(t), softmax = r.score(t, e);
                    const place p = gate.bound.by == guild::priority::choice     ? place{double(k), at, 0}
                                    : gate.bound.by == guild::priority::position ? place{at, double(k), 0}
                                                                                 : place{-softmax, at, double(k)};
                    (r.expert(t, k) == e ? kept : dropped).push_back(p);
                }
            good = good && static_cast<long>(kept.size()) <= room && (dropped.empty() || static_cast<long>(kept.size()) == room);
            for (const place& one : kept)
                for (const place& other : dropped) good = good && one < other;
        }
        REQUIRE(good);
    });
}

TEST_CASE("no device holds more than its capacity") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), K = d.integer(1, E), T = d.integer(1, 9);
        int devices = 0;
        do devices = d.integer(1, E);
        while (E % devices != 0);
        const device_bounded_gate gate{{devices, 2 * d.real(), 0}};
        routed<double, device_bounded_gate> r(d, gate, E, K, T);
        const auto padded = d.flags(0.2);
        r.run({.padding = {padded.data(), static_cast<std::size_t>(T)}});
        std::vector<long> held(static_cast<std::size_t>(devices));
        for (long t = 0; t < T; ++t)
            for (int k = 0; k < K; ++k)
                if (const int e = r.expert(t, k); e != guild::no_expert) ++held[static_cast<std::size_t>(e / (E / devices))];
        const double room = gate.bound.factor * K * static_cast<double>(present(padded, T)) / devices;
        REQUIRE(static_cast<double>(*std::max_element(held.begin(), held.end())) <= room);
    });
}

TEST_CASE("a token whose rows are all dropped gives the router no gradient at all") {
    for_cases([](draws& d) {
        auto m = draw_bounded(d);
        m.gate.bound.rows = d.integer(0, 1);
        const auto w = guild::random_weights<bounded_model, double>(d.seed(), m);
        const bounded_layer layer(w);
        bounded o(layer, d.tokens(d.integer(1, 9)));
        const auto& c = o.tape.gate.choice;
        std::vector<bool> dropped(static_cast<std::size_t>(c.tokens));
        for (long t = 0; t < c.tokens; ++t) {
            dropped[static_cast<std::size_t>(t)] = true;
            for (int k = 0; k < c.slots; ++k)
                if (c.expert[t * c.slots + k] != guild::no_expert) dropped[static_cast<std::size_t>(t)] = false;
            for (long h = 0; h < o.dy.cols() && !dropped[static_cast<std::size_t>(t)]; ++h) o.dy(t, h) = 0;
        }
        guild::zero(o.gradient);
        layer.backward(o.dy, o.dx, o.gradient, o.tape);
        REQUIRE(o.gradient.router == std::vector<double>(o.gradient.router.size()));
        REQUIRE(o.gradient.experts.up == std::vector<double>(o.gradient.experts.up.size()));
        REQUIRE(o.gradient.experts.down == std::vector<double>(o.gradient.experts.down.size()));
        for (long t = 0; t < c.tokens; ++t) {  // and it keeps shared network and residual
            if (!dropped[static_cast<std::size_t>(t)]) continue;
            std::vector<double> y(static_cast<std::size_t>(o.y.cols()));
            if (m.config.shared_width() > 0) add_network(y, 1, w.shared, 0, m.config.shared_width(), o.x.all().row(t));
            for (long h = 0; h < o.y.cols() && m.residual != guild::residual::none; ++h) y[static_cast<std::size_t>(h)] += o.x(t, h);
            REQUIRE(far_apart(y, std::vector<double>(o.y.all().row(t), o.y.all().row(t) + o.y.cols())) <= 1e-13);
        }
    });
}

TEST_CASE("padding takes no room: the others are kept and dropped as if it were not there") {
    for_cases([](draws& d) {
        const auto m = draw_bounded(d);
        const auto w = guild::random_weights<bounded_model, double>(d.seed(), m);
        const bounded_layer layer(w);
        const auto token = d.tokens(d.integer(1, 9));
        const auto padded = d.flags(0.4);
        std::vector<long> rest;
        for (std::size_t t = 0; t < token.size(); ++t)
            if (!padded[t]) rest.push_back(token[t]);
        const bounded all(layer, token, {.padding = {padded.data(), token.size()}}), some(layer, rest);
        bool same = layer.load(all.tape).count == layer.load(some.tape).count;
        for (long t = 0, at = 0; t < all.x.rows(); ++t)
            if (!padded[static_cast<std::size_t>(t)]) same = same && same_row(all.y, t, some.y, at) && same_row(all.dx, t, some.dx, at), ++at;
        REQUIRE(same);
        REQUIRE(all.gradient.router == some.gradient.router);
        REQUIRE(all.gradient.experts.up == some.gradient.experts.up);
    });
}

TEST_CASE("dropping by weight does not depend on the order of the tokens") {
    for_cases([](draws& d) {
        auto m = draw_bounded(d);
        m.gate.bound.by = guild::priority::weight;
        const auto w = guild::random_weights<bounded_model, double>(d.seed(), m);
        const bounded_layer layer(w);
        const auto token = d.tokens(d.integer(1, 9));
        const auto order = d.permutation(static_cast<int>(token.size()));
        const bounded a(layer, token), b(layer, permuted(token, order, 1));
        bool same = true;
        const bool ties = m.experts() == 1;  // every weight is 1: the earlier token wins
        for (std::size_t t = 0; t < order.size() && !ties; ++t) same = same && same_row(b.y, static_cast<long>(t), a.y, order[t]);
        REQUIRE(same);
    });
}

TEST_CASE("expert choice: each expert takes as many of its best tokens as it has room for") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), T = d.integer(1, 9);
        const guild::expert_choice_gate gate{.factor = 3 * d.real()};
        routed<double, guild::expert_choice_gate> r(d, gate, E, 1, T);
        const auto padded = d.flags(0.2);
        r.run({.padding = {padded.data(), static_cast<std::size_t>(T)}});
        const long n = present(padded, T), room = std::min(n, static_cast<long>(gate.factor * static_cast<double>(n) / E));
        bool good = true;
        for (int e = 0; e < E; ++e) {
            long taken = 0;
            double worst_in = 2, best_out = -1;
            for (long t = 0; t < T; ++t) {
                const bool in = r.chosen(t).count(e) > 0;
                good = good && !(in && padded[static_cast<std::size_t>(t)]);
                if (padded[static_cast<std::size_t>(t)]) continue;
                taken += in;
                if (in) worst_in = std::min(worst_in, r.score(t, e));
                else best_out = std::max(best_out, r.score(t, e));
            }
            good = good && taken == room && worst_in >= best_out * (1 - 1e-12);
        }
        REQUIRE(good);
    });
}

TEST_CASE("balanced assignment: in training, experts get equally many tokens, to within one") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), T = d.integer(1, 9);
        routed<double, guild::base_gate> r(d, {}, E, 1, T);
        if (d.chance(0.2)) std::fill(r.logit.begin(), r.logit.end(), d.normal());
        const auto padded = d.flags(0.2);
        r.run({.padding = {padded.data(), static_cast<std::size_t>(T)}, .training = true});
        const long n = present(padded, T);
        bool good = true;
        for (int e = 0; e < E; ++e) {
            long taken = 0;
            for (long t = 0; t < T; ++t) taken += r.expert(t, 0) == e;
            good = good && taken >= n / E && taken <= n / E + (n % E != 0);
        }
        REQUIRE(good);
    });
}
