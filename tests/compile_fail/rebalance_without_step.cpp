// expect: guild::rebalance: this model's balancer goes by the step: rebalance\(weights, load, step\)
#include <guild/guild.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2},
                              guild::deepseek_v3_gate{.groups = 1, .keep = 1}, guild::scheduled{guild::bias_balance{}, guild::step_decay{}}> {};

void balance(guild::weights<mixture>& weights, const guild::load& load) { guild::rebalance(weights, load); }
