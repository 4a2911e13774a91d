#include <support/products.hpp>
#include <properties/gates.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/pools.hpp>

#include <doctest/doctest.h>

#include <climits>
#include <cmath>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>

// Padded rows that nobody filled: NaN and infinities in x, dy, passed logits and draws, token ids that are none. Everything that a layer makes of
// the other tokens, gradients of parameters and losses above all, has the bits of the batch without them, and dx of a padded row is 0.

namespace {
using guild::config, guild::model, guild::residual;
namespace cpu = guild::cpu;
using property::token_gate;
using reference = guild::backend::reference;
using eigen = guild::backend::eigen<guild::threads>;
constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
constexpr int vocabulary = 5;

/// f(loss) for all that the library has.
template <class F> void every_loss(F f) {
    f(guild::expert_loss{.weight = 0.5}), f(guild::switch_loss{.weight = 0.5}), f(guild::top_k_balance_loss{.weight = 0.5});
    f(guild::z_loss{.weight = 0.5}), f(guild::device_loss{.weight = 0.5, .devices = 2});
    f(guild::communication_loss{.weight = 0.5, .devices = 2, .reach = 2}), f(guild::sequence_loss{.weight = 0.5});
    f(guild::sequence_loss{.weight = 0.5, .by = guild::counted::realised}), f(guild::global_batch_loss{.weight = 0.5});
    f(guild::heterogeneous_loss{.weight = 0.5}), f(guild::importance_loss{.weight = 0.5});
    f(guild::importance_loss{.weight = 0.5, .unbiased = true, .epsilon = 1e-10}), f(guild::l1_loss{.weight = 0.5});
    f(guild::l1_loss{.weight = 0.5, .balanced = true}), f(guild::noisy_load_loss{.weight = 0.5}), f(guild::mutual_information_loss{.weight = 0.5});
    f(guild::orthogonality_loss{.weight = 0.5}), f(guild::scheduled{guild::z_loss{.weight = 0.5}, guild::warm_up{.steps = 4}});
}

/// A gate of many, with every loss.
template <class Gate, class Shared = guild::plain_shared> struct with_losses : guild::dynamic_model<Gate, guild::swiglu, Shared, 16> {
    static constexpr bool has_losses = true;
    template <class F> static void each_loss(F f) { every_loss(f); }
};

/// One batch in two forms: with padded rows that hold anything, and without them.
struct two_batches {
    std::unique_ptr<bool[]> padding;
    std::vector<long> token;        ///< [T] names, which draws and numbers follow; of those that are present
    std::vector<int> id, bound{0};  ///< with padding
    std::vector<long> here, at;     ///< those of `token` that are present, and their rows
    std::vector<int> here_id, here_bound{0};

