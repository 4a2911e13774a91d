// expect: guild::model: the balancer moves a selection bias, and the gate has none
#include <guild/model.hpp>

struct mixture
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate{}, guild::bias_balance{}> {};
constexpr int hidden = mixture::config.hidden;
