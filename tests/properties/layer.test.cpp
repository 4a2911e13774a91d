#include <properties/mixtures.hpp>

#include <limits>
#include <set>

// A layer whose gate looks at one token at a time.

using namespace property;

namespace {
using fast_layer = guild::layer<token_model, float>;
using exact_layer = guild::layer<token_model, double, reference>;
using fast = test::outcome<fast_layer>;
using exact = test::outcome<exact_layer>;

constexpr auto any = [](const auto&) { return true; };

std::set<int> chosen(const auto& o, long t) {
    const auto& c = o.tape.gate.choice;
    std::set<int> all;
    for (int k = 0; k < c.slots; ++k)
        if (c.expert[t * c.slots + k] != guild::no_expert) all.insert(c.expert[t * c.slots + k]);
    return all;
}
}  // namespace

TEST_CASE("permuting the tokens permutes outputs and gradients of x, in the same bits") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, float>(d.seed(), m);
        const fast_layer layer(w);
        const int T = d.integer(1, 9);
        const auto token = d.tokens(T);
        const auto order = d.permutation(T);
        const auto moved = permuted(token, order, 1);
        // random draws follow positions
        const bool training = d.chance(0.5);
        const fast a(layer, token, {.position = token, .seed = d.seed(), .training = training});
        const fast b(layer, moved, {.position = moved, .seed = d.seed(), .training = training});
        bool same = true;
        for (int t = 0; t < T; ++t) {
            const int from = order[static_cast<std::size_t>(t)];
            same = same && same_row(b.y, t, a.y, from) && same_row(b.inferred, t, a.y, from) && same_row(b.dx, t, a.dx, from) &&
                   chosen(b, t) == chosen(a, from);
        }
        REQUIRE(same);
    });
}

TEST_CASE("what becomes of a token does not depend on its companions, in any bit") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, float>(d.seed(), m);
        const fast_layer layer(w);
        const int T = d.integer(1, 9), t = d.integer(0, T - 1);
        const auto token = d.tokens(T);
        const std::vector<long> alone{token[static_cast<std::size_t>(t)]};
        const bool training = d.chance(0.5);
        const fast a(layer, token, {.position = token, .seed = d.seed(), .training = training});
        const fast b(layer, alone, {.position = alone, .seed = d.seed(), .training = training});
        REQUIRE(same_row(b.y, 0, a.y, t));
        REQUIRE(same_row(b.inferred, 0, a.inferred, t));
        REQUIRE(same_row(b.dx, 0, a.dx, t));
    });
}

TEST_CASE("inference gives the bits of training") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, float>(d.seed(), m);
        const fast o(fast_layer(w), d.tokens(d.integer(1, 9)), {.seed = d.seed(), .training = d.chance(0.5)});
        REQUIRE(test::same_bits(o.inferred, o.y));
    });
}

TEST_CASE("permuting the experts permutes the choice and leaves the output") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), K = d.integer(1, E);
        auto [m, gate] = draw_model(d, E, K, any);
        routed_only(m);
        const std::size_t H = static_cast<std::size_t>(m.config.hidden), F = static_cast<std::size_t>(m.config.expert_hidden);
        // groups move as a whole, and experts inside them
        const int size = E / gate.groups;
        const auto groups = d.permutation(gate.groups);
        std::vector<int> order;
        for (const int g : groups)
            for (const int e : d.permutation(size)) order.push_back(g * size + e);

        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        auto p = w;
        p.router = permuted(w.router, order, H);
        if (const int extra = m.stages().extra(E); extra > 0) {  // of each expert or of each group
            const std::vector<double> rest(w.router.begin() + static_cast<long>(H) * E, w.router.end());
            const auto moved = permuted(rest, extra == gate.groups ? groups : order, H);
            std::copy(moved.begin(), moved.end(), p.router.begin() + static_cast<long>(H) * E);
        }
        p.learned = permuted(w.learned, order, 1);
        p.state = permuted(w.state, order, 1);
        for (auto tensor : {&guild::network_weights<double, double>::gate, &guild::network_weights<double, double>::up,
                            &guild::network_weights<double, double>::down})
            p.experts.*tensor = permuted(w.experts.*tensor, order, F * H);
        p.experts.gate_bias = permuted(w.experts.gate_bias, order, F);
        p.experts.up_bias = permuted(w.experts.up_bias, order, F);
        p.experts.down_bias = permuted(w.experts.down_bias, order, H);

        const auto token = d.tokens(d.integer(1, 9));
        const exact a(exact_layer(w), token), b(exact_layer(p), token);
        bool same = true;
        for (long t = 0; t < a.x.rows(); ++t) {
            std::set<int> back;
            for (const int e : chosen(b, t)) back.insert(order[static_cast<std::size_t>(e)]);
            same = same && back == chosen(a, t);
        }
        REQUIRE(same);
        REQUIRE(far_apart(b.y, a.y) <= 1e-12);
        REQUIRE(far_apart(b.dx, a.dx) <= 1e-11);
    });
}

