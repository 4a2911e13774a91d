// expect: guild::model: more than one gate given
#include <guild/model.hpp>

struct mixture
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate{}, guild::qwen3_gate{}> {};
constexpr int hidden = mixture::config.hidden;
