// expect: guild::rebalance: this model has no balancer
#include <guild/guild.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2}> {};

void balance(guild::weights<mixture>& weights, const guild::load& load) { guild::rebalance(weights, load); }
