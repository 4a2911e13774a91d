// expect: guild::model: an argument is no policy
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, 3> {};
constexpr int hidden = mixture::config.hidden;
