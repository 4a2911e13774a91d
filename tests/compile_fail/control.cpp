// expect: success
#include <guild/model.hpp>

struct mixture
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, guild::bias_balance{},
                   guild::deepseek_v3_gate{.groups = 2, .keep = 1, .scale = 1}, guild::geglu{}, guild::gated_shared{}> {};
constexpr int hidden = mixture::config.hidden;