TEST_CASE("one expert is a dense network times the promised weight") {
    for_cases([](draws& d) {
        auto [m, gate] = draw_model(d, 1, 1, any);
        routed_only(m);
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        const exact o(exact_layer(w), d.tokens(d.integer(1, 9)));
        for (long t = 0; t < o.x.rows(); ++t) {
            const double weight = o.tape.gate.choice.weight[t];
            if (!std::isnan(gate.sum)) REQUIRE(std::abs(weight - gate.sum) <= 1e-13 * gate.sum);
            std::vector<double> y(static_cast<std::size_t>(o.x.cols()));
            add_network(y, weight, w.experts, 0, m.config.expert_hidden, o.x.all().row(t));
            REQUIRE(far_apart(y, std::vector<double>(o.y.all().row(t), o.y.all().row(t) + o.y.cols())) <= 1e-13);
        }
    });
}

TEST_CASE("choosing every expert is the dense mixture") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12);
        auto m = draw_model(d, E, E, one_of<guild::deepseek_moe_gate, guild::mixtral_gate, guild::qwen3_gate, guild::dbrx_gate>()).model;
        std::visit(
            [](auto& gate) {
                if constexpr (requires { gate.p; }) gate.p = 1;
            },
            m.gate.one);
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        auto dense = w;
        dense.model.gate.one = guild::dense_gate{};
        const auto token = d.tokens(d.integer(1, 9));
        const exact a(exact_layer(w), token), b(exact_layer(dense), token);
        REQUIRE(far_apart(a.y, b.y) <= 1e-13);
        REQUIRE(far_apart(a.dx, b.dx) <= 1e-12);
        REQUIRE(far_apart(numbers(a.gradient), numbers(b.gradient)) <= 1e-12);
    });
}

TEST_CASE("an expert cut into segments that are chosen together is the expert") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 5), K = d.integer(1, E), pieces = d.integer(1, 3), F = d.integer(1, 4);
        const bool sigmoid = d.chance(0.5);
        token_model whole;
        const auto gate = [&](double scale) -> token_gate {
            if (sigmoid) return {guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = scale}};
            return {guild::deepseek_v2_lite_gate{.scale = scale}};
        };
        whole.gate = gate(1);
        whole.config = {.hidden = d.integer(1, 12), .expert_hidden = pieces * F, .routed_experts = E, .top_k = K, .shared_experts = d.integer(0, 1)};
        token_model cut = whole;
        cut.gate = gate(pieces);
        cut.config.expert_hidden = F;
        cut.config.routed_experts *= pieces;
        cut.config.top_k *= pieces;
        cut.config.shared_experts *= pieces;

        const auto w = guild::random_weights<token_model, double>(d.seed(), whole);
        guild::weights<token_model, double> c(cut);
        const long H = whole.config.hidden;
        const auto expert_of = [&](long segment) { return static_cast<std::size_t>(segment / pieces); };
        for (long s = 0; s < c.model.experts(); ++s) {
            for (long h = 0; h < H; ++h)
                c.router[static_cast<std::size_t>(s * H + h)] = w.router[expert_of(s) * static_cast<std::size_t>(H) + static_cast<std::size_t>(h)];
            if (sigmoid) c.state[static_cast<std::size_t>(s)] = w.state[expert_of(s)];
        }
        // [E, pieces F, H] lies in memory as [E pieces, F, H]; down [E, H, pieces F] is cut by columns
        c.experts.gate = w.experts.gate;
        c.experts.up = w.experts.up;
        for (long s = 0; s < c.model.experts(); ++s)
            for (long h = 0; h < H; ++h)
                for (long f = 0; f < F; ++f)
                    c.experts.down[static_cast<std::size_t>((s * H + h) * F + f)] =
                        w.experts.down[static_cast<std::size_t>(((s / pieces) * H + h) * F * pieces + s % pieces * F + f)];
        c.shared = w.shared;

        const auto token = d.tokens(d.integer(1, 9));
        const exact a(exact_layer(w), token), b(exact_layer(c), token);
        REQUIRE(far_apart(b.y, a.y) <= 1e-12);
        REQUIRE(far_apart(b.dx, a.dx) <= 1e-11);
        REQUIRE(far_apart(b.gradient.experts.gate, a.gradient.experts.gate) <= 1e-11);
    });
}

