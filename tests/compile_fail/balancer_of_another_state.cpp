// expect: guild::model: the balancer moves a selection bias, and the gate has none
#include <guild/balance/load_average.hpp>
#include <guild/model.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 8, .top_k = 2},
                              guild::deepseek_v3_gate{.groups = 1, .keep = 1}, guild::load_average{}> {};
constexpr int hidden = mixture::config.hidden;
