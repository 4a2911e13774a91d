// expect any: a_policy_is_a_value_with_braces
// expect any: (expected a constant of type .auto., got .guild::(v0::)?mixtral_gate|guild::mixtral_gate{}, not guild::mixtral_gate)
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate> {};