    explicit two_batches(const std::vector<bool>& padded) : padding(new bool[padded.size()]) {
        const long T = static_cast<long>(padded.size());
        for (long t = 0; t < T; ++t) {
            const bool pad = padding[static_cast<std::size_t>(t)] = padded[static_cast<std::size_t>(t)];
            token.push_back(100 + 3 * t);
            id.push_back(pad ? t % 2 == 0 ? INT_MAX : INT_MIN : static_cast<int>(t % vocabulary));
            if (pad) continue;
            here.push_back(token.back());
            here_id.push_back(id.back());
            at.push_back(t);
        }
        for (const long end : {T / 3, T / 3, 2 * T / 3, T}) {  // one sequence is empty, others may be but padding
            bound.push_back(static_cast<int>(end));
            here_bound.push_back(static_cast<int>(std::lower_bound(at.begin(), at.end(), end) - at.begin()));
        }
    }
};
/// Number (t, i) of what nobody filled.
double garbage(long t, long i) {
    const double kind[] = {nan, infinity, -infinity, 1e30};
    return kind[(t + i) % 4];
}

/// What a layer makes of one form of a batch.
template <class Layer> struct run {
    using S = typename Layer::scalar;
    test::matrix<S> x, dy, y, inferred, dx, previous, own, d_own, d_previous;
    std::vector<double> draws;
    guild::given_draws given{};
    typename Layer::gradients gradient;
    guild::workspace<S> workspace;
    guild::tape<S> tape;
    S loss{};
    guild::telemetry seen;

    /// Rows of padding are garbage, in x and in all else that the caller gives.
    run(const Layer& layer, const std::vector<long>& token, guild::batch side)
        : x(rows(token), layer.model().config.hidden),
          dy(x.rows(), x.cols()),
          y(x.rows(), x.cols()),
          inferred(x.rows(), x.cols()),
          dx(x.rows(), x.cols()),
          previous(x.rows(), layer.model().experts()),
          own(x.rows(), previous.cols()),
          d_own(x.rows(), previous.cols()),
          d_previous(x.rows(), previous.cols()),
          gradient(layer.model()) {
        const long T = x.rows();
        const auto fill = [&](test::matrix<S>& m, int stream) {
            for (long t = 0; t < T; ++t)
                for (long i = 0; i < m.cols(); ++i)
                    m(t, i) = static_cast<S>(guild::gate::padded(side, t) ? garbage(t, i)
                                                                          : 2 * guild::uniform(8, stream, token[static_cast<std::size_t>(t)], i) - 1);
        };
        fill(x, 0), fill(dy, 1), fill(previous, 2), fill(d_own, 3);
        // some of what jitter draws
        for (long t = 0; t < T; ++t)
            for (long i = 0; i < 3; ++i)
                draws.push_back(guild::gate::padded(side, t) ? garbage(t, i) : guild::uniform(9, 0, token[static_cast<std::size_t>(t)], i));
        given = {guild::jitter_input::stream, 3, draws.data()};
        if (T > 0) side.draws = {&given, 1};
        tape.passed = {previous, own, d_own, d_previous};
        workspace.passed.previous = previous;
        layer.forward(x, inferred, workspace, side);
        layer.forward(x, y, tape, side);
        loss = layer.loss(tape);
        layer.backward(dy, dx, gradient, tape);
        seen.add(layer, tape);
    }
    run(const run&) = delete;

private:
    static long rows(const std::vector<long>& token) { return static_cast<long>(token.size()); }
};

template <class S> guild::view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }
template <class S> bool same_rows(const test::matrix<S>& all, const test::matrix<S>& some, const std::vector<long>& at) {
    for (std::size_t i = 0; i < at.size(); ++i)
        if (!test::same_bits(row(all, at[i]), row(some, static_cast<long>(i)))) return false;
    return true;
}
template <class S> bool zero_elsewhere(const test::matrix<S>& m, const bool* padding) {
    for (long t = 0; t < m.rows(); ++t)
        for (long i = 0; i < m.cols() && padding[t]; ++i)
            if (m(t, i) != 0 || std::signbit(m(t, i))) return false;
    return true;
}
template <class S> bool finite(const std::vector<S>& v) {
    return std::all_of(v.begin(), v.end(), [](S s) { return std::isfinite(s); });
}

/// All that is promised, of one layer and one place of padding.
template <class Layer> void check(const Layer& layer, const std::vector<bool>& padded, bool training) {
    using S = typename Layer::scalar;
    const two_batches b(padded);
    const std::span<const bool> padding(b.padding.get(), padded.size());
    const run<Layer> all(layer, b.token, {b.id, padding, b.bound, 0, b.token, 5, training, {}, {}, 3});
    const run<Layer> some(layer, b.here, {b.here_id, {}, b.here_bound, 0, b.here, 5, training, {}, {}, 3});
    CHECK(same_rows(all.y, some.y, b.at));
    CHECK(same_rows(all.inferred, some.y, b.at));
    CHECK(same_rows(all.dx, some.dx, b.at));
    CHECK(zero_elsewhere(all.dx, b.padding.get()));
    CHECK(same_rows(all.own, some.own, b.at));
    CHECK(zero_elsewhere(all.own, b.padding.get()));
    if constexpr (decltype(layer.model().stages())::needs_previous) {
        CHECK(same_rows(all.d_previous, some.d_previous, b.at));
        CHECK(zero_elsewhere(all.d_previous, b.padding.get()));
    }
    CHECK(std::memcmp(&all.loss, &some.loss, sizeof(S)) == 0);
    CHECK(std::isfinite(all.loss));
    guild::each_tensor(
        [](const char* name, const auto& a, const auto& s) {
            CHECK_MESSAGE(test::same_bits(a, s), name);
            CHECK_MESSAGE(finite(a), name);
        },
        all.gradient, some.gradient);
    CHECK(layer.load(all.tape).count == layer.load(some.tape).count);
    CHECK(layer.load(all.workspace).count == layer.load(some.tape).count);
    CHECK(all.seen.last.tokens == static_cast<long>(b.here.size()));
    CHECK(all.seen.last.dropped == some.seen.last.dropped);
    CHECK(all.seen.pair == some.seen.pair);
}

