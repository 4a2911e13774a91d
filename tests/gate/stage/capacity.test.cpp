#include <guild/gate/published/classic.hpp>

#include <doctest/doctest.h>
#include <support/few.hpp>
#include <support/gate_run.hpp>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;
using ids = std::vector<int>;

/// A batch that the seed draws: finite logits, padding, sequences of any lengths.
struct ragged {
    test::dice d;
    int E, K;
    long T;
    numbers logit;
    bool pad[24];
    ids bound{0};
    batch side;

    ragged(unsigned long long seed, int choices, bool training = false) : d{seed}, E(d.number(0, choices < 0 ? 1 : choices, 8)) {
        K = choices < 0 ? d.number(1, 1, E) : choices;
        T = d.number(2, 0, 24);
        logit = d.normals(3, T * E, seed % 3 == 0 ? 3 : 1);
        if (seed % 5 == 0)
            for (double& z : logit) z = std::round(z);  // ties of weights
        for (long t = 0; t < T; ++t) pad[t] = seed % 2 == 0 && d.chance(4, 0.25, t);
        while (bound.back() < T)
            bound.push_back(std::min(static_cast<int>(T), bound.back() + static_cast<int>(7 * d.uniform(5, static_cast<long>(bound.size())))));
        if (T == 0) bound.push_back(0);
        side = {.padding = {pad, static_cast<std::size_t>(T)}, .sequence = bound, .seed = seed, .training = training};
    }
    ragged(const ragged&) = delete;
    long present(long begin, long end) const {
        long n = 0;
        for (long t = begin; t < end; ++t) n += !pad[t];
        return n;
    }
    numbers row(long t) const { return {logit.begin() + t * E, logit.begin() + (t + 1) * E}; }
    double probability(long t, int e) const {
        double mass = 0;
        for (const double z : row(t)) mass += std::exp(z);
        return std::exp(row(t)[static_cast<std::size_t>(e)]) / mass;
    }
    /// The K best of a token, best first.
    ids best(long t) const {
        ids order;
        for (int e = 0; e < E; ++e) order.push_back(e);
        const numbers z = row(t);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return z[static_cast<std::size_t>(a)] > z[static_cast<std::size_t>(b)]; });
        order.resize(static_cast<std::size_t>(K));
        return order;
    }
};
/// Somebody who asks for an expert.
struct request {
    long token;
    int choice, expert;
    double weight;
};
struct limited {
    capacity limit;
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, limit}; }
};
struct limited_devices {
    device_capacity limit;
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, limit}; }
};
/// The requests of tokens [begin, end) in the order of a priority.
std::deque<request> line(const ragged& c, long begin, long end, priority by) {
    std::deque<request> all;
    if (by == priority::choice) {
        for (int k = 0; k < c.K; ++k)
            for (long t = begin; t < end; ++t)
                if (!c.pad[t]) all.push_back({t, k, c.best(t)[static_cast<std::size_t>(k)], 0});
    } else {
        for (long t = begin; t < end; ++t)
            for (int k = 0; k < c.K; ++k)
                if (!c.pad[t]) all.push_back({t, k, c.best(t)[static_cast<std::size_t>(k)], 0});
    }
    for (request& r : all) r.weight = c.probability(r.token, r.expert);
    return all;
}
/// What stays: [T, K] experts, no_expert where dropped, and their weights.
struct kept {
    ids expert;
    numbers weight;
    explicit kept(const ragged& c) : expert(static_cast<std::size_t>(c.T * c.K), no_expert), weight(expert.size()) {}
    void keep(const ragged& c, const request& r) {
        expert[static_cast<std::size_t>(r.token * c.K + r.choice)] = r.expert;
        weight[static_cast<std::size_t>(r.token * c.K + r.choice)] = r.weight;
    }
};
void same(const auto& run, const kept& expected) {
    for (long t = 0; t < run.T; ++t)
        for (int k = 0; k < run.W; ++k) {
            const auto i = static_cast<std::size_t>(t * run.W + k);
            CAPTURE(t);
            CAPTURE(k);
            CHECK(run.expert(t, k) == expected.expert[i]);
            CHECK(std::abs(run.weight(t, k) - expected.weight[i]) <= 1e-14);
        }
}
/// Equal keys of a rank are those of equal weights: the library's own, as rounding decides what ties.
void by_weight(std::deque<request>& all, const auto& run) {
    for (request& r : all) r.weight = run.result.score[r.token * run.E + r.expert];
    std::stable_sort(all.begin(), all.end(), [](const request& a, const request& b) { return a.weight > b.weight; });
}
/// What the code that a rounding names computes, operation by operation.
long published_room(double factor, rounding how, long T, int E, int K) {
    const auto real = [](long n) { return static_cast<double>(n); };
    switch (how) {
        case rounding::down: {  // MegaBlocks: tokens_per_expert = top_k * tokens / num_experts; int(capacity_factor * tokens_per_expert)
            const double each = real(K * T) / E;
            return static_cast<long>(factor * each);
        }
        case rounding::up: {  // Megatron, num_tokens = tokens * topk: math.ceil((num_tokens / num_experts) * capacity_factor)
            const double share = real(T * K) / E * factor;
            const long n = static_cast<long>(share);
            return n + (real(n) < share);
        }
        case rounding::nearest: {  // flaxformer, Python's round: int(round(capacity_factor * tokens_per_group / num_experts))
            const double share = factor * K * real(T) / E;
            const long n = static_cast<long>(share);
            const double rest = share - real(n);
            return rest > 0.5 || (rest == 0.5 && n % 2 == 1) ? n + 1 : n;
        }
        case rounding::share_up:  // Tutel: top_k * int(capacity_factor * ((num_samples + num_global_experts - 1) // num_global_experts))
            return K * static_cast<long>(factor * real((T + E - 1) / E));
        case rounding::up_single: {  // DeepSpeed: torch.ceil((num_tokens / num_experts) * torch.tensor(capacity_factor * k)), a float32
            const float by = static_cast<float>(factor * K), each = static_cast<float>(real(T) / E), share = each * by;
            const long n = static_cast<long>(share);
            return n + (static_cast<float>(n) < share);
        }
    }
    return -1;
}
constexpr rounding roundings[] = {rounding::down, rounding::nearest, rounding::up, rounding::share_up, rounding::up_single};
}  // namespace

