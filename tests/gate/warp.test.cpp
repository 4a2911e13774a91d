#include <guild/gate/published/gates.hpp>
#include <guild/gate/warp.hpp>

#include <doctest/doctest.h>
#include <support/comparing_gate.hpp>
#include <support/gate_case.hpp>
#include <support/noisy_gate.hpp>
#include <support/warp_case.hpp>

#include <algorithm>
#include <string>
#include <vector>

using namespace guild;
using test::warp_agrees;

namespace {
/// At sizes around its 32 lanes.
void agrees_at_all_sizes(const auto& gate) {
    for (const int E : {1, 31, 32, 33, 64}) warp_agrees(sized<256>(gate, E, std::min(E, 8)));
    warp_agrees(sized<256>(gate, 33, 33));
    warp_agrees(sized<256>(gate, 256, 8));
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
    warp_agrees(sized<256>(gshard_gate{}, 16, 2));
    warp_agrees(sized<256>(switch_gate{}, 16, 1));
    warp_agrees(sized<256>(deepseek_v2_gate{}, 160, 6));
    warp_agrees(sized<256>(deepseek_v2_gate{.groups = 2, .keep = 2}, 64, 64));
    warp_agrees(sized<256>(deepseek_v2_gate{.groups = 11, .keep = 2}, 33, 6));
    warp_agrees(sized<256>(deepseek_v3_gate{.groups = 1, .keep = 1}, 31, 31));
    warp_agrees(sized<256>(deepseek_v3_gate{.groups = 32, .keep = 5}, 32, 5));
    warp_agrees(sized<256>(deepseek_v3_gate{.groups = 11, .keep = 3}, 33, 8));
}
TEST_CASE("warp: all of 256 experts") { warp_agrees(sized<256>(mixtral_gate{}, 256, 256)); }
TEST_CASE("warp: sizes known to the compiler") {
    warp_agrees(fixed<256, 8>(deepseek_v3_gate{}));
    warp_agrees(fixed<8, 2>(mixtral_gate{}));
}
TEST_CASE("warp: extra logits, learned numbers and random draws of a user's stage") { agrees_at_all_sizes(noisy_gate{}); }

TEST_CASE("warp: adjoints that are derived, of stages that compare") {
    for (const int E : {1, 5, 31, 32, 33, 64}) warp_agrees(sized<64>(comparing_gate{}, E, std::min(E, 4)), true);
}

TEST_CASE("warp: a penalty on load, cosines, logits of the layer before") {
    agrees_at_all_sizes(specialised_gate{});
    for (const int E : {1, 31, 33, 64}) {
        warp_agrees(sized<64>(moe_plus_plus_gate{}, E, std::min(E, 4)));
        warp_agrees(sized<64>(cosine_gate{.dimension = 40}, E, std::min(E, 4)));
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