TEST_CASE("where routed experts give nothing, the layer is its shared network") {
    for_cases([](draws& d) {
        auto m = draw_model(d).model;
        routed_only(m);
        m.config.shared_experts = d.integer(1, 3);
        auto w = guild::random_weights<token_model, double>(d.seed(), m);
        std::fill(w.experts.down.begin(), w.experts.down.end(), 0.0);
        std::fill(w.experts.down_bias.begin(), w.experts.down_bias.end(), 0.0);
        const exact o(exact_layer(w), d.tokens(d.integer(1, 9)));
        for (long t = 0; t < o.x.rows(); ++t) {
            std::vector<double> y(static_cast<std::size_t>(o.x.cols()));
            add_network(y, 1, w.shared, 0, m.config.shared_width(), o.x.all().row(t));
            REQUIRE(far_apart(y, std::vector<double>(o.y.all().row(t), o.y.all().row(t) + o.y.cols())) <= 1e-13);
        }
    });
}

TEST_CASE("shared experts side by side are the sum of single ones") {
    for_cases([](draws& d) {
        auto m = draw_model(d).model;
        m.config.shared_experts = 0;
        m.config.shared_bias = false;
        const auto none = guild::random_weights<token_model, double>(d.seed(), m);
        m.config.shared_experts = d.integer(1, 3);
        auto w = guild::random_weights<token_model, double>(d.seed(), m);
        w.router = none.router, w.learned = none.learned, w.constant = none.constant, w.state = none.state, w.experts = none.experts;
        const auto token = d.tokens(d.integer(1, 9));
        const exact a(exact_layer(none), token), b(exact_layer(w), token);
        const long H = m.config.hidden, F = m.config.expert_hidden, G = m.config.shared_width();
        for (long t = 0; t < a.x.rows(); ++t) {
            std::vector<double> y(a.y.all().row(t), a.y.all().row(t) + H);
            for (long s = 0; s < m.config.shared_experts; ++s) {
                guild::network_weights<double, double> one;
                one.resize(1, F, H, 2, false);
                for (long f = 0; f < F; ++f)
                    for (long h = 0; h < H; ++h) {
                        const auto inner = static_cast<std::size_t>(f * H + h), outer = static_cast<std::size_t>((s * F + f) * H + h);
                        one.gate[inner] = w.shared.gate[outer];
                        one.up[inner] = w.shared.up[outer];
                        one.down[static_cast<std::size_t>(h * F + f)] = w.shared.down[static_cast<std::size_t>(h * G + s * F + f)];
                    }
                add_network(y, 1, one, 0, F, a.x.all().row(t));
            }
            REQUIRE(far_apart(y, std::vector<double>(b.y.all().row(t), b.y.all().row(t) + H)) <= 1e-13);
        }
    });
}

