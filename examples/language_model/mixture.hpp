#pragma once
#include "parameter.hpp"

#include <guild/guild.hpp>

namespace language_model {

/// The feed-forward network of every block but the first: a layer of the library, described by `Model`.
template <class Model, class S> struct mixture {
    using weights = guild::weights<Model, S>;
    using state = guild::tape<S>;
    using layer = guild::layer<Model, S, guild::backend::eigen<threads>>;

    static layer over(const threads& team, const weights& w) { return layer{w, guild::backend::eigen<threads>{team}}; }

    /// y = .   x, y [T, H]; x must live until backward.
    static void forward(const threads& team, const weights& w, const matrix<S>& x, matrix<S>& y, state& st, const guild::batch& side) {
        y.resize(x.rows(), x.cols());
        over(team, w).forward(x, y, st, side);
    }
    /// dx = , gradient += , both with the gradient of the balance losses.
    static void backward(const threads& team, const weights& w, const matrix<S>&, const matrix<S>& dy, matrix<S>& dx, weights& gradient, state& st) {
        dx.resize(dy.rows(), dy.cols());
        over(team, w).backward(dy, dx, gradient, st);
    }
    static S balance_loss(const threads& team, const weights& w, state& st) { return over(team, w).loss(st); }
    static guild::load load(const threads& team, const weights& w, const state& st) { return over(team, w).load(st); }

    /// The names of DeepSeek's checkpoints: gate.weight, experts.E.gate_proj.weight, ..., shared_experts.down_proj.weight.
    static void list(weights& w, const std::string& prefix, parameters<S>& out) {
        constexpr guild::config c = Model::config;
        constexpr long H = c.hidden, F = c.expert_hidden;
        out.add(prefix + "gate.weight", w.router.data(), c.routed_experts, H);
        for (long e = 0; e < c.routed_experts; ++e) network(w.experts, e, H, F, prefix + "experts." + std::to_string(e) + ".", out);
        if constexpr (c.shared_width() > 0) network(w.shared, 0, H, c.shared_width(), prefix + "shared_experts.", out);
    }

private:
    static void network(auto& n, long e, long H, long F, const std::string& prefix, parameters<S>& out) {
        out.add(prefix + "gate_proj.weight", n.gate.data() + e * F * H, F, H);
        out.add(prefix + "up_proj.weight", n.up.data() + e * F * H, F, H);
        out.add(prefix + "down_proj.weight", n.down.data() + e * H * F, H, F);
    }
};

}  // namespace language_model