/// T rows of which these are padding: in front, in the middle, at the end, scattered, all but one, all; a whole sequence is among them.
std::vector<std::vector<bool>> places(long T) {
    std::vector<std::vector<bool>> all;
    const auto add = [&](auto is) {
        all.emplace_back();
        for (long t = 0; t < T; ++t) all.back().push_back(is(t));
    };
    add([=](long t) { return t < T / 3 + 1; });
    add([=](long t) { return t >= T / 3 && t < T / 2; });
    add([=](long t) { return t >= T - T / 3; });
    add([](long t) { return t % 3 == 1 || t % 7 == 0; });
    add([=](long t) { return t != T / 2; });
    add([](long) { return true; });
    return all;
}
/// Every place of a few tokens, and of so many that the sums over tokens go by blocks of 64 and 128.
template <class Layer> void check_places(const Layer& layer) {
    for (const long T : {11L, 200L}) {
        if (T > 11 && test::few) continue;
        for (const auto& padded : places(T)) {
            CAPTURE(T);
            CAPTURE(std::string(padded.begin(), padded.end()));
            for (const bool training : {false, true}) check(layer, padded, training);
            if (T > 11) break;
        }
        if (T > 11) check(layer, places(T)[3], true);
    }
}
/// By the reference in double and by Eigen's backend in float, in each arithmetic; `Both`: by both in both.
template <bool Both, class Model> void check_backends(const guild::weights<Model, double>& w) {
    guild::weights<Model, float> narrow(w.model);
    guild::each_tensor([](const char*, auto& to, const auto& from) { to.assign(from.begin(), from.end()); }, narrow, w);
    narrow.state.assign(w.state.begin(), w.state.end());
    narrow.table = w.table;
    const guild::threads two{test::pool_of(2)};
    check_places(guild::layer<Model, double, reference>(w));
    if constexpr (Both) {
        check_places(guild::layer<Model, double, eigen>(w, eigen(two)));
        check_places(guild::layer<Model, float, reference>(narrow));
    }
    for (const cpu::arithmetic by : {cpu::arithmetic::fp32, cpu::arithmetic::bf16})
        check_places(guild::layer<Model, float, eigen>(narrow, eigen(two, by)));
}
template <bool Both = false, class Model> void check_model(const Model& m) {
    auto w = guild::random_weights<Model, double>(3, m);
    for (int i = 0; i < vocabulary * m.config.top_k; ++i) w.table.push_back((i + i / m.config.top_k) % m.experts());
    check_backends<Both>(w);
}

// ---- gates that no variant holds: they look across tokens, read more than logits, or do more than choose ----
constexpr config small{.hidden = 6, .expert_hidden = 5, .routed_experts = 8, .top_k = 2, .shared_experts = 2, .shared_bias = true};
constexpr config single{.hidden = 6, .expert_hidden = 5, .routed_experts = 8, .top_k = 1, .shared_hidden = 3, .expert_bias = true};
constexpr config weighed{.hidden = 6, .expert_hidden = 5, .routed_experts = 8, .top_k = 2, .shared_experts = 2};
constexpr guild::expert_loss by_score{.weight = 0.5};
constexpr guild::z_loss by_logit{.weight = 0.5};
constexpr guild::importance_loss by_weight{.weight = 0.5};

struct gshard : model<small, guild::gshard_capacity_gate{.factor = 0.8, .per_sequence = true}, by_score, residual::plain> {};
struct fairseq : model<small, guild::fairseq_top2_gate{.factor = 0.8}, by_weight> {};
struct fairseq_sampled : model<small, guild::fairseq_sampled_top2_gate{.factor = 0.8}, by_score> {};
struct fairseq_before : model<small, guild::fairseq_top2_before_gate{.factor = 0.8}, residual::complement> {};
struct switched : model<single, guild::switch_capacity_gate{.factor = 0.8}, guild::switch_loss{.weight = 0.5}, residual::complement> {};
struct base : model<single, guild::base_gate{}, by_logit, residual::complement> {};
struct by_experts : model<small, guild::expert_choice_gate{.factor = 1}, by_weight, guild::gated_shared{}> {};
struct hashed : model<small, guild::hash_gate{}, by_logit> {};
struct hashed_scores : model<small, guild::deepseek_v4_hash_gate{}, by_score, residual::plain> {};
struct llama4 : model<single, guild::llama4_gate{}, by_logit, guild::passive{.identity = 1, .constant = 1, .blend = 1}> {};
struct gemma4 : model<small, guild::gemma4_gate{}, by_score> {};
struct inkling : model<weighed, guild::inkling_gate{.shared = 2}, by_logit, guild::sequence_loss{.weight = 0.5}> {};
struct moe_plus_plus : model<small, guild::moe_plus_plus_gate{}, guild::passive{.zero = 1, .identity = 1, .blend = 2},
                             guild::heterogeneous_loss{.weight = 0.5, .zero_computation = 4}, by_logit> {};
struct passed_without_losses : model<small, guild::moe_plus_plus_gate{}> {};
struct cosine : model<small, guild::cosine_gate{.dimension = 9}, by_score, by_logit> {};
struct specialised : model<small, guild::specialised_gate{}, guild::orthogonality_loss{.weight = 0.5}, guild::mutual_information_loss{.weight = 0.5},
                           guild::load_average{}> {};