TEST_CASE("a layer is the sum of its parts: shared network, weighted experts, residual") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        const exact o(exact_layer(w), d.tokens(d.integer(1, 9)), {.seed = d.seed(), .training = d.chance(0.5)});
        const auto& c = o.tape.gate.choice;
        const long H = m.config.hidden, E = m.config.routed_experts;
        for (long t = 0; t < o.x.rows(); ++t) {
            const double* const x = o.x.all().row(t);
            std::vector<double> y(static_cast<std::size_t>(H));
            if (m.config.shared_width() > 0) add_network(y, 1, w.shared, 0, m.config.shared_width(), x);
            double rest = 1;
            for (long i = t * c.slots; i < (t + 1) * c.slots; ++i) {
                const long e = c.expert[i], identity = E + m.passive.zero, constant = identity + m.passive.identity;
                rest -= c.weight[i];
                if (e < 0) continue;
                if (e < E) add_network(y, c.weight[i], w.experts, e, m.config.expert_hidden, x);
                for (long h = 0; h < H && e >= identity; ++h)
                    y[static_cast<std::size_t>(h)] +=
                        c.weight[i] * (e < constant ? x[h] : w.constant[static_cast<std::size_t>((e - constant) * H + h)]);
            }
            const double keep = m.residual == guild::residual::none ? 0 : m.residual == guild::residual::plain ? 1 : rest;
            for (long h = 0; h < H; ++h) y[static_cast<std::size_t>(h)] += keep * x[h];
            REQUIRE(far_apart(y, std::vector<double>(o.y.all().row(t), o.y.all().row(t) + H)) <= 1e-12);
        }
    });
}

TEST_CASE("the routed output is proportional to the gate's scale") {
    for_cases([](draws& d) {
        const int E = d.integer(1, 12), K = d.integer(1, E);
        auto m = draw_model(d, E, K, [](const auto& gate) {
                     return requires { gate.scale; };
                 }).model;
        m.config.shared_experts = 0;
        m.residual = guild::residual::none;
        const auto w = guild::random_weights<token_model, float>(d.seed(), m);
        auto louder = w;
        std::visit(
            [](auto& gate) {
                if constexpr (requires { gate.scale; }) gate.scale *= 4;
            },
            louder.model.gate.one);
        const auto token = d.tokens(d.integer(1, 9));
        const fast a(fast_layer(w), token), b(fast_layer(louder), token);
        bool same = true;  // a power of two: in every bit
        for (long t = 0; t < a.y.rows(); ++t)
            for (long h = 0; h < a.y.cols(); ++h) same = same && b.y(t, h) == 4 * a.y(t, h) && b.inferred(t, h) == b.y(t, h);
        REQUIRE(same);
    });
}

TEST_CASE("backward is linear in dy") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        const exact_layer layer(w);
        exact o(layer, d.tokens(d.integer(1, 9)), {.seed = d.seed(), .training = d.chance(0.5)});
        const double factor[] = {d.normal(), d.normal()};
        std::vector<double> dx[3], gradient[3], dy[3];
        for (int i = 0; i < 3; ++i) {
            for (long j = 0; j < o.dy.rows() * o.dy.cols(); ++j) {
                double& by = o.dy(j / o.dy.cols(), j % o.dy.cols());
                by = i < 2 ? d.normal() : factor[0] * dy[0][static_cast<std::size_t>(j)] + factor[1] * dy[1][static_cast<std::size_t>(j)];
                dy[i].push_back(by);
            }
            guild::zero(o.gradient);
            layer.backward(o.dy, o.dx, o.gradient, o.tape);
            dx[i] = numbers(o.dx);
            gradient[i] = numbers(o.gradient);
        }
        for (auto* by : {dx, gradient}) {
            std::vector<double> sum(by[0].size());
            for (std::size_t j = 0; j < sum.size(); ++j) sum[j] = factor[0] * by[0][j] + factor[1] * by[1][j];
            REQUIRE(far_apart(by[2], sum) <= 1e-12);
        }
        o.dy.fill(0);
        guild::zero(o.gradient);
        layer.backward(o.dy, o.dx, o.gradient, o.tape);
        REQUIRE(numbers(o.dx) == std::vector<double>(dx[0].size()));
        REQUIRE(numbers(o.gradient) == std::vector<double>(gradient[0].size()));
    });
}

