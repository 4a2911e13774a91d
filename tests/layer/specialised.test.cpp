#include <support/gradient.hpp>

// The gate that specialises, with the losses that go with it: gradients by everything, the router's rows included, and a plain transcription.

namespace {
using namespace guild;

constexpr config small{.hidden = 4, .expert_hidden = 3, .routed_experts = 6, .top_k = 2};
struct specialised_layer : model<small, specialised_gate{.strength = 0.3, .sharpness = 2.5}, orthogonality_loss{.weight = 0.7},
                                 mutual_information_loss{.weight = 0.4}, load_average{.decay = 0.5}> {};
struct scheduled_layer : model<small, specialised_gate{}, scheduled{orthogonality_loss{.weight = 0.7}, warm_up{.steps = 10}},
                               scheduled{z_loss{.weight = 0.4}, cosine_decay{.steps = 10}}, load_average{}> {};

struct proportional_layer : model<small, deepseek_v3_gate{.groups = 1, .keep = 1}, proportional_bias_balance{.rate = 0.125}> {};

/// Random weights, and shares of the experts that have been busy to different degrees.
template <class Model> weights<Model, double> busy() {
    auto w = random_weights<Model, double>(3);
    for (std::size_t e = 0; e < w.state.size(); ++e) w.state[e] = 0.07 * static_cast<double>(e);
    return w;
}
std::vector<double> numbers(long n) {
    std::vector<double> x(static_cast<std::size_t>(n));
    for (long i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = 2 * normal(5, 0, 0, i);
    return x;
}
}  // namespace

TEST_CASE("gradients of specialised routing with its losses") {
    const bool padding[] = {false, false, true, false, false, false, true};
    for (const long T : {0, 1, 7}) test::check_gradients(busy<specialised_layer>(), numbers(T * 4));
    test::check_gradients(busy<specialised_layer>(), numbers(7 * 4), {.padding = padding});
    for (const long step : {0, 3, 20}) test::check_gradients(busy<scheduled_layer>(), numbers(7 * 4), {.step = step});
}

TEST_CASE("specialised routing: choice, weights and losses written out") {
    const auto w = busy<specialised_layer>();
    const layer<specialised_layer, double, backend::reference> l(w);
    const long T = 9, E = 6, H = 4;
    const auto x = numbers(T * H);
    std::vector<double> y(x.size());
    tape<double> tp;
    l.forward({x.data(), T, H}, {y.data(), T, H}, tp);
    double mean[6] = {}, certain = 0;
    for (long t = 0; t < T; ++t) {
        double p[6], key[6], sum = 0;
        for (long e = 0; e < E; ++e) {
            double dot = 0;
            for (long h = 0; h < H; ++h) dot += w.router[static_cast<std::size_t>(e * H + h)] * x[static_cast<std::size_t>(t * H + h)];
            sum += p[e] = std::exp(dot);
        }
        for (long e = 0; e < E; ++e) {
            p[e] /= sum;
            key[e] = p[e] - 0.3 * std::pow(0.07 * static_cast<double>(e) * 6 / 1.25, 2.5);
            mean[e] += p[e] / static_cast<double>(T);
            certain += p[e] * std::log(p[e]) / static_cast<double>(T);
        }
        const auto best = std::max_element(key, key + E) - key;
        key[best] = -1e9;
        const auto second = std::max_element(key, key + E) - key;
        const auto& c = tp.gate.choice;
        CHECK(c.expert[2 * t] == best);
        CHECK(c.expert[2 * t + 1] == second);
        CHECK(std::abs(c.weight[2 * t] - p[best] / (p[best] + p[second])) < 1e-14);
    }
    double information = certain, cosines = 0;
    for (const double m : mean) information -= m * std::log(m);
    for (long a = 0; a < E; ++a)
        for (long b = 0; b < a; ++b) {
            double ab = 0, aa = 0, bb = 0;
            for (long h = 0; h < H; ++h) {
                const double u = w.router[static_cast<std::size_t>(a * H + h)], v = w.router[static_cast<std::size_t>(b * H + h)];
                ab += u * v, aa += u * u, bb += v * v;
            }
            cosines += ab * ab / (aa * bb);
        }
    CHECK(std::abs(l.loss(tp) - (0.7 * cosines - 0.4 * information)) < 1e-13);
}

TEST_CASE("specialised routing: rebalance moves the shares, and a favourite loses rows") {
    auto w = busy<specialised_layer>();
    std::fill(w.state.begin(), w.state.end(), 0.);
    std::fill(w.router.begin(), w.router.end(), 0.);
    for (std::size_t e = 0; e < 6; ++e) w.router[e * 4] = e == 4 ? 0.4 : 0.1 * static_cast<double>(e);  // 4 is everybody's, then 5
    const layer<specialised_layer, double, backend::reference> l(w);
    std::vector<double> x(8 * 4, 1.), y(x.size());
    workspace<double> ws;
    std::vector<long> rows(6);
    for (int batch = 0; batch < 12; ++batch) {
        l.forward({x.data(), 8, 4}, {y.data(), 8, 4}, ws);
        const load now = l.load(ws);
        rebalance(w, now);
        for (std::size_t e = 0; e < 6; ++e) rows[e] += now.count[e] > 0;
        if (batch == 0) {
            CHECK(w.state[4] == 0.25);  // half of the rows, half forgotten
            CHECK(w.state[5] == 0.25);
            CHECK(w.state[0] == 0);
        }
    }
    for (std::size_t e = 0; e < 6; ++e) CHECK(rows[e] >= 2);
}

TEST_CASE("rebalance in proportion to the violation") {
    auto w = random_weights<proportional_layer, double>(3);
    std::fill(w.state.begin(), w.state.end(), 0.);
    rebalance(w, load{{9, 3, 0, 6, 0, 0}, 18});  // mean 3
    CHECK(w.state == std::vector<double>{-0.25, 0, 0.125, -0.125, 0.125, 0.125});
}
