#include <support/products.hpp>

#include <doctest/doctest.h>
#include <support/any_gate.hpp>
#include <support/golden.hpp>

#include <map>
#include <string>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;

/// What a layer gave, by the names of the files.
struct outcome {
    std::vector<int> expert;
    std::map<std::string, numbers> tensors{};
};
/// What the files call a tensor of weights.
std::string in_file(const std::string& name) {
    if (name == "router") return "router.weight";
    if (name == "shared_gate") return "shared.router.weight";
    return name;
}
/// Compares everything that the file expects and the layer gave, and requires that it gave all of it. Losses one by one.
void compare(const golden::file& f, const outcome& found, const char* tolerance) {
    CHECK(found.expert == f.integers("expert"));
    for (const auto& [name, values] : found.tensors) {
        const std::string& tensor = name;
        CAPTURE(tensor);
        CHECK(golden::deviation(values.data(), values.size(), f.numbers(tensor)) <= f.number(tolerance));
    }
}
/// Every tensor of the file is given to the layer or compared with what it gave.
void all_used(const golden::file& f, const std::map<std::string, numbers>& inputs, const outcome& found) {
    static const std::vector<std::string> others{"dy",
                                                 "x",
                                                 "expert",
                                                 "scores",
                                                 "router.selection_bias",
                                                 "sequence.offset",
                                                 "trajectory.x",
                                                 "trajectory.bias",
                                                 "trajectory.expert",
                                                 "trajectory.count"};
    for (const std::string& name : f.tensors())
        if (!inputs.contains(name) && !found.tensors.contains(name) && std::find(others.begin(), others.end(), name) == others.end() &&
            name.rfind("loss.", 0) != 0 && name.rfind("dloss.", 0) != 0)
            f.fail("tensor '" + name + "' belongs to no part of this model");
}
/// One step of a file's trajectory: batch after batch moves the bias.
void compare_step(const golden::file& f, long i, const numbers& bias, const std::vector<int>& expert, const std::vector<long>& count) {
    const auto step = [&](const auto& all, const auto& found) {
        const long size = static_cast<long>(found.size());
        return static_cast<long>(all.size()) >= (i + 1) * size && std::equal(found.begin(), found.end(), all.begin() + i * size);
    };
    CAPTURE(i);
    CHECK(step(f.numbers("trajectory.bias"), bias));
    CHECK((expert.empty() || step(f.integers("trajectory.expert"), expert)));
    CHECK((count.empty() || step(f.integers("trajectory.count"), count)));
}

using gate_of_file = any_gate<deepseek_moe_gate, deepseek_v2_gate, deepseek_v2_lite_gate, deepseek_v3_gate, mixtral_gate, qwen3_gate, switch_gate>;

template <class Activation, class Shared> struct model_of_file : dynamic_model<gate_of_file, Activation, Shared, 64> {
    static constexpr bool has_losses = true;
    std::string loss;  ///< the one that is on, or none
    bias_balance balancer{};

    template <class F> void each_loss(F f) const {
        if (loss == "expert_level") f(expert_loss{.weight = 1});
        if (loss == "switch") f(switch_loss{.weight = 1});
        if (loss == "z") f(z_loss{.weight = 1});
    }
};
const std::vector<std::string> losses_of_library{"expert_level", "switch", "z"};

/// The plain loops or Eigen's products, chosen at run time.
struct either : backend::eigen<> {
    bool loops;
    explicit either(bool l = false) : loops(l) {}
    template <class S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        if (loops) reference::product(g, a, w, c);
        else eigen::product(g, a, w, c);
    }
    template <class S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        if (loops) reference::input_gradient(g, dc, w, da, mode);
        else eigen::input_gradient(g, dc, w, da, mode);
    }
    template <class S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        if (loops) reference::weight_gradient(g, dc, a, dw);
        else eigen::weight_gradient(g, dc, a, dw);
    }
};

template <class S> numbers wide(const S* v, long n) { return {v, v + n}; }

