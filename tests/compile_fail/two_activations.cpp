// expect: guild::model: more than one activation given
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, guild::swiglu{}, guild::geglu{}> {};
constexpr int hidden = mixture::config.hidden;
