// expect: guild::model: a balance loss does not fit the number of experts
#include <guild/balance/device_losses.hpp>
#include <guild/model.hpp>

struct mixture
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 8, .top_k = 2}, guild::communication_loss{.devices = 3}> {};
constexpr int hidden = mixture::config.hidden;
