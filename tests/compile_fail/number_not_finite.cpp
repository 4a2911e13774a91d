// expect: guild::model: a policy has a number that is not finite
#include <guild/guild.hpp>

#include <limits>

constexpr guild::config numbers{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2};
struct mixture : guild::model<numbers, guild::z_loss{.weight = std::numeric_limits<double>::infinity()}> {};