TEST_CASE("gradients of parameters accumulate, dx does not") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        const exact_layer layer(w);
        exact o(layer, d.tokens(d.integer(1, 9)));
        auto twice = numbers(o.gradient);
        for (double& g : twice) g *= 2;
        test::matrix<double> dx(o.dx.rows(), o.dx.cols());
        layer.backward(o.dy, dx, o.gradient, o.tape);
        REQUIRE(test::same_bits(dx, o.dx));
        if (o.x.rows() == 1) REQUIRE(numbers(o.gradient) == twice);  // one term in every sum: no rounding
        else REQUIRE(far_apart(numbers(o.gradient), twice) <= 1e-14);
    });
}

TEST_CASE("an expert without tokens has a gradient of zero, and what it holds does not matter") {
    for_cases([](draws& d) {
        auto m = draw_model(d).model;
        auto w = guild::random_weights<token_model, float>(d.seed(), m);
        const fast_layer layer(w);
        const auto token = d.tokens(d.integer(1, 9));
        const fast before(layer, token);
        const auto load = layer.load(before.tape);
        bool zero = true;
        const auto each_idle = [&](auto& network, auto f) {
            for (auto* t : {&network.gate, &network.up, &network.down, &network.gate_bias, &network.up_bias, &network.down_bias}) {
                const std::size_t size = t->size() / static_cast<std::size_t>(m.config.routed_experts);
                for (std::size_t i = 0; i < t->size(); ++i)
                    if (load.count[i / size] == 0) f((*t)[i]);
            }
        };
        each_idle(before.gradient.experts, [&](float g) { zero = zero && g == 0; });
        REQUIRE(zero);
        each_idle(w.experts, [](float& g) { g = std::numeric_limits<float>::quiet_NaN(); });
        const fast after(layer, token);
        REQUIRE(test::same_bits(after.y, before.y));
        REQUIRE(test::same_bits(after.inferred, before.y));
        REQUIRE(test::same_bits(after.dx, before.dx));
        REQUIRE(test::same_gradients(after.gradient, before.gradient));
    });
}

TEST_CASE("a padded token keeps shared network and residual alone, and is not there for the others") {
    for_cases([](draws& d) {
        const auto m = draw_model(d).model;
        const auto w = guild::random_weights<token_model, double>(d.seed(), m);
        const exact_layer layer(w);
        const int T = d.integer(1, 9);
        const auto token = d.tokens(T);
        const auto padded = d.flags(0.4);
        std::vector<long> present;
        for (int t = 0; t < T; ++t)
            if (!padded[static_cast<std::size_t>(t)]) present.push_back(token[static_cast<std::size_t>(t)]);
        const bool training = d.chance(0.5);
        exact all(layer, token, {.padding = {padded.data(), token.size()}, .position = token, .seed = d.seed(), .training = training});
        const exact some(layer, present, {.position = present, .seed = d.seed(), .training = training});
        bool same = true, routed_nowhere = true;
        double far = 0;
        for (long t = 0, at = 0; t < T; ++t) {
            if (!padded[static_cast<std::size_t>(t)]) {
                same = same && same_row(all.y, t, some.y, at) && same_row(all.inferred, t, some.y, at) && same_row(all.dx, t, some.dx, at);
                ++at;
                continue;
            }
            routed_nowhere = routed_nowhere && chosen(all, t).empty();
            std::vector<double> y(static_cast<std::size_t>(all.y.cols()));
            if (m.config.shared_width() > 0) add_network(y, 1, w.shared, 0, m.config.shared_width(), all.x.all().row(t));
            if (m.residual != guild::residual::none)
                for (long h = 0; h < all.y.cols(); ++h) y[static_cast<std::size_t>(h)] += all.x(t, h);
            far = std::max(far, far_apart(y, std::vector<double>(all.y.all().row(t), all.y.all().row(t) + all.y.cols())));
        }
        REQUIRE(same);
        REQUIRE(routed_nowhere);
        REQUIRE(far <= 1e-13);
        REQUIRE(all.gradient.router == some.gradient.router);
        REQUIRE(all.gradient.learned == some.gradient.learned);
        REQUIRE(all.gradient.constant == some.gradient.constant);
        for (auto tensor : {&guild::network_weights<double, double>::gate, &guild::network_weights<double, double>::up,
                            &guild::network_weights<double, double>::down, &guild::network_weights<double, double>::down_bias})
            REQUIRE(all.gradient.experts.*tensor == some.gradient.experts.*tensor);
    });
}