TEST_CASE("capacity: every rounding and priority, a minimum, a number of rows, all tokens or sequence by sequence") {
    long dropped = 0, stayed = 0;
    for (unsigned long long seed = 1; seed <= 600; ++seed) {
        CAPTURE(seed);
        const ragged c(seed, -1);
        const auto how = roundings[c.d.number(10, 0, 4)];
        const auto by = static_cast<priority>(c.d.number(11, 0, 2));
        const double factor = c.d.chance(12, 0.1) ? 0 : c.d.chance(12, 0.4) ? 0.25 * c.d.number(13, 1, 8) : 2 * c.d.uniform(13, 1);
        const int minimum = c.d.chance(14, 0.3) ? c.d.number(15, 1, 4) : 0, rows = c.d.chance(16, 0.2) ? c.d.number(17, 0, 5) : -1;
        const bool split = c.d.chance(18, 0.5), bounded = c.d.chance(19, 0.8);
        batch side = c.side;
        if (!bounded) side.sequence = {};
        const ids whole{0, static_cast<int>(c.T)}, bound = split && bounded ? c.bound : whole;
        test::gate_run<limited> run({capacity{factor, how, by, minimum, rows, split}}, c.E, c.K, c.logit, side);
        kept expected(c);
        for (std::size_t b = 0; b + 1 < bound.size(); ++b) {
            const long room = rows >= 0 ? rows : std::max<long>(minimum, published_room(factor, how, c.present(bound[b], bound[b + 1]), c.E, c.K));
            auto all = line(c, bound[b], bound[b + 1], by);
            if (by == priority::weight) by_weight(all, run);
            std::vector<std::deque<request>> queue(static_cast<std::size_t>(c.E));
            for (const request& r : all) queue[static_cast<std::size_t>(r.expert)].push_back(r);
            for (auto& q : queue)
                for (long i = 0; !q.empty(); ++i, q.pop_front()) {
                    ++(i < room ? stayed : dropped);
                    if (i < room) expected.keep(c, q.front());
                }
        }
        same(run, expected);
        // the gradient: of what is kept, through the softmax
        const numbers g = c.d.normals(20, c.T * c.K), slope = run.gradient(g);
        for (long t = 0; t < c.T; ++t)
            for (int e = 0; e < c.E; ++e) {
                double sum = 0;
                for (int k = 0; k < c.K; ++k) {
                    const auto i = static_cast<std::size_t>(t * c.K + k);
                    const int f = expected.expert[i];
                    if (f != no_expert) sum += g[i] * c.probability(t, f) * ((e == f) - c.probability(t, e));
                }
                CHECK(std::abs(slope[static_cast<std::size_t>(t * c.E + e)] - sum) <= 1e-13);
            }
    }
    CHECK(dropped > 2000);
    CHECK(stayed > 2000);
}
TEST_CASE("capacity: published numbers of rows") {
    CHECK(capacity{1.25, rounding::nearest}.room(64, 8, 1) == 10);
    CHECK(capacity{1.25, rounding::nearest}.room(10, 5, 1) == 2);  // 2.5: to the even number, as Python rounds
    CHECK(capacity{1.25, rounding::down}.room(10, 8, 2) == 3);
    CHECK(capacity{1.25, rounding::up}.room(10, 8, 2) == 4);
    CHECK(capacity{1, rounding::share_up}.room(37, 8, 2) == 10);
    CHECK(capacity{1.5, rounding::share_up}.room(37, 8, 2) == 14);
    CHECK(capacity{1, rounding::up, priority::choice, 4}.room(1, 8, 1) == 4);
    CHECK(capacity{1, rounding::up, priority::choice, 4, 0}.room(100, 8, 1) == 0);
    CHECK(capacity{1}.room(0, 8, 1) == 0);
}
TEST_CASE("capacity: every rounding counts as the code that it names, over all settings") {
    std::vector<double> factors{0,   0.1,  0.25, 0.3, 0.5, 0.7,  0.75, 0.8, 0.9, 1, 1.05, 1.1, 1.15,
                                1.2, 1.25, 1.3,  1.4, 1.5, 1.75, 2,    2.2, 2.5, 3, 4,    8};
    const test::dice d{1};
    for (int i = 0; i < 5; ++i) factors.push_back(4 * d.uniform(0, i));
    long tried = 0, found[5] = {}, other[5] = {};  // other: what a product in another order would have counted
    for (int E = 1; E <= 256; E += test::few ? 7 : 1)
        for (int K = 1; K <= 8 && K <= E; ++K)
            for (long i = 0; i < 24; ++i) {
                long T = static_cast<long>(d.uniform(1 + K, 24 * E + i) * 4097);
                if (i % 3 == 0) T = T / E * E;  // whole shares
                const double factor = factors[static_cast<std::size_t>(d.uniform(20 + K, 24 * E + i) * static_cast<double>(factors.size()))];
                for (std::size_t how = 0; how < 5; ++how) {
                    const long room = capacity(factor, roundings[how]).room(T, E, K);
                    found[how] += room == published_room(factor, roundings[how], T, E, K);
                    other[how] += room != published_room(factor / E, roundings[how], T * E, E, K);
                }
                ++tried;
            }
    for (std::size_t how = 0; how < 5; ++how) {
        CAPTURE(how);
        CHECK(found[how] == tried);
        CHECK(other[how] > 0);
    }
    for (const double factor : {1.05, 1.1, 1.2, 1.25})
        for (long T = 0; T <= 4096; ++T)
            for (const rounding how : roundings) {
                const long room = capacity(factor, how).room(T, 8, 6), published = published_room(factor, how, T, 8, 6);
                if (room != published) CHECK(room == published);
            }
    CHECK(capacity(1.2, rounding::down).room(50, 8, 6) == 45);
    CHECK(capacity(1.05, rounding::up).room(400, 8, 6) == 315);
}
TEST_CASE("a factor as large as there is means no limit, in every stage that counts room") {
    const volatile double factors[] = {
        64, 1e6, 1e15, 1e18, 0x1p62, 0x1p63, 1e19, std::numeric_limits<float>::max(), 1e300, std::numeric_limits<double>::max()};
    struct unlimited {
        constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}}; }
    };
    struct kinds {
        heterogeneous_capacity limit;
        constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, limit}; }
    };
    struct by_experts {
        expert_choice limit;
        constexpr auto stages() const { return pipeline{score{softmax{}}, limit}; }
    };
    for (unsigned long long seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        const ragged c(seed, seed % 2 ? 2 : -1);
        test::gate_run<unlimited> all({}, c.E, c.K, c.logit, c.side);
        const auto keeps = [&](const auto& gate, const char* name) {
            CAPTURE(name);
            using gate_type = std::remove_cvref_t<decltype(gate)>;
            REQUIRE(gate.stages().fits(c.E, c.K));
            test::gate_run<gate_type> run(gate, c.E, c.K, c.logit, c.side);
            const long n = c.T * c.K;
            CHECK(std::equal(run.result.choice.expert.data(), run.result.choice.expert.data() + n, all.result.choice.expert.data()));
        };
        for (const volatile double& factor : factors) {
            const double by = factor;
            CAPTURE(by);
            for (const rounding how : roundings)
                for (const priority p : {priority::choice, priority::position, priority::weight})
                    for (const bool split : {false, true}) keeps(limited{{by, how, p, 0, -1, split}}, "capacity");
            keeps(kinds{{c.E > 1, by, 0.75}}, "heterogeneous_capacity");
            keeps(kinds{{0, by, 1e-3}}, "heterogeneous_capacity of one kind");
            for (const int devices : {1, c.E}) keeps(limited_devices{{devices, by, 0}}, "device_capacity");
            if (c.K == 2) {
                keeps(gshard_capacity_gate{by}, "gshard_capacity_gate");
                keeps(fairseq_top2_gate{by}, "fairseq_top2_gate");
                keeps(fairseq_sampled_top2_gate{by}, "fairseq_sampled_top2_gate");
                keeps(fairseq_top2_before_gate{by}, "fairseq_top2_before_gate");
            }
            keeps(switch_capacity_gate{by}, "switch_capacity_gate");
            REQUIRE(by_experts{expert_choice{by}}.stages().fits(c.E, c.K));
            test::gate_run<by_experts> run({expert_choice{by}}, c.E, c.K, c.logit, c.side);
            for (int e = 0; e < c.E; ++e) CHECK(run.count(e) == c.present(0, c.T));
        }
    }
}
TEST_CASE("device_capacity: the lowest weights of a device are dropped, some sequences never. DeepSeek-V2, section 2.2.4") {
    long dropped = 0, safe_rows = 0, over = 0;
    for (unsigned long long seed = 1; seed <= 500; ++seed) {
        CAPTURE(seed);
        const ragged c(seed, -1, true);
        int devices = c.d.number(10, 1, c.E);
        while (c.E % devices != 0) --devices;
        const double factor = c.d.chance(11, 0.5) ? 1 : 1.5 * c.d.uniform(12, 0), protect = c.d.chance(13, 0.5) ? 0.1 : c.d.uniform(14, 0);
        test::gate_run<limited_devices> run({{devices, factor, protect}}, c.E, c.K, c.logit, c.side);
        const double room = std::floor(factor * c.K * static_cast<double>(c.present(0, c.T)) / devices);
        const auto safe = [&](long t) {
            long b = 0;
            while (c.bound[static_cast<std::size_t>(b + 1)] <= t) ++b;
            return uniform(seed, device_capacity::stream, b, 0) < protect;
        };
        kept expected(c);
        auto all = line(c, 0, c.T, priority::position);
        by_weight(all, run);
        for (int device = 0; device < devices; ++device) {
            double used = 0;
            for (const bool first : {true, false})
                for (const request& r : all) {
                    if (r.expert / (c.E / devices) != device || safe(r.token) != first) continue;
                    safe_rows += first;
                    if (first || used < room) {
                        ++used;
                        expected.keep(c, r);
                    } else ++dropped;
                }
            over += used > room;
        }
        same(run, expected);
    }
    CHECK(dropped > 300);
    CHECK(safe_rows > 300);
    CHECK(over > 20);
}
TEST_CASE("gshard_capacity_gate: algorithm 1 of GShard, also with local groups") {
    long refused = 0, unlucky = 0;
    for (unsigned long long seed = 1; seed <= 600; ++seed) {
        CAPTURE(seed);
        const bool training = seed % 4 != 0, split = seed % 3 == 0;
        const ragged c(seed, 2, training);
        const double factor = 0.25 * c.d.number(10, 1, 6);
        numbers u;
        for (long t = 0; t < c.T; ++t) u.push_back(c.d.uniform(11, t));
        const given_draws given{random_second::stream, 1, u.data()};
        batch side = c.side;
        if (c.T > 0) side.draws = {&given, 1};
        test::gate_run<gshard_capacity_gate> run({factor, split}, c.E, 2, c.logit, side);

        kept expected(c);
        const ids whole{0, static_cast<int>(c.T)}, &bound = split ? c.bound : whole;
        for (std::size_t b = 0; b + 1 < bound.size(); ++b) {
            const double C = std::ceil(factor * 2 * static_cast<double>(c.present(bound[b], bound[b + 1])) / c.E);
            std::vector<double> count(static_cast<std::size_t>(c.E));
            for (const int second : {0, 1})
                for (long t = bound[b]; t < bound[b + 1]; ++t) {
                    if (c.pad[t]) continue;
                    const ids e = c.best(t);
                    const double g1 = c.probability(t, e[0]), g2 = c.probability(t, e[1]), g = (second ? g2 : g1) / (g1 + g2);
                    double& queued = count[static_cast<std::size_t>(e[static_cast<std::size_t>(second)])];
                    const bool lucky = !second || !training || 2 * g > u[static_cast<std::size_t>(t)];
                    if (queued < C && lucky) expected.keep(c, {t, second, e[static_cast<std::size_t>(second)], g});
                    refused += queued >= C;
                    unlucky += !lucky;
                    ++queued;  // dispatched or not
                }
        }
        same(run, expected);
    }
    CHECK(refused > 1000);
    CHECK(unlucky > 500);
}
TEST_CASE("fairseq_top2_gate: fairseq's variant: raw probability tested, seconds that are not dispatched do not queue, normalised last") {
    for (unsigned long long seed = 1; seed <= 600; ++seed) {
        CAPTURE(seed);
        const bool training = seed % 4 != 0;
        const ragged c(seed, 2, training);
        const double factor = seed % 2 ? 1 : 0.5;
        numbers u;
        for (long t = 0; t < c.T; ++t) u.push_back(c.d.uniform(11, t));
        const given_draws given{random_second::stream, 1, u.data()};
        batch side = c.side;
        if (c.T > 0) side.draws = {&given, 1};
        test::gate_run<fairseq_top2_gate> run({factor}, c.E, 2, c.logit, side);

        const long share = (c.present(0, c.T) + c.E - 1) / c.E, C = 2 * static_cast<long>(factor * static_cast<double>(share));
        const auto n = static_cast<std::size_t>(c.T);
        ids first(n, no_expert), second(n, no_expert);
        numbers g1(n), g2(n);
        for (long t = 0; t < c.T; ++t) {
            const auto i = static_cast<std::size_t>(t);
            if (c.pad[t]) continue;
            first[i] = c.best(t)[0];
            g1[i] = c.probability(t, first[i]);
            g2[i] = c.probability(t, c.best(t)[1]);
            if (!training || 2 * g2[i] > u[i]) second[i] = c.best(t)[1];
        }
        kept expected(c);
        std::vector<long> location1(n), location2(n);
        for (std::size_t i = 0; i < n; ++i) {
            if (first[i] != no_expert) location1[i] = std::count(first.begin(), first.begin() + static_cast<long>(i), first[i]);
            if (second[i] != no_expert)
                location2[i] =
                    std::count(second.begin(), second.begin() + static_cast<long>(i), second[i]) + std::count(first.begin(), first.end(), second[i]);
        }
        for (std::size_t i = 0; i < n; ++i) {
            const bool stays1 = first[i] != no_expert && location1[i] < C, stays2 = second[i] != no_expert && location2[i] < C;
            const double by = std::max((stays1 ? g1[i] : 0) + (stays2 ? g2[i] : 0), static_cast<double>(std::numeric_limits<float>::epsilon()));
            if (stays1) expected.keep(c, {static_cast<long>(i), 0, first[i], g1[i] / by});
            if (stays2) expected.keep(c, {static_cast<long>(i), 1, second[i], g2[i] / by});
        }
        same(run, expected);
    }
}
