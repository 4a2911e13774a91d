#include <guild/gate/gates.hpp>
#include <guild/gate/warp.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/noisy_gate.hpp>
#include <support/warp_emulator.hpp>

#include <algorithm>
#include <string>
#include <vector>

using namespace guild;

namespace {
/// The warp does what the plain loop does, on every token of a case.
template <class Model> void agrees(const Model& m) {
    const gate_case<Model> c(m);
    const auto n = m.extent();
    const int E = c.E, P = c.P, W = c.W;
    CAPTURE(E);
    CAPTURE(W);
    std::vector<int> expert(static_cast<std::size_t>(c.tokens * W), -7);
    std::vector<float> weight(expert.size(), -7.f), d_logit = c.before, d_learned(c.d_learned.size()), d_previous(c.d_previous.size());
    const auto same = [](const auto* a, const auto* b, long count, auto equal) { return std::equal(a, a + count, b, equal); };
    warp_emulator warp;
    for (long t = 0; t < c.tokens; ++t) {
        if (gate::padded(c.side, t)) continue;
        const auto token = gate::token_at<float>(t, c.side, c.data, nullptr);
        const float *const logit = c.logit.data() + t * P, *const d_weight = c.d_weight.data() + t * W, *const d_score = c.d_score.data() + t * E;
        int* const chosen = expert.data() + t * W;
        warp.run([&](const warp_emulator::thread& thread) {
            gate::forward_warp(thread, m.stages(), n, token, logit, chosen, weight.data() + t * W);
            gate::backward_warp(thread, m.stages(), n, token, logit, d_weight, d_score, d_logit.data() + t * P, d_learned.data(),
                                d_previous.data() + t * E);
        });
        CAPTURE(t);
        CHECK(same(chosen, c.result.choice.expert.data() + t * W, W, std::equal_to<>{}));
        CHECK(same(weight.data() + t * W, c.result.choice.weight.data() + t * W, W, nearly));
        CHECK(same(d_logit.data() + t * P, c.d_logit.data() + t * P, P, nearly));
    }
    CHECK(same(d_previous.data(), c.d_previous.data(), c.tokens * E, nearly));
    CHECK(same(d_learned.data(), c.d_learned.data(), c.L, nearly));
}
/// At sizes around its 32 lanes.
void agrees_at_all_sizes(const auto& gate) {
    for (const int E : {1, 31, 32, 33, 64}) agrees(sized<256>(gate, E, std::min(E, 8)));
    agrees(sized<256>(gate, 33, 33));
    agrees(sized<256>(gate, 256, 8));
}
std::string error_of(auto body) {
    try {
        warp_emulator().run(body);
    } catch (const std::logic_error& e) { return e.what(); }
    return "none";
}
}  // namespace

TEST_CASE("warp: every published gate") {
    agrees_at_all_sizes(deepseek_moe_gate{});
    agrees_at_all_sizes(deepseek_v2_lite_gate{.scale = 1.5});
    agrees_at_all_sizes(mixtral_gate{});
    agrees_at_all_sizes(qwen3_gate{});
    agrees(sized<256>(gshard_gate{}, 16, 2));
    agrees(sized<256>(switch_gate{}, 16, 1));
    agrees(sized<256>(deepseek_v2_gate{}, 160, 6));
    agrees(sized<256>(deepseek_v2_gate{.groups = 2, .keep = 2}, 64, 64));
    agrees(sized<256>(deepseek_v2_gate{.groups = 11, .keep = 2}, 33, 6));
    agrees(sized<256>(deepseek_v3_gate{.groups = 1, .keep = 1}, 31, 31));
    agrees(sized<256>(deepseek_v3_gate{.groups = 32, .keep = 5}, 32, 5));
    agrees(sized<256>(deepseek_v3_gate{.groups = 11, .keep = 3}, 33, 8));
}
TEST_CASE("warp: all of 256 experts") { agrees(sized<256>(mixtral_gate{}, 256, 256)); }
TEST_CASE("warp: sizes known to the compiler") {
    agrees(fixed<256, 8>(deepseek_v3_gate{}));
    agrees(fixed<8, 2>(mixtral_gate{}));
}
TEST_CASE("warp: extra logits, learned numbers and random draws of a user's stage") { agrees_at_all_sizes(noisy_gate{}); }

TEST_CASE("warp: a penalty on load, cosines, logits of the layer before") {
    agrees_at_all_sizes(specialised_gate{});
    for (const int E : {1, 31, 33, 64}) {
        agrees(sized<64>(moe_plus_plus_gate{}, E, std::min(E, 4)));
        agrees(sized<64>(cosine_gate{.dimension = 40}, E, std::min(E, 4)));
    }
}

TEST_CASE("warp_emulator: lanes exchange, and a lane that stays away is found") {
    int seen[32] = {};
    warp_emulator().run([&](const auto& thread) {
        const int mine = static_cast<int>(thread.lane()), other = thread.shfl_xor(mine, 5u);
        seen[thread.lane()] = 100 * other + thread.shfl(other, 3u);
    });
    for (int l = 0; l < 32; ++l) CHECK(seen[l] == 100 * (l ^ 5) + (3 ^ 5));

    CHECK(error_of([](const auto& t) {
              if (t.lane() < 30) t.shfl(1, 0);
          }) == "warp_emulator: lane 0 waits at a shuffle that 2 lanes never reach");
    CHECK(error_of([](const auto& t) {
              if (t.lane() < 31) t.shfl(1, 0);
              else t.shfl(1.0, 0);
          }) == "warp_emulator: lanes 0 and 31 meet at different shuffles");
    CHECK(error_of([](const auto& t) {
              t.shfl(1, 0);
              if (t.lane() == 4) throw std::logic_error("of a lane");
              t.shfl(1, 0);
          }) == "of a lane");
}
