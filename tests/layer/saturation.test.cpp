#include <support/products.hpp>

#include <guild/guild.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <vector>

// Whole layers: finite y, then finite dx and gradients, whatever in between saturates.

namespace {
using namespace guild;

constexpr config sizes{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_experts = 1, .expert_bias = true};
/// A user's share, without an adjoint.
struct own_share {
    static constexpr bool scores = true;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] = 1 / (1 + guild::exp(-r.score[e])); });
    }
};
struct own_gate {
    constexpr auto stages() const { return pipeline{own_share{}, top_k{}, weigh{unit_sum{}}}; }
};
struct gpt : model<sizes, deepseek_v3_gate{.groups = 2, .keep = 1}, clamped_swiglu{}, gated_shared{}, z_loss{}, sequence_loss{}> {};
struct gemma : model<sizes, gemma4_gate{}, geglu_tanh{}, guild::passive{.identity = 1, .blend = 1}, importance_loss{}> {};
struct ink : model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_experts = 2}, inkling_gate{.shared = 2}, swiglu{},
                   residual::complement> {};
struct tutel : model<sizes, cosine_gate{.dimension = 6}, geglu{}, mutual_information_loss{}, orthogonality_loss{}> {};
struct own : model<sizes, own_gate{}, relu_squared{}, gated_shared{}> {};

/// Activations of a user's own whose slopes have poles, and numbers of policies that float does not reach: no bound at all.
struct root {
    static constexpr int inputs = 2;
    template <class S> S operator()(S g, S u) const { return guild::pow((guild::max)(g, S(0)), S(0.5)) * u + guild::cbrt(g); }
};
struct own_root {
    static constexpr bool scores = true;
    template <class Row> void forward(const auto&, Row& r) const {
        constexpr typename Row::real half(0.5);
        r.each([&](int e) { r.score[e] = guild::pow(r.score[e], half); });
    }
};
struct rooted_gate {
    constexpr auto stages() const { return pipeline{score{softmax{}}, own_root{}, top_k{}}; }
};
struct boundless_gate {
    constexpr auto stages() const { return pipeline{change_logits{soft_cap{1e300}}, score{softmax{}}, top_k{}, weigh{times{1}}}; }
};
struct mixer_gate {
    constexpr auto stages() const { return pipeline{sparse_mixer{1e300}}; }
};
struct silent_gate {
    constexpr auto stages() const { return pipeline{learned_noise{0}, score{softmax{}}, top_k{}}; }
};
struct divided_gate {
    static constexpr bool weighs_shared = true;
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, top_k{}, joint_shared{1, 2.5}}; }
};
struct rooted : model<sizes, rooted_gate{}, root{}> {};
struct boundless : model<sizes, boundless_gate{}, clamped_swiglu{.limit = 1e300, .alpha = 1e39, .offset = 0}> {};
struct mixer : model<sizes, mixer_gate{}> {};
struct silent : model<sizes, silent_gate{}, noisy_load_loss{.noise = {.floor = 0}}> {};
struct divided : model<config{.hidden = 5, .expert_hidden = 4, .routed_experts = 4, .top_k = 1, .shared_experts = 1}, divided_gate{}> {};

