#include <support/gradient.hpp>

// Cosine routers: more and fewer dimensions than experts, with and without bias, a temperature at its bound, and a plain transcription.

namespace {
using namespace guild;

constexpr config few{.hidden = 5, .expert_hidden = 3, .routed_experts = 4, .top_k = 2};
constexpr config many{.hidden = 4, .expert_hidden = 3, .routed_experts = 7, .top_k = 1};
struct tutel_layer : model<few, cosine_gate{.dimension = 9}, expert_loss{.weight = 0.5}, z_loss{.weight = 0.2}> {};
struct square_layer : model<few, cosine_gate{.dimension = 4}, passive{.zero = 1, .identity = 1}, mutual_information_loss{.weight = 0.3}> {};
struct xmoe_layer : model<many, xmoe_gate{.dimension = 3}, z_loss{.weight = 0.2}> {};

template <class Model> constexpr int dimension = Model::gate.dimension;

/// What the gate should give token x [H]: the softmax of its logits.
template <class Model> std::vector<double> expected(const weights<Model, double>& w, const double* x, bool bias) {
    const int E = Model::experts(), d = dimension<Model>, H = Model::config.hidden;
    const auto learned = [&](int i) { return w.learned[static_cast<std::size_t>(i)]; };
    std::vector<double> p, logit;
    double pp = 0, sum = 0;
    for (int i = 0; i < d; ++i) {
        double dot = bias ? learned(E * d + 1 + i) : 0;
        for (int h = 0; h < H; ++h) dot += w.router[static_cast<std::size_t>(i * H + h)] * x[h];
        p.push_back(dot);
        pp += dot * dot;
    }
    for (int e = 0; e < E; ++e) {
        double dot = 0, vv = 0;
        for (int i = 0; i < d; ++i) {
            dot += p[static_cast<std::size_t>(i)] * learned(e * d + i);
            vv += learned(e * d + i) * learned(e * d + i);
        }
        logit.push_back(dot / std::sqrt(pp) / std::sqrt(vv) * std::exp(std::min(learned(E * d), std::log(100.))));
        sum += std::exp(logit.back());
    }
    for (double& l : logit) l = std::exp(l) / sum;
    return logit;
}
template <class Model> void matches(weights<Model, double> w, bool bias, double log_scale) {
    const long T = 8, H = Model::config.hidden, K = Model::config.top_k;
    w.learned[static_cast<std::size_t>(Model::experts() * dimension<Model>)] = log_scale;
    std::vector<double> x, y(static_cast<std::size_t>(T * H));
    for (long i = 0; i < T * H; ++i) x.push_back(normal(9, 0, 0, i));
    const layer<Model, double, backend::reference> l(w);
    workspace<double> ws;
    l.forward({x.data(), T, H}, {y.data(), T, H}, ws);
    for (long t = 0; t < T; ++t) {
        const auto s = expected(w, x.data() + t * H, bias);
        std::vector<long> order;
        for (long e = 0; e < Model::experts(); ++e) order.push_back(e);
        std::stable_sort(order.begin(), order.end(), [&](long a, long b) { return s[static_cast<std::size_t>(a)] > s[static_cast<std::size_t>(b)]; });
        double sum = 0;
        for (long k = 0; k < K; ++k) sum += s[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])];
        for (long k = 0; k < K; ++k) {
            const long e = order[static_cast<std::size_t>(k)];
            CHECK(ws.gate.choice.expert[t * K + k] == e);
            CHECK(std::abs(ws.gate.choice.weight[t * K + k] - s[static_cast<std::size_t>(e)] / (K > 1 ? sum : 1)) < 1e-14);
        }
    }
}
}  // namespace

TEST_CASE_TEMPLATE("gradients of cosine routers", Model, tutel_layer, square_layer, xmoe_layer) {
    const bool padding[] = {false, false, true, false, false, false, true};
    for (const long T : {0, 1, 7}) test::check_gradients<Model>(T);
    test::check_gradients<Model>(7, {.padding = padding});
}

TEST_CASE("gradients of a cosine router at its least temperature, over several partial sums") {
    auto w = random_weights<tutel_layer, double>(3);
    w.learned[4 * 9] = 5;  // e^5 > 100
    std::vector<double> x;
    for (long i = 0; i < 5 * 70; ++i) x.push_back(normal(4, 0, 0, i));
    test::check_gradients(w, x, {}, {.entries = 4, .differences = 0});
    const std::vector<double> one(x.begin(), x.begin() + 15);
    test::check_gradients(w, one, {}, {.differences = 0});
}

TEST_CASE("cosine routers written out") {
    for (const double log_scale : {0.7, 5.}) {
        matches(random_weights<tutel_layer, double>(3), true, log_scale);
        matches(random_weights<square_layer, double>(3), true, log_scale);
        matches(random_weights<xmoe_layer, double>(3), false, log_scale);
    }
    CHECK(tutel_layer::extent().extra == 5);
    CHECK(tutel_layer::stages().learned(4) == 4 * 9 + 1 + 9);
    CHECK(xmoe_layer::extent().extra == 0);
    CHECK(xmoe_layer::stages().learned(7) == 7 * 3 + 1);
}

TEST_CASE("a cosine router sees neither the length of x nor that of the embeddings, and a zero vector has cosine 0") {
    auto w = random_weights<xmoe_layer, double>(3);
    std::vector<double> x{0.5, -1, 2, 0.25, 0, 0, 0, 0}, y(8);
    workspace<double> ws;
    const layer<xmoe_layer, double, backend::reference> l(w);
    l.forward({x.data(), 2, 4}, {y.data(), 2, 4}, ws);
    const int chosen = ws.gate.choice.expert[0];
    const double weight = ws.gate.choice.weight[0];
    CHECK(ws.gate.choice.expert[1] == 0);
    CHECK(std::abs(ws.gate.choice.weight[1] - 1. / 7) < 1e-15);
    for (double& v : x) v *= 4;
    for (std::size_t i = 0; i < 7 * 3; ++i) w.learned[i] *= 0.125;
    l.forward({x.data(), 2, 4}, {y.data(), 2, 4}, ws);
    CHECK(ws.gate.choice.expert[0] == chosen);
    CHECK(std::abs(ws.gate.choice.weight[0] - weight) < 1e-15);
    CHECK(!cosine{0}.fits(4, 1));
    CHECK(!cosine{3, false, 0}.fits(4, 1));
}
