// expect: guild::config: \.top_k must be at most \.routed_experts
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 5}> {};
constexpr int hidden = mixture::config.hidden;
