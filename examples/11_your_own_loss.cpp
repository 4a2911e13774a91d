// A balance loss and a balancer of your own. Neither needs a base class or registration; the loss needs no gradient: it is derived from `value`, exactly.
#include <guild/guild.hpp>

#include <cmath>
#include <cstdio>

/// weight E sum_e P_e^2, P_e the mean score of expert e: least if all are equal.
struct even_scores {
    static constexpr bool reads_scores = true;
    double weight = 0.1;
    template <class S> S value(const guild::routing<S>& r) const {
        const double tokens = static_cast<double>(r.tokens());
        S sum(0);
        for (int e = 0; e < r.experts; ++e) {
            S total(0);
            r.each([&](long t) { total += r.score(t, e); });  // padding is passed over
            sum += total * total;
        }
        return sum * S(static_cast<guild::real_t<S>>(weight * r.experts / (tokens * tokens)));
    }
};
/// b_e += rate / sqrt(1 + step) (mean load - load_e) / mean load: steps in proportion to the violation, and ever smaller.
struct settling {
    using moves = guild::selection_bias;
    double rate = 0.1;
    void update(const long* load, long total, auto* bias, int experts, long step) const {
        for (int e = 0; e < experts && total > 0; ++e)
            bias[e] += static_cast<float>(rate / std::sqrt(1. + static_cast<double>(step)) *
                                          (1 - static_cast<double>(load[e] * experts) / static_cast<double>(total)));
    }
};
constexpr guild::config eight{.hidden = 16, .expert_hidden = 16, .routed_experts = 8, .top_k = 2};
struct by_loss : guild::model<eight, guild::deepseek_moe_gate{}, even_scores{}> {};
struct by_bias : guild::model<eight, guild::deepseek_v3_gate{.groups = 1, .keep = 1}, settling{.rate = 0.2}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Balances a router over the same tokens, by nothing else, and returns how far the busiest expert is above its share before and after.
template <class Model> bool balances(const char* name) {
    const matrix x = matrix::Random(256, 16).array() + 0.3f, no_error = matrix::Zero(256, 16);
    matrix y(256, 16), dx(256, 16);
    auto weights = guild::random_weights<Model>(/*seed=*/2);
    const guild::layer<Model> layer{weights};
    guild::weights<Model> gradients;
    guild::tape<float> tape;
    double first = 0, last = 0;
    for (long step = 0; step <= 200; ++step) {
        layer.forward(x, y, tape, {.training = true, .step = step});
        (step == 0 ? first : last) = layer.load(tape).max_violation();
        guild::zero(gradients);
        layer.backward(no_error, dx, gradients, tape);
        for (std::size_t i = 0; i < weights.router.size(); ++i) weights.router[i] -= gradients.router[i];
        if constexpr (std::same_as<Model, by_bias>) guild::rebalance(weights, layer.load(tape), step);
    }
    std::printf("%s: the busiest expert is %.2f above its share at first, %.2f after 200 steps\n", name, first, last);
    return last < first / 2;
}

int main() { return balances<by_loss>("own loss    ") && balances<by_bias>("own balancer") ? 0 : 1; }
