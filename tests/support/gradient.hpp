#pragma once
#include <guild/guild.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace test {

/// How many numbers of x and of each tensor are compared (< 0: all of them), and how many of them with central differences too.
/// A random direction through everything is always taken.
struct effort {
    long entries = -1, differences = 3;
};

namespace detail {
/// Number i of a fixed random sequence.
inline double random(int stream, long i) { return 2 * guild::uniform(77, stream, 0, i) - 1; }
inline std::size_t pick(std::size_t n, long i) { return static_cast<std::size_t>(static_cast<double>(n) * guild::uniform(78, 0, 0, i)); }

/// sum dy y over the tokens that are not padding + the losses of one batch, as a function of x and the weights.
template <class Model, class S> struct objective {
    guild::weights<Model, S> w;
    std::vector<S> x, y;
    std::vector<double> dy, given;  ///< given: dy, NaN for padded tokens
    const guild::batch& side;
    guild::tape<S> tape{};

    objective(const guild::weights<Model, double>& from, const std::vector<double>& at, const guild::batch& b)
        : w(from.model), x(at.begin(), at.end()), y(at.size()), dy(at.size()), given(at.size()), side(b) {
        guild::each_tensor([](const char*, auto& to, const auto& t) { to.assign(t.begin(), t.end()); }, w, from);
        w.state = from.state;
        w.table = from.table;
        for (std::size_t i = 0; i < dy.size(); ++i) {
            const bool padded = guild::gate::padded(b, static_cast<long>(i) / H());
            dy[i] = padded ? 0 : random(0, static_cast<long>(i));
            given[i] = padded ? std::numeric_limits<double>::quiet_NaN() : dy[i];
        }
    }
    long H() const { return w.model.config.hidden; }
    long T() const { return static_cast<long>(x.size()) / H(); }
    auto layer() const { return guild::layer<Model, S, guild::backend::reference>(w); }
    S operator()() {
        const auto l = layer();
        l.forward({x.data(), T(), H()}, {y.data(), T(), H()}, tape, side);
        S sum = l.loss(tape);
        for (std::size_t i = 0; i < y.size(); ++i) sum += S(dy[i]) * y[i];
        return sum;
    }
    std::vector<int> choice() const {
        const auto& c = tape.gate.choice;
        return {c.expert.data(), c.expert.data() + c.tokens * c.slots};
    }
    /// f(name, numbers) for x and every tensor, in the order of `gradient`.
    template <class F> void each(F f) {
        f("x", x);
        guild::each_tensor([&](const char* name, auto& t) { f(name, t); }, w);
    }
};

/// dx and the gradients of the weights.
template <class Model> struct gradient {
    guild::weights<Model, double> w;
    std::vector<double> dx;

    explicit gradient(const objective<Model, double>& o) : w(o.w.model), dx(o.x.size(), std::numeric_limits<double>::quiet_NaN()) {}
    void add(objective<Model, double>& o) { o.layer().backward({o.given.data(), o.T(), o.H()}, {dx.data(), o.T(), o.H()}, w, o.tape); }
    std::vector<const std::vector<double>*> all() {
        std::vector<const std::vector<double>*> list{&dx};
        guild::each_tensor([&](const char*, auto& t) { list.push_back(&t); }, w);
        return list;
    }
    double largest() {
        double most = std::numeric_limits<double>::min();
        for (const auto* t : all())
            for (double g : *t) most = std::max(most, std::abs(g));
        return most;
    }
};

/// max |a - b|; infinity where one is NaN.
inline void widen(double& worst, double a, double b) {
    const double d = std::abs(a - b);
    worst = d <= worst ? worst : d == d ? d : std::numeric_limits<double>::infinity();
}
}  // namespace detail

