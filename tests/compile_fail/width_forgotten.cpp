// expect: guild::config: \.hidden must be at least 1
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.expert_hidden = 4, .routed_experts = 4, .top_k = 2}> {};
constexpr int hidden = mixture::config.hidden;
