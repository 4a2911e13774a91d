// What published mixtures cost: parameters, the part a token passes, and FLOPs, all at compile time.
#include <guild/cost/paper.hpp>
#include <guild/cost/transformer.hpp>
#include <guild/presets.hpp>

#include <cstdio>

namespace cost = guild::cost;

template <class Model> void row(const char* name) {
    constexpr cost::mixture layer = cost::of(Model{});
    constexpr guild::config c = layer.config;
    std::printf("%-18s %5d %6d %5d %4d %4d %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, c.hidden, c.expert_hidden, c.routed_experts, c.top_k,
                c.shared_experts, double(layer.parameters()) / 1e6, double(layer.active_parameters()) / 1e6, layer.forward_flops() / 1e6,
                layer.weight_bytes(layer.experts_reached(1), 2) / 1e6, layer.weight_bytes(layer.experts_reached(64), 2) / 1e6);
}

int main() {
    std::printf(
        "One mixture layer, real shapes: parameters in millions, MFLOP of one token forward (2 per multiply-add), and\n"
        "MB of bf16 weights that a batch of 1 and of 64 tokens reads (each token choosing uniformly).\n\n");
    std::printf("%-18s %5s %6s %5s %4s %4s %9s %9s %9s %9s %9s\n", "", "H", "F", "E", "K", "S", "total", "active", "MFLOP", "MB, 1", "MB, 64");
    row<guild::deepseek_moe_2b>("DeepSeekMoE 2B");
    row<guild::gshard_2b>("GShard 2B");
    row<guild::deepseek_moe_16b>("DeepSeekMoE 16B");
    row<guild::deepseek_moe_145b>("DeepSeekMoE 145B");
    row<guild::deepseek_v2>("DeepSeek-V2");
    row<guild::deepseek_v3>("DeepSeek-V3");
    row<guild::mixtral_8x7b>("Mixtral 8x7B");
    row<guild::qwen3_30b_a3b>("Qwen3-30B-A3B");

    // The DeepSeekMoE paper's convention: a standard network has 8 d^2 numbers, an attention block 4 d^2, and a training step on T
    // tokens takes 6 N_act T + 12 L T^2 d. The mixture of 16B uses (2 + 6) * 0.25 = 2 standard networks per token.
    constexpr cost::paper moe_16b{.layers = 28, .hidden = 2048, .vocabulary = 102400, .active = 2, .total = 16.5, .dense_layers = 1};
    constexpr cost::paper dense_7b{.layers = 30, .hidden = 4096, .vocabulary = 102400};
    std::printf("\nA training step on 4096 tokens, the DeepSeekMoE paper's convention (idealised shapes):\n");
    std::printf("  DeepSeekMoE 16B %6.1f TFLOP     DeepSeek 7B (dense) %6.1f TFLOP     %.1f %%\n", moe_16b.training_flops(4096) / 1e12,
                dense_7b.training_flops(4096) / 1e12, 100 * moe_16b.training_flops(4096) / dense_7b.training_flops(4096));

    constexpr cost::transformer real{.layer = cost::of(guild::deepseek_moe_16b{}),
                                     .attention = cost::grouped_attention{2048, 16, 16, 128},
                                     .layers = 28,
                                     .vocabulary = 102400,
                                     .dense_layers = 1,
                                     .dense_hidden = 10944};
    std::printf("The same formula on real shapes:\n  DeepSeekMoE 16B %6.1f TFLOP     %.2f B parameters, %.2f B active\n",
                real.training_flops(4096) / 1e12, double(real.parameters()) / 1e9, double(real.active_parameters()) / 1e9);
    std::printf("\nWays to choose: 2 of 16 experts %ld, 8 of 64 %ld.\n", long(cost::combinations(16, 2)), long(cost::combinations(64, 8)));
}
