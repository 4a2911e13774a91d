#include <guild/cost/paper.hpp>
#include <guild/cost/transformer.hpp>
#include <guild/presets.hpp>
#include <type_traits>

/// The published figures of published models: parameters from real shapes, FLOPs of the paper in the paper's convention.
// Tables.
// clang-format off
namespace {

using namespace guild;
using cost::grouped_attention, cost::latent_attention, cost::mixture, cost::paper, cost::transformer;
constexpr double M = 1e6, B = 1e9, tera = 1e12;

/// `published` is what x gives when rounded to a multiple of `unit`.
constexpr bool rounds_to(double x, double published, double unit) { return x >= published - unit / 2 && x <= published + unit / 2; }
constexpr bool rounds_to(std::int64_t x, double published, double unit) { return rounds_to(double(x), published, unit); }
/// The same for those who cut the digits off.
constexpr bool cuts_to(std::int64_t x, double published, double unit) { return double(x) >= published && double(x) < published + unit; }
constexpr bool within(double x, double published, double part) { return x >= published * (1 - part) && x <= published * (1 + part); }
constexpr bool within(std::int64_t x, double published, double part) { return within(double(x), published, part); }

// ---- one layer, by hand ----

constexpr mixture small{.config = {.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2, .shared_experts = 2}};
static_assert(small.expert_parameters() == 3 * 3 * 5);
static_assert(small.parameters() == 7 * 3 + 2 * 45 + 7 * 45);
static_assert(small.active_parameters() == 7 * 3 + 2 * 45 + 2 * 45);
static_assert(small.forward_flops(11) == 11 * 2.0 * (21 + 90 + 90));
static_assert(small.backward_flops(11) == 2 * small.forward_flops(11));
static_assert(small.forward_flops(0) == 0 && small.experts_reached(0) == 0);
static_assert(within(small.experts_reached(1), 2, 1e-12));
static_assert(within(small.experts_reached(3), 7 * (1 - 125.0 / 343), 1e-12));
static_assert(small.weight_bytes(7) == 4.0 * double(small.parameters()));
static_assert(small.weight_bytes(2, 2) == 4.0 * 21 + 2.0 * (90 + 2 * 45));
static_assert(small.activation_bytes(11, 4) == 11 * 4.0 * (2 * (3 * 5 + 3 + 1) + 3 * 10 + 7));

constexpr mixture every_option{.config = {.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2, .shared_experts = 1, .shared_hidden = 4,
                                          .expert_bias = true, .shared_bias = true},
                               .inputs = 1, .router_rows = 9, .shared_gate = true, .learned = 7};
static_assert(every_option.expert_parameters() == 2 * 15 + 5 + 3);
static_assert(every_option.shared_parameters() == 2 * 12 + 4 + 3);
static_assert(every_option.gate_parameters() == 9 * 3 + 7 + 3);
static_assert(every_option.forward_flops() == 2.0 * (27 + 3 + 24 + 2 * 30));
static_assert(every_option.weight_bytes(7, 4) == 4.0 * double(every_option.parameters()));
static_assert(every_option.activation_bytes(1, 4) == 4.0 * (2 * (2 * 5 + 3 + 1) + 2 * 4 + 3 + 9));
static_assert(mixture{.config = {.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2, .shared_bias = true}}.shared_parameters() == 0);

static_assert(cost::of(deepseek_moe_16b{}) == mixture{.config = deepseek_moe_16b::config, .router_rows = 64});
static_assert(cost::of(deepseek_moe_2b{}).config.routed_experts == 63 && cost::of(deepseek_moe_2b{}).config.expert_hidden == 853);
static_assert(rounds_to(cost::of(deepseek_moe_16b{}).parameters(), 571.1 * M, 0.1 * M));

// What else a model may bring: rows of the router and learned numbers of a stage, passive experts, a gate of the shared network.
struct greedy_stage {
    constexpr int extra(int E) const { return 2 * E; }
    constexpr int learned(int E) const { return E + 1; }
    template <class Token, class Row> void forward(const Token&, Row&) const {}
};
struct greedy_gate {
    constexpr auto stages() const { return pipeline{greedy_stage{}, top_k{}}; }
};
struct odd : model<config{.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2, .shared_experts = 1}, greedy_gate{}, relu{},
                   gated_shared{}, passive{.zero = 1, .identity = 2, .constant = 1, .blend = 2}> {};
static_assert(cost::of(odd{}) == mixture{.config = odd::config, .inputs = 1, .router_rows = 13 + 26, .shared_gate = true, .learned = 14 + 7 * 3});
static_assert(cost::of(dynamic_model<mixtral_gate>{.config = small.config}).parameters() == small.parameters());

// The weights of the routed and shared experts of the three 2B models are the same number, the active ones of two.
static_assert(64 * cost::of(deepseek_moe_2b{}).expert_parameters() == 16 * cost::of(gshard_2b{}).expert_parameters());
static_assert(8 * cost::of(deepseek_moe_2b{}).expert_parameters() == 2 * cost::of(gshard_2b{}).expert_parameters());
static_assert(cost::of(switch_2b{}).parameters() == cost::of(gshard_2b{}).parameters());

// ---- a transformer, by hand ----

constexpr cost::attention heads = grouped_attention{.hidden = 6, .heads = 4, .kv_heads = 2, .head_dim = 3, .input_bias = true, .output_bias = true,
                                                    .norm = true};
static_assert(heads.parameters == 6 * 12 + 2 * 6 * 6 + 12 * 6 + (12 + 2 * 6) + 6 + 2 * 3 && heads.per_pair == 4 * (3 + 3));
constexpr cost::attention latent = latent_attention{.hidden = 6, .heads = 4, .query_rank = 5, .kv_rank = 7, .nope_dim = 3, .rope_dim = 2,
                                                    .value_dim = 1};
static_assert(latent.parameters == 6 * 5 + 5 + 5 * 4 * 5 + 6 * (7 + 2) + 7 + 7 * 4 * (3 + 1) + 4 * 6 && latent.per_pair == 4 * (5 + 1));
constexpr transformer five_layers(bool tied) {
    return {.layer = small, .attention = {.parameters = 50, .per_pair = 10}, .layers = 5, .vocabulary = 100, .tied_head = tied, .dense_layers = 1,
            .dense_hidden = 4, .period = 2};
}
static_assert(five_layers(true).mixture_layers() == 2);
static_assert(five_layers(true).parameters() == 300 + 5 * (50 + 2 * 3) + 3 + 3 * 36 + 2 * small.parameters());
static_assert(five_layers(false).parameters() == five_layers(true).parameters() + 300);
static_assert(five_layers(true).active_parameters() == five_layers(true).parameters() - 2 * 5 * small.expert_parameters());
static_assert(five_layers(true).multiplied_parameters() == five_layers(true).active_parameters());
static_assert(five_layers(false).multiplied_parameters() == five_layers(true).active_parameters());
static_assert(five_layers(true).training_flops(7) == 6.0 * 7 * double(five_layers(true).active_parameters()) + 6.0 * 5 * 49 * 10);

// ---- whole models, real shapes: total and active parameters as published ----
// "active" is published with the input embedding (DeepSeekMoE, Mixtral, Qwen) or without it (GPT-OSS, Kimi-K2).

constexpr transformer two_b(const mixture& layer) {
    return {.layer = layer, .attention = grouped_attention{1280, 10, 10, 128}, .layers = 9, .vocabulary = 8192};
}
static_assert(rounds_to(two_b(cost::of(deepseek_moe_2b{})).parameters(), 2.0 * B, 0.1 * B));
static_assert(rounds_to(two_b(cost::of(deepseek_moe_2b{})).active_parameters(), 0.3 * B, 0.1 * B));
static_assert(rounds_to(two_b(cost::of(gshard_2b{})).parameters(), 2.0 * B, 0.1 * B));
static_assert(rounds_to(two_b(cost::of(gshard_2b{})).active_parameters(), 0.3 * B, 0.1 * B));
static_assert(rounds_to(two_b(cost::of(switch_2b{})).active_parameters(), 0.2 * B, 0.1 * B));
static_assert(rounds_to(9 * 16 * cost::of(gshard_2b{}).expert_parameters(), 1.89 * B, 0.01 * B));
static_assert(rounds_to(9 * 8 * cost::of(deepseek_moe_2b{}).expert_parameters(), 0.24 * B, 0.01 * B));

constexpr transformer moe_16b{.layer = cost::of(deepseek_moe_16b{}), .attention = grouped_attention{2048, 16, 16, 128},
                              .layers = 28, .vocabulary = 102400, .dense_layers = 1, .dense_hidden = 10944};
static_assert(rounds_to(moe_16b.parameters(), 16.38 * B, 0.01 * B) && rounds_to(moe_16b.active_parameters(), 2.83 * B, 0.01 * B));
static_assert(rounds_to(moe_16b.training_flops(4096), 75.9 * tera, 0.1 * tera));
static_assert(moe_16b.forward_flops(4096) == moe_16b.training_flops(4096) / 3);

// The width of the first, dense layer is not published; 16 experts wide, as many weights as a token passes elsewhere.
constexpr transformer moe_145b{.layer = cost::of(deepseek_moe_145b{}), .attention = grouped_attention{4096, 32, 32, 128},
                               .layers = 62, .vocabulary = 102400, .dense_layers = 1, .dense_hidden = 16 * 1408};
static_assert(rounds_to(moe_145b.parameters(), 144.6 * B, 0.1 * B) && rounds_to(moe_145b.active_parameters(), 22.2 * B, 0.1 * B));

// DeepSeek-V2 and later. No multi-token prediction. V2-Lite: 2.4 B is cut, not rounded, and without the input embedding.
constexpr transformer v2_lite{.layer = cost::of(deepseek_v2_lite{}), .attention = latent_attention{2048, 16, 0, 512, 128, 64, 128},
                              .layers = 27, .vocabulary = 102400, .dense_layers = 1, .dense_hidden = 10944};
static_assert(rounds_to(v2_lite.parameters(), 15.7 * B, 0.1 * B) && cuts_to(v2_lite.multiplied_parameters(), 2.4 * B, 0.1 * B));
constexpr transformer v2{.layer = cost::of(deepseek_v2{}), .attention = latent_attention{5120, 128, 1536, 512, 128, 64, 128},
                         .layers = 60, .vocabulary = 102400, .dense_layers = 1, .dense_hidden = 12288};
static_assert(rounds_to(v2.parameters(), 236 * B, B) && rounds_to(v2.active_parameters(), 21 * B, B));
constexpr transformer v3{.layer = cost::of(deepseek_v3{}), .attention = latent_attention{7168, 128, 1536, 512, 128, 64, 128},
                         .layers = 61, .vocabulary = 129280, .dense_layers = 3, .dense_hidden = 18432};
static_assert(rounds_to(v3.parameters(), 671 * B, B) && rounds_to(v3.multiplied_parameters(), 37 * B, B));
constexpr transformer kimi_k2{.layer = {.config = {.hidden = 7168, .expert_hidden = 2048, .routed_experts = 384, .top_k = 8, .shared_experts = 1}},
                              .attention = latent_attention{7168, 64, 1536, 512, 128, 64, 128},
                              .layers = 61, .vocabulary = 163840, .dense_layers = 1, .dense_hidden = 18432};
static_assert(within(kimi_k2.parameters(), 1000 * B, 0.03) && rounds_to(kimi_k2.multiplied_parameters(), 32 * B, B));
// Published 355 B holds a part for multi-token prediction; both GLM figures are cut and count active parameters without the embedding.
constexpr grouped_attention glm_45_attention{.hidden = 5120, .heads = 96, .kv_heads = 8, .head_dim = 128, .input_bias = true, .norm = true};
constexpr transformer glm_45{.layer = {.config = {.hidden = 5120, .expert_hidden = 1536, .routed_experts = 160, .top_k = 8, .shared_experts = 1}},
                             .attention = glm_45_attention,
                             .layers = 92, .vocabulary = 151552, .dense_layers = 3, .dense_hidden = 12288};
static_assert(within(glm_45.parameters(), 355 * B, 0.01) && cuts_to(glm_45.multiplied_parameters(), 32 * B, B));
constexpr transformer glm_45_air{.layer = {.config = {.hidden = 4096, .expert_hidden = 1408, .routed_experts = 128, .top_k = 8, .shared_experts = 1}},
                                 .attention = grouped_attention{.hidden = 4096, .heads = 96, .kv_heads = 8, .head_dim = 128, .input_bias = true},
                                 .layers = 46, .vocabulary = 151552, .dense_layers = 1, .dense_hidden = 10944};
static_assert(cuts_to(glm_45_air.parameters(), 106 * B, B) && cuts_to(glm_45_air.multiplied_parameters(), 12 * B, B));

constexpr transformer mixtral_small{.layer = cost::of(mixtral_8x7b{}), .attention = grouped_attention{4096, 32, 8, 128},
                                    .layers = 32, .vocabulary = 32000};
static_assert(rounds_to(mixtral_small.parameters(), 46.70 * B, 0.01 * B) && rounds_to(mixtral_small.active_parameters(), 12.88 * B, 0.01 * B));
constexpr transformer mixtral_large{.layer = cost::of(mixtral_8x22b{}), .attention = grouped_attention{6144, 48, 8, 128},
                                    .layers = 56, .vocabulary = 32768};
static_assert(rounds_to(mixtral_large.parameters(), 140.6 * B, 0.1 * B) && rounds_to(mixtral_large.active_parameters(), 39.2 * B, 0.1 * B));

constexpr transformer qwen15{.layer = {.config = {.hidden = 2048, .expert_hidden = 1408, .routed_experts = 60, .top_k = 4, .shared_experts = 1,
                                                  .shared_hidden = 5632},
                                       .shared_gate = true},
                             .attention = grouped_attention{.hidden = 2048, .heads = 16, .kv_heads = 16, .head_dim = 128, .input_bias = true},
                             .layers = 24, .vocabulary = 151936};
static_assert(rounds_to(qwen15.parameters(), 14.3 * B, 0.1 * B) && rounds_to(qwen15.active_parameters(), 2.7 * B, 0.1 * B));
constexpr transformer qwen2{.layer = {.config = {.hidden = 3584, .expert_hidden = 2560, .routed_experts = 64, .top_k = 8, .shared_experts = 1,
                                                 .shared_hidden = 20480},
                                      .shared_gate = true},
                            .attention = grouped_attention{.hidden = 3584, .heads = 28, .kv_heads = 4, .head_dim = 128, .input_bias = true},
                            .layers = 28, .vocabulary = 151936};
static_assert(rounds_to(qwen2.parameters(), 57.4 * B, 0.1 * B) && rounds_to(qwen2.active_parameters(), 14.2 * B, 0.1 * B));
constexpr transformer qwen3_30b{.layer = cost::of(qwen3_30b_a3b{}),
                                .attention = grouped_attention{.hidden = 2048, .heads = 32, .kv_heads = 4, .head_dim = 128, .norm = true},
                                .layers = 48, .vocabulary = 151936};
static_assert(rounds_to(qwen3_30b.parameters(), 30.5 * B, 0.1 * B) && rounds_to(qwen3_30b.active_parameters(), 3.35 * B, 0.01 * B));
constexpr transformer qwen3_235b{.layer = cost::of(qwen3_235b_a22b{}),
                                 .attention = grouped_attention{.hidden = 4096, .heads = 64, .kv_heads = 4, .head_dim = 128, .norm = true},
                                 .layers = 94, .vocabulary = 151936};
static_assert(rounds_to(qwen3_235b.parameters(), 235.1 * B, 0.1 * B) && rounds_to(qwen3_235b.active_parameters(), 22.2 * B, 0.1 * B));

constexpr transformer olmoe{.layer = {.config = {.hidden = 2048, .expert_hidden = 1024, .routed_experts = 64, .top_k = 8}},
                            .attention = grouped_attention{2048, 16, 16, 128}, .layers = 16, .vocabulary = 50304};
static_assert(rounds_to(olmoe.parameters(), 6.92 * B, 0.01 * B) && rounds_to(olmoe.active_parameters(), 1.28 * B, 0.01 * B));
constexpr transformer dbrx{.layer = {.config = {.hidden = 6144, .expert_hidden = 10752, .routed_experts = 16, .top_k = 4}},
                           .attention = grouped_attention{6144, 48, 8, 128}, .layers = 40, .vocabulary = 100352};
static_assert(rounds_to(dbrx.parameters(), 131.6 * B, 0.1 * B) && rounds_to(dbrx.active_parameters(), 36.5 * B, 0.1 * B));

constexpr transformer gpt_oss(int layers, int experts) {
    return {.layer = {.config = {.hidden = 2880, .expert_hidden = 2880, .routed_experts = experts, .top_k = 4, .expert_bias = true},
                      .learned = experts},
            .attention = grouped_attention{.hidden = 2880, .heads = 64, .kv_heads = 8, .head_dim = 64, .input_bias = true, .output_bias = true},
            .layers = layers, .vocabulary = 201088};
}
static_assert(rounds_to(gpt_oss(36, 128).parameters(), 116.8 * B, 0.1 * B) && rounds_to(gpt_oss(36, 128).multiplied_parameters(), 5.1 * B, 0.1 * B));
static_assert(rounds_to(gpt_oss(24, 32).parameters(), 21 * B, B) && rounds_to(gpt_oss(24, 32).multiplied_parameters(), 3.6 * B, 0.1 * B));

// Llama 4: text only, the published 109 B of Scout holds its image encoder. Maverick has a mixture in every second layer.
constexpr transformer llama4(int experts, int period) {
    return {.layer = {.config = {.hidden = 5120, .expert_hidden = 8192, .routed_experts = experts, .top_k = 1, .shared_experts = 1}},
            .attention = grouped_attention{5120, 40, 8, 128}, .layers = 48, .vocabulary = 202048, .dense_hidden = 16384, .period = period};
}
static_assert(within(llama4(16, 1).parameters(), 109 * B, 0.012) && rounds_to(llama4(16, 1).active_parameters(), 17 * B, B));
static_assert(rounds_to(llama4(128, 2).parameters(), 400.7 * B, 0.1 * B) && rounds_to(llama4(128, 2).active_parameters(), 17.2 * B, 0.1 * B));

// GLaM 64B/64E: mixture in every second layer, plain experts, gated dense networks, tied head.
constexpr transformer glam{.layer = {.config = {.hidden = 8192, .expert_hidden = 32768, .routed_experts = 64, .top_k = 2}, .inputs = 1},
                           .attention = grouped_attention{8192, 128, 128, 128}, .layers = 64, .vocabulary = 256000, .tied_head = true,
                           .dense_hidden = 32768, .period = 2};
static_assert(rounds_to(glam.parameters(), 1160 * B, 10 * B) && rounds_to(glam.active_parameters(), 96.6 * B, 0.1 * B));

// Switch-Base: encoder and decoder as one stack of 24 layers, mixture in every second, plus the 12 attentions from decoder to encoder.
constexpr std::int64_t switch_base(int experts) {
    const cost::attention attention = grouped_attention{768, 12, 12, 64};
    const transformer both{.layer = {.config = {.hidden = 768, .expert_hidden = 3072, .routed_experts = experts, .top_k = 1}, .inputs = 1},
                           .attention = attention, .layers = 24, .vocabulary = 32128, .tied_head = true, .dense_hidden = 3072, .dense_inputs = 1,
                           .period = 2};
    return both.parameters() + 12 * attention.parameters;
}
static_assert(rounds_to(switch_base(8), 0.62 * B, 0.01 * B) && rounds_to(switch_base(128), 7.415 * B, 0.001 * B));

// ---- the DeepSeekMoE paper's FLOPs per sequence and parameters, in its own convention ----
// Vocabularies: 8192 (2B models, "8K"), 102400 (DeepSeek), 32000 (LLaMA2). Sequences: 2048 (2B models) and 4096.

constexpr paper of_2b(double active, double total = 0) {
    return {.layers = 9, .hidden = 1280, .vocabulary = 8192, .active = active, .total = total};
}
static_assert(rounds_to(of_2b(1).training_flops(2048), 2.88 * tera, 0.01 * tera));      // dense; top-1: Hash, Switch
static_assert(rounds_to(of_2b(2, 16).training_flops(2048), 4.33 * tera, 0.01 * tera));  // GShard, DeepSeekMoE
static_assert(rounds_to(of_2b(3, 24).training_flops(2048), 5.78 * tera, 0.01 * tera));              // GShard x 1.5
static_assert(rounds_to(of_2b(16).training_flops(2048), 24.63 * tera, 0.01 * tera));                // dense x 16
static_assert(rounds_to(of_2b(1).training_flops(2048), 2.9 * tera, 0.1 * tera));
static_assert(rounds_to(of_2b(2).training_flops(2048), 4.3 * tera, 0.1 * tera));
static_assert(rounds_to(of_2b(3).training_flops(2048), 5.8 * tera, 0.1 * tera));
static_assert(rounds_to(of_2b(16).training_flops(2048), 24.6 * tera, 0.1 * tera));
static_assert(rounds_to(of_2b(1).parameters(), 0.2 * B, 0.1 * B) && rounds_to(of_2b(1, 16).active_parameters(), 0.2 * B, 0.1 * B));
static_assert(rounds_to(of_2b(2, 16).parameters(), 1.97 * B, 0.01 * B) && rounds_to(of_2b(2, 16).active_parameters(), 0.32 * B, 0.01 * B));
static_assert(rounds_to(of_2b(2, 16).expert_parameters(), 1.89 * B, 0.01 * B));
static_assert(rounds_to(of_2b(2, 16).active_expert_parameters(), 0.24 * B, 0.01 * B));
static_assert(rounds_to(of_2b(2.4, 19.2).expert_parameters(), 2.3 * B, 0.1 * B));                   // GShard x 1.2
static_assert(rounds_to(of_2b(3, 24).expert_parameters(), 2.83 * B, 0.01 * B));

// 16B: (2 + 6) * 0.25 = 2 standard networks; its first layer is dense and as wide (10944 = 16.03 d^2 numbers).
constexpr paper paper_16b{.layers = 28, .hidden = 2048, .vocabulary = 102400, .active = 2, .total = 16.5, .dense_layers = 1};
static_assert(rounds_to(paper_16b.training_flops(4096), 74.42 * tera, 0.01 * tera));
static_assert(rounds_to(paper_16b.training_flops(4096), 74.4 * tera, 0.1 * tera));
static_assert(rounds_to(paper_16b.active_parameters(), 2.8 * B, 0.1 * B));
constexpr paper deepseek_7b{.layers = 30, .hidden = 4096, .vocabulary = 102400};
static_assert(rounds_to(deepseek_7b.training_flops(4096), 183.5 * tera, 0.1 * tera) && rounds_to(deepseek_7b.parameters(), 6.9 * B, 0.1 * B));
static_assert(rounds_to(paper_16b.training_flops(4096) / deepseek_7b.training_flops(4096), 0.406, 0.001));     // "about 40 %"
constexpr paper llama2_7b{.layers = 32, .hidden = 4096, .vocabulary = 32000};
static_assert(rounds_to(llama2_7b.training_flops(4096), 187.9 * tera, 0.1 * tera) && rounds_to(llama2_7b.parameters(), 6.7 * B, 0.1 * B));
// 67B: 12 d^2 a layer, although it shares keys among 8 heads and has wider networks.
constexpr paper deepseek_67b{.layers = 95, .hidden = 8192, .vocabulary = 102400};
static_assert(rounds_to(deepseek_67b.training_flops(4096), 2057.5 * tera, 0.1 * tera));

// The 137B to 145B models. A standard network counts 8 d^2 for GShard, and 8.25 d^2 where experts are 1408 = 0.125 * 11264 wide (rounded up
// from 0.125 * 8/3 d = 1365.3). The first layer is dense, as wide as what a token passes elsewhere. The paper's 585.6 T is 0.02 % more.
constexpr paper gshard_137b{.layers = 62, .hidden = 4096, .vocabulary = 102400, .active = 2, .total = 16, .dense_layers = 1};
static_assert(rounds_to(gshard_137b.training_flops(4096), 572.7 * tera, 0.1 * tera) && rounds_to(gshard_137b.active_parameters(), 21.6 * B, 0.1 * B));
static_assert(within(gshard_137b.parameters(), 136.5 * B, 0.002));
constexpr paper paper_145b{.layers = 62, .hidden = 4096, .vocabulary = 102400, .active = 2, .total = 132 * 0.125, .dense_layers = 1, .network = 8.25};
static_assert(rounds_to(paper_145b.training_flops(4096), 585.49 * tera, 0.01 * tera) && within(paper_145b.training_flops(4096), 585.6 * tera, 0.001));
static_assert(rounds_to(paper_145b.parameters(), 144.6 * B, 0.1 * B) && rounds_to(paper_145b.active_parameters(), 22.2 * B, 0.1 * B));
// 142B, half activated. Its published 12.2 B of active parameters does not go with its 374.6 T, which need 13.6 B.
constexpr paper paper_142b{.layers = 62, .hidden = 4096, .vocabulary = 102400, .active = 1, .total = 130 * 0.125, .dense_layers = 1, .network = 8.25};
static_assert(rounds_to(paper_142b.training_flops(4096), 374.6 * tera, 0.1 * tera) && rounds_to(paper_142b.parameters(), 142.3 * B, 0.1 * B));
static_assert(rounds_to(paper_142b.active_parameters(), 13.6 * B, 0.1 * B));

// ---- combinations ----

static_assert(cost::combinations(16, 2) == 120 && cost::combinations(64, 8) == 4426165368);
static_assert(cost::combinations(0, 0) == 1 && cost::combinations(5, 0) == 1 && cost::combinations(5, 5) == 1 && cost::combinations(5, 6) == 0);
static_assert(cost::combinations(66, 33) == 7219428434016265740 && cost::combinations(256, 8) == 409663695276000);
template <int n, int k> concept representable = requires { typename std::integral_constant<std::int64_t, cost::combinations(n, k)>; };
static_assert(representable<66, 33> && !representable<67, 33> && !representable<-1, 0> && !representable<3, -1>);

}  // namespace
