// expect: guild::model: a learned shared policy needs \.shared_experts or \.shared_hidden
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, guild::gated_shared{}> {};
constexpr int hidden = mixture::config.hidden;
