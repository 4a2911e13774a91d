#pragma once
#include <guild/guild.hpp>
#include <support/few.hpp>

#include <ostream>
#include <vector>

namespace test {

/// Models whose numbers are values at run time, so that one instantiation serves every shape. Between them: sigmoid and softmax, selection
/// bias, two and one inputs of the activation, both shared policies.
template <int MaxExperts = 24> using gated_model = guild::dynamic_model<guild::deepseek_v3_gate, guild::swiglu, guild::gated_shared, MaxExperts>;
template <int MaxExperts = 24> using plain_model = guild::dynamic_model<guild::mixtral_gate, guild::relu_squared, guild::plain_shared, MaxExperts>;

/// One case of a sweep: the numbers of a model and of a batch.
struct shape {
    long tokens = 0;
    guild::config config{};
    guild::passive passive{};
    guild::residual residual{};
    bool all_to_one = false;  ///< the last routed expert is everybody's first choice, the others are equal

    template <class Model> Model model() const {
        Model m{.config = config, .passive = passive, .residual = residual};
        if constexpr (requires { m.gate.groups; }) m.gate = {.groups = 1, .keep = 1};
        return m;
    }
    template <class Format, class Model> guild::weights<Model, Format> weights(const Model& m) const {
        auto w = guild::random_weights<Model, Format>(6, m);
        if (all_to_one) {
            std::fill(w.router.begin(), w.router.end(), guild::scalar_of<Format>(0));
            std::fill(w.state.begin(), w.state.end(), guild::scalar_of<Format>(0));
            w.router[static_cast<std::size_t>(long(config.routed_experts - 1) * config.hidden)] = 2;
        }
        return w;
    }
    /// Number (t, h) of x; above 0 for h = 0, which all_to_one needs.
    double x(long t, long h) const { return 2 * guild::uniform(8, 0, t, h) - (h > 0); }

    friend std::ostream& operator<<(std::ostream& out, const shape& s) {
        return out << "T " << s.tokens << " H " << s.config.hidden << " F " << s.config.expert_hidden << " E " << s.config.routed_experts << " K "
                   << s.config.top_k << " S " << s.config.shared_experts << " passive " << s.passive.count() << " residual "
                   << static_cast<int>(s.residual) << (s.all_to_one ? " all to one" : "");
    }
};

/// Every part of a layer, in widths that are no multiple of a panel.
inline const shape ragged{
    .config = {.hidden = 72, .expert_hidden = 40, .routed_experts = 9, .top_k = 3, .shared_experts = 2, .expert_bias = true, .shared_bias = true},
    .passive = {.zero = 1, .identity = 1, .constant = 1},
    .residual = guild::residual::complement};

/// Every number of tokens with every E and K, or every fifth K where tests take few; widths, shared experts, biases, residuals and passive experts in
/// turn.
inline std::vector<shape> shapes(const std::vector<long>& tokens, const std::vector<int>& experts, int first_shared) {
    const int width[] = {1, 3, 17, 40};
    const guild::passive passive[] = {{}, {.zero = 1, .identity = 1, .constant = 2}, {}, {.constant = 1}, {.identity = 1, .blend = 1}};
    std::vector<shape> all;
    int number = 0;
    for (const long T : tokens)
        for (const int E : experts)
            for (int K = 1; K <= E; ++K) {
                const int i = number++;
                if (few && (E - K) % 5 != 0) continue;
                all.push_back({.tokens = T,
                               .config = {.hidden = width[i % 4],
                                          .expert_hidden = width[i / 4 % 4],
                                          .routed_experts = E,
                                          .top_k = K,
                                          .shared_experts = first_shared + i % (3 - first_shared),
                                          .expert_bias = i % 3 == 0,
                                          .shared_bias = i % 2 == 0},
                               .passive = passive[i % 5],
                               .residual = static_cast<guild::residual>(i / 2 % 3),
                               .all_to_one = i % 7 == 3});
            }
    return all;
}

}  // namespace test
