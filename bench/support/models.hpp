#pragma once
#include <guild/presets.hpp>

#include <cstdlib>
#include <sstream>
#include <utility>

/// Layers that are measured and are no presets of the library.
namespace bench {

/// OLMoE-1B-7B.
struct olmoe : guild::model<guild::config{.hidden = 2048, .expert_hidden = 1024, .routed_experts = 64, .top_k = 8}, guild::olmoe_gate{}> {};

/// What one of 32 machines holds of a layer of DeepSeek-V3: 8 of the 256 experts. Of the 8 experts that a token chooses a quarter of
/// one lies here, so that T rows of this layer, with one expert each, are the share of a batch of 4 T tokens.
struct deepseek_v3_slice : guild::model<guild::config{.hidden = 7168, .expert_hidden = 2048, .routed_experts = 8, .top_k = 1},
                                        guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 2.5}> {};

/// DeepSeekMoE 16B with experts by token id, so that any load can be asked for; the router's scores weigh.
struct routed_by_table : guild::model<guild::deepseek_moe_16b::config, guild::deepseek_v4_hash_gate{}> {};

/// F = 2 H: layers so small that calls and the gate take a part of the time that counts.
template <int H>
struct small : guild::model<guild::config{.hidden = H, .expert_hidden = 2 * H, .routed_experts = 8, .top_k = 2}, guild::mixtral_gate{}> {};

/// The layer of GUILD_BENCH_SHAPE="H F E K S T" and its T; 0 if that is not set.
inline std::pair<guild::dynamic_model<guild::deepseek_moe_gate>, long> given() {
    guild::dynamic_model<guild::deepseek_moe_gate> m;
    long T = 0;
    if (const char* const shape = std::getenv("GUILD_BENCH_SHAPE")) {
        guild::config& c = m.config;
        std::istringstream in(shape);
        in >> c.hidden >> c.expert_hidden >> c.routed_experts >> c.top_k >> c.shared_experts >> T;
        if (!in || T < 1) throw guild::argument_error("GUILD_BENCH_SHAPE: expected six numbers, H F E K S T");
        m.check();
    }
    return {m, T};
}

}  // namespace bench
