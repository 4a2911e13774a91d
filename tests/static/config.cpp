#include <guild/config.hpp>

// DeepSeekMoE (arXiv:2401.06066), section 3: E = m N - K_s, K = m K' - K_s, F = ffn' / m, S = K_s.
constexpr guild::config cut = guild::segmented{.hidden = 512, .ffn_hidden = 1024, .experts = 16, .top_k = 2, .segments = 4, .shared = 1};
static_assert(cut == guild::config{.hidden = 512, .expert_hidden = 256, .routed_experts = 63, .top_k = 7, .shared_experts = 1});

// Widths of the shared network: S F unless given, 0 without shared experts.
static_assert(cut.shared_width() == 256);
static_assert(guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_experts = 2}.shared_width() == 8);
static_assert(guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2, .shared_hidden = 6}.shared_width() == 6);
static_assert(guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2}.shared_width() == 0);

// Segments that do not divide the width, or none at all: a width that every model refuses.
static_assert(guild::config(guild::segmented{.hidden = 8, .ffn_hidden = 10, .experts = 4, .top_k = 2, .segments = 4}).expert_hidden == 0);
static_assert(guild::config(guild::segmented{.hidden = 8, .ffn_hidden = 8, .experts = 4, .top_k = 2, .segments = 0}).expert_hidden == 0);
