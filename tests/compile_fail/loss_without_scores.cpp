// expect: guild::model: a balance loss reads scores, and the gate has none
#include <guild/balance/losses.hpp>
#include <guild/model.hpp>

struct mixture
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 8, .top_k = 2}, guild::mixtral_gate{}, guild::expert_loss{}> {};
constexpr int hidden = mixture::config.hidden;