/// Sizes of x, of the router, and of what stands before the activation.
struct scale {
    double x = 1, router = 1, gate = 1;
};
template <class Model, class Backend, class S> void holds(const scale& by) {
    constexpr long T = 6, H = Model::config.hidden;
    auto w = convert<S>(random_weights<Model, float>(2));
    const auto times = [](auto& v, double f) {
        for (auto& x : v) x = static_cast<S>(static_cast<double>(x) * f);
    };
    times(w.router, by.router), times(w.shared_gate, by.router), times(w.constant, by.router);
    times(w.experts.gate.empty() ? w.experts.up : w.experts.gate, by.gate), times(w.shared.gate.empty() ? w.shared.up : w.shared.gate, by.gate);
    weights<Model, S> grad;
    std::vector<S> x, dy, y(T * H), dx(T * H);
    for (long i = 0; i < T * H; ++i) {
        x.push_back(static_cast<S>(by.x * normal(5, 0, 0, i) * (i / H == 2 ? 0 : 1)));  // a token of zeros among them
        dy.push_back(static_cast<S>(normal(5, 1, 0, i)));
    }
    const layer<Model, S, Backend> l(w);
    tape<S> tp;
    l.forward({x.data(), T, H}, {y.data(), T, H}, tp, {.training = true});
    const bool finite = std::all_of(y.begin(), y.end(), [](S v) { return is_finite(v); }) && is_finite(l.loss(tp));
    if (!finite) return;
    l.backward({dy.data(), T, H}, {dx.data(), T, H}, grad, tp);
    CAPTURE(by.x);
    CAPTURE(by.router);
    CAPTURE(by.gate);
    for (const S v : dx) CHECK(is_finite(v));
    each_tensor(
        [](const char* name, const auto& t) {
            CAPTURE(name);
            for (const S v : t) CHECK(is_finite(v));
        },
        grad);
}
template <class Model, class S> void everywhere() {
    const double far = std::is_same_v<S, float> ? 1 : 8;  // powers of ten
    for (const double e : {-30., -18., -9., 0., 1., 2., 3., 6., 12., 15.})
        for (const double sign : {1., -1.}) {
            const double m = sign * std::pow(10, e * (e < 0 || e > 3 ? far : 1));
            for (const scale& by : {scale{.x = m}, scale{.router = m}, scale{.gate = m}, scale{.router = 100, .gate = m}}) {
                holds<Model, backend::reference, S>(by);
                holds<Model, backend::eigen<>, S>(by);
            }
        }
}
}  // namespace

TEST_CASE_TEMPLATE("saturation: a layer whose y is finite has finite gradients", Model, gpt, gemma, ink, tutel, own, rooted, boundless, mixer, silent,
                   divided) {
    everywhere<Model, float>();
    everywhere<Model, double>();
}

namespace {
/// What a layer gives for x = 0, 0, 1/5 .. and 1/5 .., whose logits are 0, 0, `router` and `router`; of rows of the router before `first`, 0.
template <class Model> struct found {
    std::vector<float> y = std::vector<float>(20), dx = y;
    tape<float> tp;
    weights<Model> gradient;

    explicit found(float router, long first = 0) {
        auto w = random_weights<Model>(1);
        for (long i = 0; i < static_cast<long>(w.router.size()); ++i) w.router[static_cast<std::size_t>(i)] = i < first * 5 ? 0 : router;
        const layer l(w);
        std::vector<float> x(20, 0.F);
        for (std::size_t i = 10; i < 20; ++i) x[i] = 1.F / 5;
        l.forward({x.data(), 4, 5}, {y.data(), 4, 5}, tp, {.training = first > 0});
        l.backward({y.data(), 4, 5}, {dx.data(), 4, 5}, gradient, tp);
    }
    bool finite() const {
        const auto all = [](const auto& v) { return std::all_of(v.begin(), v.end(), [](float f) { return is_finite(f); }); };
        return all(y) && all(dx) && all(gradient.router);
    }
};
}  // namespace

TEST_CASE("saturation: bounds that float does not reach are none, and quotients that are numbers are found") {
    CHECK(found<boundless>(0).finite());
    CHECK(found<boundless>(1).finite());
    CHECK(found<mixer>(0).tp.gate.choice.weight[0] == 0.25F);  // of four equal logits none is out of reach
    for (const float at : {-80.F, -87.F, -88.3F, -88.6F, -100.F, -103.F}) {
        CAPTURE(at);
        CHECK(found<divided>(at).finite());
    }
    for (const float at : {-80.F, -87.F, -90.F, -95.F, -100.F, -103.F}) {  // of the deviations alone, which vanish
        CAPTURE(at);
        CHECK(found<silent>(at, 4).finite());
    }
}