/// Stages and a loss of a user's own, which have no adjoints.
struct of_a_user : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 6, .top_k = 2, .shared_experts = 1}, test::learned_gate{},
                         test::curvature{.weight = 0.5}> {};
/// An input and a stage before the scores that look their token's id up: what is no id throws.
struct by_name {
    static int known(const auto& t) {
        if (t.id < 0 || t.id >= vocabulary) throw std::out_of_range("a token id");
        return t.id;
    }
    template <class S> void forward(const guild::token<S>& t, const S* x, long H, const S*, S* out) const {
        for (long h = 0; h < H; ++h) out[h] = known(t) == 0 ? x[h] + x[h] : x[h];
    }
    template <class S> void backward(const guild::token<S>& t, const S*, long H, const S*, const S* d_out, S* dx, S*) const {
        for (long h = 0; h < H; ++h) dx[h] += known(t) == 0 ? d_out[h] + d_out[h] : d_out[h];
    }
};
struct named_gate {
    struct stage : guild::ranks_only {
        static constexpr bool logits = true, needs_token_id = true;
        static void forward(const auto& t, auto& r) {
            r.each([&](int e) { r.score[e] += by_name::known(t) == e; });
        }
    };
    constexpr auto input() const { return by_name{}; }
    constexpr auto stages() const { return guild::pipeline{stage{}, guild::score{guild::sigmoid{}}, guild::top_k{}}; }
};
struct named : model<small, named_gate{}, by_score> {};
struct bounded_gate {
    constexpr auto stages() const {
        return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, guild::device_capacity{4, 0.7, 0.4},
                               guild::weigh{guild::unit_sum{1e-9}}};
    }
};
struct bounded : model<small, bounded_gate{}, by_score> {};
struct bounded_by_weight_gate {
    constexpr auto stages() const {
        return guild::pipeline{guild::score{guild::softmax{}}, guild::top_k{}, guild::capacity{0.7, guild::rounding::down, guild::priority::weight}};
    }
};
struct bounded_by_weight : model<small, bounded_by_weight_gate{}, by_score> {};
}  // namespace

TEST_CASE("padding that nobody filled: every gate that looks at one token, with every loss") {
    using Model = with_losses<token_gate>;
    constexpr std::size_t gates = std::variant_size_v<decltype(token_gate::one)>;
    for (std::size_t g = 0; g < gates; ++g) {
        CAPTURE(g);
        test::draws d(g + 1);
        Model m;
        do m.gate = property::draw_gate(d, 8, 2).gate;
        while (m.gate.one.index() != g);
        m.config = {.hidden = 5, .expert_hidden = 4, .routed_experts = 8, .top_k = 2, .shared_experts = static_cast<int>(g % 3)};
        m.residual = static_cast<residual>(g / 3 % 3);
        check_model<true>(m);
    }
}
TEST_CASE("shared experts that the gate weighs have weight 0 in padded rows: what is left of y is the residual") {
    struct weighing : model<weighed, guild::inkling_gate{.shared = 2}, residual::plain> {};
    const auto w = guild::random_weights<weighing>(3);
    const guild::layer layer(w);
    const bool padding[] = {true, false, false, true};
    const test::outcome o(layer, test::first_tokens(4), {.padding = padding});
    for (const long t : {0, 3}) {
        CHECK(test::same_bits(row(o.y, t), row(o.x, t)));
        CHECK(test::same_bits(row(o.inferred, t), row(o.x, t)));
    }
    CHECK(!test::same_bits(row(o.y, 1), row(o.x, 1)));
}
TEST_CASE("a padded token is inspected without a stage: nothing that it names is read") {
    struct by_table : model<single, guild::hash_gate{}> {};
    auto w = guild::random_weights<by_table>(3);
    w.table = {1, 0};
    const guild::layer<by_table> layer(w);
    const bool padding[] = {true, false};
    const int id[] = {INT_MAX, 1};
    test::outcome o(layer, test::first_tokens(2), {.token_id = id, .padding = padding});
    for (const auto& seen : layer.inspect(o.tape, 0)) CHECK(seen.expert == std::vector<int>{guild::no_expert});
    CHECK(layer.inspect(o.tape, 1).back().expert == std::vector<int>{0});
}
TEST_CASE_TEMPLATE("padding that nobody filled: gates that look across tokens", Model, gshard, fairseq, fairseq_sampled, fairseq_before, switched,
                   base, by_experts, bounded, bounded_by_weight) {
    check_model(Model{});
}
TEST_CASE_TEMPLATE("padding that nobody filled: gates that read more than logits, or do more than choose", Model, hashed, hashed_scores, llama4,
                   gemma4, inkling, moe_plus_plus, passed_without_losses, cosine, specialised, of_a_user, named) {
    check_model(Model{});
}
