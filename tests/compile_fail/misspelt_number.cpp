// expect any: (no non-static data member named|field designator) .*topk
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .topk = 2}> {};
constexpr int hidden = mixture::config.hidden;
