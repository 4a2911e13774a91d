// expect: use of deleted function|call to deleted constructor
#include <guild/guild.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2}> {};

void dangle() { const guild::layer<mixture> layer{guild::random_weights<mixture>(1)}; }
