// Forward and backward of every published gate at the sizes of a published model, of a stage with extra logits, learned numbers and
// random draws, of stages without adjoints, and of sizes read at run time.
#include <guild/cuda/gate.cuh>
#include <guild/model.hpp>
#include <support/comparing_gate.hpp>
#include <support/noisy_gate.hpp>

namespace gates {
using namespace guild;

template <int E, int K, auto Gate> struct gated : model<config{.hidden = 1, .expert_hidden = 1, .routed_experts = E, .top_k = K}, Gate> {};

template <class Model>
cudaError_t launch(const Model& m, long T, const gate_data<float>& data, const cuda::batch& side, float* numbers, int* expert) {
    cuda::gate_forward<<<cuda::gate_blocks(T), cuda::gate_threads>>>(m.stages(), m.extent(), data, side, numbers, T, expert, numbers, numbers);
    const auto n = m.extent();
    const gate::result_gradient<float> by{{numbers, T, n.slots}, numbers, {numbers, T, n.experts}, numbers};
    cuda::gate_backward<<<cuda::gate_blocks(T), cuda::gate_threads>>>(m.stages(), n, data, side, numbers, T, by, numbers, numbers, numbers);
    return cudaGetLastError();
}
// nvcc counts the numbers of stages as the host's compiler does.
static_assert(gpt_oss_gate{}.stages().learned(8) == 8 && cosine_gate{}.stages().learned(8) == 9 * 256 + 1);
static_assert(deepseek_v3_gate{}.stages().state(8) == 8 && noisy_gate{}.stages().learned(8) == 9);
#define LAUNCH(...) template cudaError_t launch(const __VA_ARGS__&, long, const gate_data<float>&, const cuda::batch&, float*, int*);

LAUNCH(gated<64, 6, deepseek_moe_gate{}>)
LAUNCH(gated<160, 6, deepseek_v2_gate{}>)
LAUNCH(gated<64, 6, deepseek_v2_lite_gate{}>)
LAUNCH(gated<256, 8, deepseek_v3_gate{}>)
LAUNCH(gated<8, 2, mixtral_gate{}>)
LAUNCH(gated<128, 8, qwen3_gate{}>)
LAUNCH(gated<16, 2, gshard_gate{}>)
LAUNCH(gated<16, 1, switch_gate{}>)
LAUNCH(gated<64, 4, noisy_gate{}>)
LAUNCH(gated<64, 4, comparing_gate{}>)  // adjoints that are derived

// The routers that led to today's. Those that look across tokens take what the host decided.
LAUNCH(gated<8, 8, dense_gate{}>)
LAUNCH(gated<8, 8, hierarchical_gate{}>)
LAUNCH(gated<64, 4, noisy_top_k_gate{}>)
LAUNCH(gated<16, 2, gshard_capacity_gate{}>)
LAUNCH(gated<16, 2, fairseq_top2_gate{}>)
LAUNCH(gated<16, 2, fairseq_sampled_top2_gate{}>)
LAUNCH(gated<16, 2, fairseq_top2_before_gate{}>)
LAUNCH(gated<16, 1, switch_capacity_gate{}>)
LAUNCH(gated<16, 1, hash_gate{}>)
LAUNCH(gated<16, 1, base_gate{}>)
LAUNCH(gated<16, 1, expert_choice_gate{}>)

LAUNCH(gated<256, 6, deepseek_v4_gate{}>)
LAUNCH(gated<256, 6, deepseek_v4_hash_gate{}>)
LAUNCH(gated<64, 8, qwen2_gate{}>)
LAUNCH(gated<16, 4, dbrx_gate{}>)
LAUNCH(gated<128, 4, gpt_oss_gate{}>)
LAUNCH(gated<128, 1, llama4_gate{}>)
LAUNCH(gated<64, 6, ernie_gate{}>)
LAUNCH(gated<160, 8, glm4_gate{}>)
LAUNCH(gated<384, 8, kimi_k2_gate{}>)
LAUNCH(gated<64, 6, moonlight_gate{}>)
LAUNCH(gated<256, 8, minimax_m2_gate{}>)
LAUNCH(gated<64, 4, lfm2_gate{}>)
LAUNCH(gated<64, 4, muse_spark_gate{}>)
LAUNCH(gated<64, 4, laguna_gate{}>)
LAUNCH(gated<64, 4, kolibri_gate{}>)
LAUNCH(gated<64, 4, flint_gate{}>)
template <>
struct gated<64, 4, inkling_gate{}>
    : model<config{.hidden = 1, .expert_hidden = 1, .routed_experts = 64, .top_k = 4, .shared_experts = 1}, inkling_gate{}> {};
LAUNCH(gated<64, 4, inkling_gate{}>)
LAUNCH(gated<128, 8, gemma4_gate{}>)
LAUNCH(gated<64, 4, mistral4_gate{}>)
LAUNCH(gated<768, 12, longcat_gate{}>)
LAUNCH(gated<16, 16, remoe_gate{}>)
LAUNCH(gated<16, 2, phi_moe_gate{}>)

LAUNCH(gated<64, 4, specialised_gate{}>)
LAUNCH(gated<64, 4, cosine_gate{}>)
LAUNCH(gated<64, 1, xmoe_gate{}>)
LAUNCH(gated<12, 2, moe_plus_plus_gate{}>)
LAUNCH(dynamic_model<deepseek_v3_gate, swiglu, plain_shared, 64>)
}  // namespace gates
