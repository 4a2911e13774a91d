#include <guild/gate/published/gates.hpp>
#include <guild/gate/published/research.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/warp_case.hpp>

using namespace guild;

// Gates that look at one token. Those that look across tokens decide on the host; what is left for a token is compiled with them.

namespace {
template <int K = 4> void agrees(const auto& gate) {
    for (const int E : {8, 33}) test::warp_agrees(sized<64>(gate, E, K));
}
}  // namespace

TEST_CASE("warp: the routers that led to today's") {
    agrees(dense_gate{});
    agrees(hierarchical_gate{.groups = 1});
    agrees(noisy_top_k_gate{});
    agrees<2>(gshard_gate{});
    agrees<1>(switch_gate{});
}
TEST_CASE("warp: DeepSeek's and their relatives") {
    agrees(deepseek_v4_gate{});
    agrees(glm4_gate{});
    agrees(kimi_k2_gate{});
    agrees(moonlight_gate{});
    agrees(minimax_m2_gate{});
    agrees(lfm2_gate{});
    agrees(muse_spark_gate{});
    agrees(laguna_gate{});
    agrees(kolibri_gate{});
    agrees(flint_gate{});
    agrees(inkling_gate{.shared = 2});
    agrees(mistral4_gate{});
}
TEST_CASE("warp: softmax and logits") {
    agrees(qwen2_gate{});
    agrees(dbrx_gate{.p = 2});
    agrees(gpt_oss_gate{});
    agrees<1>(llama4_gate{});
    agrees(ernie_gate{});
    agrees(gemma4_gate{});
    agrees(longcat_gate{});
    agrees(remoe_gate{});
    agrees<2>(phi_moe_gate{});
    agrees<1>(xmoe_gate{.dimension = 40});
}