/// Runs the layer of a file: forward and backward of dy, or, for a loss, of nothing else.
template <class S, class Model> outcome run(const golden::file& f, const weights<Model, S>& w, bool loops) {
    const Model& m = w.model;
    const long T = f.integer("tokens"), H = m.config.hidden, K = m.config.top_k, E = m.config.routed_experts;
    const auto x = f.numbers_as<S>("x"), dy = m.loss.empty() ? f.numbers_as<S>("dy") : std::vector<S>(x.size());
    std::vector<S> y(x.size()), dx(x.size());
    weights<Model, S> grad(m);
    tape<S> tp;
    const layer<Model, S, either> one{w, either(loops)};
    one.forward({x.data(), T, H}, {y.data(), T, H}, tp);
    one.backward({dy.data(), T, H}, {dx.data(), T, H}, grad, tp);

    outcome o{{tp.gate.choice.expert.data(), tp.gate.choice.expert.data() + T * K}};
    if (!m.loss.empty()) {
        o.tensors["loss." + m.loss] = {static_cast<double>(one.loss(tp))};
        o.tensors["dloss." + m.loss + ".logits"] = wide(tp.d_logits.data(), T * E);
        o.tensors["dloss." + m.loss + ".router.weight"] = wide(grad.router.data(), E * H);
        return o;
    }
    o.tensors["weight"] = wide(tp.gate.choice.weight.data(), T * K);
    o.tensors["logits"] = wide(tp.logits.data(), T * E);
    if (m.stages().has_scores()) o.tensors["scores"] = wide(tp.scores.data(), T * E);
    o.tensors["y"] = wide(y.data(), T * H);
    o.tensors["dx"] = wide(dx.data(), T * H);
    each_tensor(
        [&](const char* name, const auto& t) {
            if (!t.empty()) o.tensors["d." + in_file(name)] = numbers(t.begin(), t.end());
        },
        grad);
    return o;
}
template <class S, class Model> void run_trajectory(const golden::file& f, weights<Model, S> w, bool loops) {
    const long T = f.integer("tokens"), H = w.model.config.hidden, K = w.model.config.top_k, steps = f.shape("trajectory.x").at(0);
    const auto x = f.numbers_as<S>("trajectory.x");
    std::vector<S> y(static_cast<std::size_t>(T * H));
    w.model.balancer.rate = f.number("bias_update_rate");
    w.state = f.numbers_as<S>("trajectory.bias");
    w.state.resize(static_cast<std::size_t>(w.model.config.routed_experts));
    workspace<S> ws;
    for (long i = 0; i < steps; ++i) {
        const layer<Model, S, either> one{w, either(loops)};
        one.forward({x.data() + i * T * H, T, H}, {y.data(), T, H}, ws);
        const auto* const expert = ws.gate.choice.expert.data();
        compare_step(f, i, numbers(w.state.begin(), w.state.end()), {expert, expert + T * K}, one.load(ws).count);
        rebalance(w, one.load(ws));
    }
    compare_step(f, steps, numbers(w.state.begin(), w.state.end()), {}, {});
}
template <class S, class Activation = swiglu, class Shared = plain_shared> void compare(const golden::file& f, const gate_of_file& gate) {
    using Model = model_of_file<Activation, Shared>;
    Model m;
    m.config = {.hidden = f.integer("hidden"),
                .expert_hidden = f.integer("expert_hidden"),
                .routed_experts = f.integer("routed_experts"),
                .top_k = f.integer("top_k"),
                .shared_experts = f.integer("shared_experts"),
                .shared_hidden = f.integer("shared_hidden")};
    m.gate = gate;
    weights<Model, S> w(m);
    std::map<std::string, numbers> inputs;
    each_tensor(
        [&](const char* name, auto& t) {
            if (t.empty()) return;
            const numbers& values = inputs[in_file(name)] = f.numbers(in_file(name));
            if (values.size() != t.size()) f.fail("tensor '" + in_file(name) + "' has not the size that this model gives it");
            t.assign(values.begin(), values.end());
        },
        w);
    if (!w.state.empty()) w.state = f.numbers_as<S>("router.selection_bias");

    const char* const tolerance = std::is_same_v<S, float> ? "tolerance_float32" : "tolerance_float64";
    for (const bool loops : {true, false}) {
        CAPTURE(loops);
        w.model.loss.clear();
        const outcome o = run<S>(f, w, loops);
        compare(f, o, tolerance);
        all_used(f, inputs, o);
        for (const std::string& loss : f.words("losses"))
            if (std::find(losses_of_library.begin(), losses_of_library.end(), loss) != losses_of_library.end()) {
                w.model.loss = loss;
                compare(f, run<S>(f, w, loops), tolerance);
            }
        if (f.has("trajectory.x")) run_trajectory<S>(f, w, loops);
    }
}
/// The gate that a file's router is.
template <class S> void compare(const golden::file& f) {
    const std::string router = f.text("router");
    const int groups = f.integer("groups"), keep = f.integer("top_groups");
    const double scale = f.number("scale");
    if (router == "deepseek_moe") compare<S>(f, {deepseek_moe_gate{}});
    else if (router == "qwen2_moe") compare<S, swiglu, gated_shared>(f, {deepseek_moe_gate{}});
    else if (router == "deepseek_v2") compare<S>(f, {deepseek_v2_gate{groups, keep, scale}});
    else if (router == "deepseek_v2_lite") compare<S>(f, {deepseek_v2_lite_gate{scale}});
    else if (router == "deepseek_v3") compare<S>(f, {deepseek_v3_gate{groups, keep, scale}});
    else if (router == "mixtral" || router == "mixtral_top_k_first") compare<S>(f, {mixtral_gate{}});
    else if (router == "qwen3_moe") compare<S>(f, {qwen3_gate{}});
    else if (router == "switch") compare<S, relu>(f, {switch_gate{}});
    else f.fail("router '" + router + "' is none that this test knows");
}
}  // namespace

TEST_CASE_TEMPLATE("golden: whole layers, forward, backward and losses", S, float, double) {
    for (const golden::file& f : golden::files("layers")) {
        CAPTURE(f.name());
        compare<S>(f);
    }
}
