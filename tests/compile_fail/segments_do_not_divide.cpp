// expect: guild::segmented: \.segments must divide \.ffn_hidden
#include <guild/model.hpp>

struct mixture : guild::model<guild::segmented{.hidden = 8, .ffn_hidden = 10, .experts = 4, .top_k = 2, .segments = 4}> {};
constexpr int hidden = mixture::config.hidden;