/// The adjoints of a layer in double, for x [T, H] and every tensor of the weights, against dual numbers to 1e-12 of the largest
/// gradient and against central differences to 1e-7 of it. The tape has seen NaN before. Also: y and dx are overwritten, gradients
/// accumulate, and an expert without a token has a gradient of exactly 0.
template <class Model>
void check_gradients(const guild::weights<Model, double>& w, const std::vector<double>& x, const guild::batch& side = {}, effort how = {}) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    detail::objective<Model, double> at(w, x, side);
    const long T = at.T(), H = at.H();
    CAPTURE(T);
    {
        std::vector<double> poison(x.size() + static_cast<std::size_t>(3 * H), nan), out(poison);
        guild::weights<Model, double> ignored(w.model);
        const std::vector<int> id(static_cast<std::size_t>(T + 3));
        const auto layer = at.layer();
        layer.forward({poison.data(), T + 3, H}, {out.data(), T + 3, H}, at.tape, {.token_id = id});
        layer.backward({poison.data(), T + 3, H}, {out.data(), T + 3, H}, ignored, at.tape);
    }
    std::fill(at.y.begin(), at.y.end(), nan);
    const double value = at();
    REQUIRE(std::isfinite(value));
    const std::vector<int> chosen = at.choice();
    detail::gradient<Model> once(at), twice(at);
    once.add(at);
    for (int i = 0; i < 2; ++i) twice.add(at);
    const double scale = once.largest();
    CAPTURE(scale);

    const guild::load load = at.layer().load(at.tape);
    const auto idle = [&](const std::vector<double>& g) {
        const std::size_t E = static_cast<std::size_t>(w.model.config.routed_experts), size = g.size() / E;
        for (std::size_t e = 0; e < E; ++e)
            if (load.count[e] == 0)
                for (std::size_t i = 0; i < size; ++i)
                    if (g[e * size + i] != 0) return false;
        return true;
    };
    for (const auto* g : {&once.w.experts.gate, &once.w.experts.up, &once.w.experts.down, &once.w.experts.gate_bias, &once.w.experts.up_bias,
                          &once.w.experts.down_bias})
        CHECK(idle(*g));

    detail::objective<Model, guild::dual<double>> dual(w, x, side);
    dual();
    REQUIRE(dual.choice() == chosen);
    const auto gradients = once.all(), doubled = twice.all();
    double along = 0, length = scale;  // of the random direction
    int tensor = 0;
    dual.each([&](const char* name, auto& t) {
        const auto& g = *gradients[static_cast<std::size_t>(tensor)];
        const auto& more = *doubled[static_cast<std::size_t>(tensor)];
        CAPTURE(std::string(name));
        REQUIRE(g.size() == t.size());
        double accumulated = 0, exact = 0;
        for (std::size_t i = 0; i < g.size(); ++i) detail::widen(accumulated, more[i], (tensor == 0 ? 1 : 2) * g[i]);
        CHECK(accumulated <= 1e-14 * scale);
        const long all = static_cast<long>(g.size()), entries = how.entries < 0 ? all : std::min(all, how.entries);
        for (long i = 0; i < entries; ++i) {
            const std::size_t n = entries == all ? static_cast<std::size_t>(i) : detail::pick(g.size(), i);
            t[n].d = 1;
            detail::widen(exact, g[n], dual().d);
            t[n].d = 0;
        }
        CHECK(exact <= 1e-12 * scale);
        ++tensor;
    });
    tensor = 0;
    dual.each([&](const char*, auto& t) {
        const auto& g = *gradients[static_cast<std::size_t>(tensor++)];
        for (std::size_t i = 0; i < g.size(); ++i) {
            t[i].d = detail::random(tensor, static_cast<long>(i));
            along += t[i].d * g[i];
            length += std::abs(t[i].d * g[i]);
        }
    });
    double direction = 0;
    detail::widen(direction, along, dual().d);
    CHECK(direction <= 1e-12 * length);

    tensor = 0;
    int jumps = 0;  // of the objective, where a step changes the choice
    at.each([&](const char* name, auto& t) {
        const auto& g = *gradients[static_cast<std::size_t>(tensor++)];
        CAPTURE(std::string(name));
        double worst = 0;
        for (long i = 0; i < std::min(how.differences, static_cast<long>(t.size())); ++i) {
            const std::size_t n = detail::pick(t.size(), i);
            const double middle = t[n], step = 1e-5;
            t[n] = middle + step;
            const double above = at();
            bool same = at.choice() == chosen;
            t[n] = middle - step;
            const double below = at();
            same = same && at.choice() == chosen;
            t[n] = middle;
            if (same) detail::widen(worst, g[n], (above - below) / (2 * step));
            else ++jumps;
        }
        CHECK(worst <= 1e-7 * std::max(scale, 1.0));
    });
    CHECK(jumps <= 1);
}

/// The same for random weights and a random x [T, H] of a model whose numbers the compiler knows.
template <class Model> void check_gradients(long T, const guild::batch& side = {}, effort how = {}) {
    const auto w = guild::random_weights<Model, double>(3);
    std::vector<double> x(static_cast<std::size_t>(T * Model::config.hidden));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 2 * detail::random(-1, static_cast<long>(i));
    check_gradients(w, x, side, how);
}

}  // namespace test
