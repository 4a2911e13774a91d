#pragma once
#include <support/products.hpp>

#include <golden/report.hpp>

#include <map>

/// A whole layer against a file of `layers`: choice, scores, weights, outputs, gradients and losses, in float and double, by the plain
/// loops and by Eigen's products.
namespace golden {

using namespace guild;
using numbers = std::vector<double>;

/// The model of a case. The generated struct that derives from it has the losses of the file: `loss_names`, and each_loss, which gives
/// the one that `loss` says (-1: none).
template <config C, auto... Policies> struct layer_case : guild::model<C, Policies...> {
    static constexpr bool has_losses = true;
    int loss = -1;
};

/// The plain loops or Eigen's products, chosen at run time.
struct either : backend::eigen<> {
    bool loops;
    explicit either(bool l = false) : loops(l) {}
    const either& exact() const { return *this; }
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

/// What a layer gave, by the names of the files.
struct outcome {
    std::vector<int> expert{};
    std::vector<bool> mask{}, kept{};
    std::map<std::string, numbers> tensors{};
};

/// What a file says beside x.
class side_of_file {
public:
    explicit side_of_file(const file& f);
    guild::batch batch() const { return {.token_id = id_, .sequence = sequence_, .training = !draws_.empty(), .draws = draws_}; }

private:
    void give(int stream, numbers values, int count);
    std::vector<int> id_, sequence_;
    numbers values_;
    std::vector<given_draws> draws_;
};

/// Where the files keep a tensor of weights: one after the other in tensors of their own, the first after `before` numbers that belong to
/// experts without weights.
struct place_in_file {
    std::vector<std::string> tensors;
    long before = 0;
};
place_in_file find_weights(const file& f, const std::string& name, const passive& p, long hidden);
numbers read_weights(const file& f, const place_in_file& at);
/// Adds the parts of a gradient to o.tensors as PREFIX + name in the file.
void store_gradient(const file& f, const place_in_file& at, const std::string& prefix, const numbers& gradient, outcome& o);
/// Compares what the file expects with what the layer gave: ids exactly.
void compare_ids(const file& f, const outcome& found, report& r);
/// Every tensor of the file is in one of the lists.
void all_used(const file& f, const std::vector<std::string>& used, report& r);

template <class S> numbers wide(const S* v, long n) { return {v, v + n}; }
template <class S> void compare_tensors(const file& f, const outcome& found, report& r) {
    for (const auto& [name, values] : found.tensors) {
        const bool optional = name == "clean_logits" || name.starts_with("dloss.");
        if (f.has(name)) r.compare<S>(name, values, f.numbers(name), f.number(std::is_same_v<S, float> ? "tolerance_float32" : "tolerance_float64"));
        else r.check(optional, "tensor '", name, "' is missing");
    }
}

template <class S, class Model> class layer_run {
public:
    layer_run(const file& f, bool loops)
        : f_(f), w_(Model{}), T_(f.integer("tokens")), x_(f.numbers_as<S>("x")), backend_(loops), side_(f), given_(side_.batch()) {
        each_tensor(
            [&](const char* name, auto& t) {
                if (t.empty()) return;
                const auto at = find_weights(f_, name, Model::passive, H);
                const numbers values = read_weights(f_, at);
                if (values.size() != t.size()) f_.fail("tensor '" + at.tensors[0] + "' has not the size that this model gives it");
                t.assign(values.begin(), values.end());
                used_.insert(used_.end(), at.tensors.begin(), at.tensors.end());
            },
            w_);
        if (f.text("kind") == "given") w_.table = f.integers("given.expert");
        if (!w_.state.empty()) w_.state = f.numbers_as<S>("router.selection_bias");
    }

    void compare(report& r) {
        const auto step = [&](const outcome& o) {
            compare_ids(f_, o, r);
            compare_tensors<S>(f_, o, r);
            for (const auto& [name, values] : o.tensors) used_.push_back(name);
        };
        step(plain());
        if constexpr (std::same_as<S, float>)
            if (!backend_.loops) packed(r);
        for (std::size_t i = 0; i < std::size(Model::loss_names); ++i) step(loss(Model::loss_names[i], static_cast<int>(i)));
        if constexpr (requires { Model::likelihood; }) step(likelihood());
        if constexpr (!std::same_as<std::remove_cvref_t<decltype(Model::balancer)>, no_balance>) trajectory(r);
        all_used(f_, used_, r);
    }

private:
    static constexpr long H = Model::config.hidden, E = Model::experts(), W = decltype(Model::extent())::slots, X = decltype(Model::extent())::extra;
    using stages = decltype(Model::stages());
    using layer = guild::layer<Model, S, either>;

    void forward(const layer& one, tape<S>& tp) {
        y_.assign(x_.size(), S(0));
        one.forward({x_.data(), T_, H}, {y_.data(), T_, H}, tp, given_);
    }
    /// dx and the gradients of all weights, as PREFIX...
    void backward(const auto& run, const std::string& prefix, const char* dx_name, outcome& o) {
        std::vector<S> dx(x_.size());
        weights<Model, S> grad(Model{});
        run(view<S>(dx.data(), T_, H), grad);
        o.tensors[dx_name] = wide(dx.data(), T_ * H);
        each_tensor(
            [&](const char* name, const auto& t) {
                if (!t.empty()) store_gradient(f_, find_weights(f_, name, Model::passive, H), prefix, numbers(t.begin(), t.end()), o);
            },
            grad);
    }
    outcome chosen(tape<S>& tp) {
        outcome o;
        if (f_.has("mask")) {  // any number of experts: the set of (token, expert) and the weight of each
            numbers gates(static_cast<std::size_t>(T_ * E));
            o.mask.resize(gates.size());
            for (long i = 0; i < T_ * W; ++i)
                if (const int e = tp.gate.choice.expert[i]; e != no_expert) {
                    o.mask[static_cast<std::size_t>(i / W * E + e)] = true;
                    gates[static_cast<std::size_t>(i / W * E + e)] = static_cast<double>(tp.gate.choice.weight[i]);
                }
            o.tensors["gates"] = gates;
        } else {
            const int* const asked = tp.gate.template asked<stages>();
            o.expert.assign(asked, asked + T_ * W);
            for (long i = 0; i < T_ * W; ++i) o.kept.push_back(tp.gate.choice.expert[i] != no_expert);
            o.tensors["weight"] = wide(tp.gate.choice.weight.data(), T_ * W);
        }
        return o;
    }

    outcome plain() {
        const layer one{w_, backend_};
        tape<S> tp;
        forward(one, tp);
        outcome o = chosen(tp);
        numbers clean;
        for (long t = 0; t < T_; ++t)
            for (long e = 0; e < E; ++e) clean.push_back(static_cast<double>(tp.logits[t * (E + X) + e]));
        o.tensors["clean_logits"] = clean;
        o.tensors["logits"] = wide(tp.scored_logits.data(), T_ * E);
        if (stages::scored > stages::logits_end || f_.text("score") == "identity") o.tensors["scores"] = wide(tp.scores.data(), T_ * E);
        else used_.push_back("scores");  // a gate that ranks logits makes no scores of all experts
        if constexpr (gate::weighs_shared<Model>) o.tensors["shared_weight"] = wide(tp.gate.shared.data(), T_ * X);
        o.tensors["y"] = wide(y_.data(), T_ * H);
        const auto dy = f_.numbers_as<S>("dy");
        backward([&](view<S> dx, auto& grad) { one.backward({dy.data(), T_, H}, dx, grad, tp); }, "d.", "dx", o);
        return o;
    }
    /// Inference over packed weights: all tokens at once, and one by one where a token's experts do not depend on the others.
    void packed(report& r) {
        const packed_weights<Model, float, backend::eigen<>> packed(w_);
        const guild::layer one(packed);
        workspace<float> ws;
        const long alone = stages::across < stages::size || !given_.sequence.empty() || !given_.draws.empty() ? T_ : 1;
        for (const long rows : {T_, alone}) {
            std::fill(y_.begin(), y_.end(), 0.f);
            for (long t = 0; t < T_; t += rows) {
                batch side = given_;
                if (rows < T_) side.token_id = side.token_id.subspan(static_cast<std::size_t>(t), 1);
                one.forward({x_.data() + t * H, rows, H}, {y_.data() + t * H, rows, H}, ws, side);
            }
            r.compare<float>(rows == 1 ? "y, packed, token by token" : "y, packed", wide(y_.data(), T_ * H), f_.numbers("y"),
                             f_.number("tolerance_float32"));
        }
    }
    outcome loss(const std::string& name, int index) {
        w_.model.loss = index;
        const layer one{w_, backend_};
        tape<S> tp;
        forward(one, tp);
        outcome o = chosen(tp);
        const std::vector<S> dy(x_.size());
        o.tensors["loss." + name] = {static_cast<double>(one.loss(tp))};
        backward(
            [&](view<S> dx, auto& grad) {
                one.backward({dy.data(), T_, H}, dx, grad, tp);
            },
            "dloss." + name + ".", ("dloss." + name + ".x").c_str(), o);
        // By the logits as scored: what the layer keeps is by the logits of the router, the same where a stage between them only shifts.
        if (X == 0 && (stages::logits_end == 0 || Model::stages().learned(E) == E))
            o.tensors["dloss." + name + ".logits"] = wide(tp.d_logits.data(), T_ * E);
        else used_.push_back("dloss." + name + ".logits");
        w_.model.loss = -1;
        return o;
    }
    outcome likelihood() {
        const layer one{w_, backend_};
        tape<S> tp;
        forward(one, tp);
        outcome o = chosen(tp);
        const auto target = f_.numbers_as<S>("target");
        o.tensors["loss.likelihood"] = {static_cast<double>(mixture_likelihood<S>({target.data(), T_, H}, tp))};
        backward([&](view<S> dx, auto& grad) { one.backward(dx, grad, tp); }, "dloss.likelihood.", "dloss.likelihood.x", o);
        o.tensors["dloss.likelihood.logits"] = wide(tp.d_logits.data(), T_ * E);
        return o;
    }
    /// Batch after batch moves the bias.
    void trajectory(report& r) {
        const long K = Model::config.top_k, steps = f_.shape("trajectory.x").at(0);
        const auto x = f_.numbers_as<S>("trajectory.x");
        const numbers bias = f_.numbers("trajectory.bias");
        const auto expert = f_.integers("trajectory.expert"), count = f_.integers("trajectory.count");
        std::vector<S> y(x_.size());
        weights<Model, S> w = w_;
        workspace<S> ws;
        const auto same = [](const auto& all, long step, const auto* found, long n) {
            return static_cast<long>(all.size()) >= (step + 1) * n && std::equal(found, found + n, all.begin() + step * n);
        };
        std::copy_n(bias.begin(), E, w.state.begin());
        for (long i = 0; i < steps; ++i) {
            const layer one{w, backend_};
            one.forward({x.data() + i * T_ * H, T_, H}, {y.data(), T_, H}, ws);
            r.check(same(bias, i, w.state.data(), E), "step ", i, " of the trajectory: another bias");
            r.check(same(expert, i, ws.gate.choice.expert.data(), T_ * K), "step ", i, " of the trajectory: other experts");
            r.check(same(count, i, one.load(ws).count.data(), E), "step ", i, " of the trajectory: other counts");
            rebalance(w, one.load(ws));
        }
        r.check(same(bias, steps, w.state.data(), E), "after the trajectory: another bias");
        for (const char* const name : {"x", "bias", "expert", "count"}) used_.push_back(std::string("trajectory.") + name);
    }

    const file& f_;
    weights<Model, S> w_;
    long T_;
    std::vector<S> x_, y_;
    either backend_;
    side_of_file side_;
    batch given_;
    std::vector<std::string> used_{"x",     "dy",    "expert",       "mask",  "kept", "router.selection_bias", "sequence.offset",
                                   "noise", "draws", "given.expert", "target"};
};

template <class Model> void run_layer(const file& f, report& r) {
    const auto both = [&]<class S>(S) {
        for (const bool loops : {true, false}) {
            r.in(std::string(std::is_same_v<S, float> ? "float" : "double") + (loops ? ", reference" : ", eigen"));
            layer_run<S, Model>(f, loops).compare(r);
        }
    };
    both(double{});
    both(float{});
}

}  // namespace golden
