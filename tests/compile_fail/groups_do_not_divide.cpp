// expect: guild::model: a stage of the gate does not fit \.routed_experts and \.top_k
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2},
                              guild::deepseek_v3_gate{.groups = 3, .keep = 2, .scale = 1}> {};
constexpr int hidden = mixture::config.hidden;
