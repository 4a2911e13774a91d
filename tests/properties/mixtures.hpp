#pragma once
#include <support/products.hpp>
#include <properties/gates.hpp>
#include <support/outcome.hpp>

#include <cmath>

namespace property {

using reference = guild::backend::reference;

/// A mixture whose gate looks at one token, all numbers drawn.
using token_model = guild::dynamic_model<token_gate, guild::swiglu, guild::plain_shared, max_experts>;

/// Widths, biases, shared and passive experts, residual; E experts in all, of which K are chosen.
template <class Model> void draw_numbers(draws& d, Model& m, int E, int K) {
    m.config = {.hidden = d.integer(1, 12),
                .expert_hidden = d.integer(1, 10),
                .routed_experts = E,
                .top_k = K,
                .shared_experts = d.integer(0, 2),
                .expert_bias = d.chance(0.5),
                .shared_bias = d.chance(0.5)};
    for (int* kind : {&m.passive.zero, &m.passive.identity, &m.passive.constant})
        if (m.config.routed_experts > 1 && d.chance(0.2)) ++*kind, --m.config.routed_experts;
    m.residual = static_cast<guild::residual>(d.integer(0, 2));
}
struct drawn_model {
    token_model model;
    drawn_gate gate;
};
template <class Accepts> drawn_model draw_model(draws& d, int E, int K, Accepts accepts) {
    drawn_model m{{}, draw_gate(d, E, K, accepts)};
    m.model.gate = m.gate.gate;
    draw_numbers(d, m.model, E, K);
    return m;
}
inline drawn_model draw_model(draws& d) {
    const int E = d.integer(1, 12), K = d.integer(1, E);
    return draw_model(d, E, K, [](const auto&) { return true; });
}
/// Neither shared nor passive experts, nor a residual.
inline void routed_only(token_model& m) {
    m.config.routed_experts = m.experts();
    m.config.shared_experts = 0;
    m.passive = {};
    m.residual = guild::residual::none;
}

/// Network e of a SwiGLU network for one token, in plain loops: y [H] += factor network(x).
inline void add_network(std::vector<double>& y, double factor, const guild::network_weights<double, double>& w, long e, long F, const double* x) {
    const long H = static_cast<long>(y.size());
    const auto at = [](const std::vector<double>& v, long i) { return v[static_cast<std::size_t>(i)]; };
    std::vector<double> out(y.size());
    for (long h = 0; h < H; ++h) out[static_cast<std::size_t>(h)] = w.down_bias.empty() ? 0 : at(w.down_bias, e * H + h);
    for (long f = 0; f < F; ++f) {
        double gate = w.gate_bias.empty() ? 0 : at(w.gate_bias, e * F + f), up = w.up_bias.empty() ? 0 : at(w.up_bias, e * F + f);
        for (long h = 0; h < H; ++h) {
            gate += at(w.gate, (e * F + f) * H + h) * x[h];
            up += at(w.up, (e * F + f) * H + h) * x[h];
        }
        const double a = gate / (1 + std::exp(-gate)) * up;
        for (long h = 0; h < H; ++h) out[static_cast<std::size_t>(h)] += at(w.down, (e * H + h) * F + f) * a;
    }
    for (std::size_t h = 0; h < out.size(); ++h) y[h] += factor * out[h];
}

template <class S> guild::view<const S> row(const test::matrix<S>& m, long r) { return {m.all().row(r), 1, m.cols()}; }
template <class S> bool same_row(const test::matrix<S>& a, long i, const test::matrix<S>& b, long j) { return test::same_bits(row(a, i), row(b, j)); }
/// max |a - b| over max(1, max |b|).
template <class S> double far_apart(const std::vector<S>& a, const std::vector<S>& b) {
    double apart = 0, scale = 1;
    for (std::size_t i = 0; i < b.size(); ++i) {
        const double by = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        apart = by <= apart ? apart : by == by ? by : 1e300;
        scale = std::max(scale, std::abs(static_cast<double>(b[i])));
    }
    return apart / scale;
}
template <class S> std::vector<S> numbers(const test::matrix<S>& m) {
    std::vector<S> v;
    for (long r = 0; r < m.rows(); ++r) v.insert(v.end(), m.all().row(r), m.all().row(r) + m.cols());
    return v;
}
template <class S> double far_apart(const test::matrix<S>& a, const test::matrix<S>& b) { return far_apart(numbers(a), numbers(b)); }
/// All gradients of parameters side by side.
template <class Model, class S> std::vector<S> numbers(const guild::weights<Model, S>& w) {
    std::vector<S> v;
    guild::each_tensor([&](const char*, const auto& t) { v.insert(v.end(), t.begin(), t.end()); }, w);
    return v;
}
/// Blocks of `size` numbers in another order: block i is block order[i] of v.
template <class T> std::vector<T> permuted(const std::vector<T>& v, const std::vector<int>& order, std::size_t size) {
    std::vector<T> p(v);
    for (std::size_t i = 0; i < order.size() && !v.empty(); ++i)
        std::copy_n(v.begin() + static_cast<long>(static_cast<std::size_t>(order[i]) * size), size, p.begin() + static_cast<long>(i * size));
    return p;
}

}  // namespace property
