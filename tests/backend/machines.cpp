#include "machines.hpp"

#include "emulated_avx512.hpp"

namespace emulated {

std::vector<machine> machines() {
    namespace cpu = guild::cpu;
    std::vector<machine> all;
    for (int i = 0; i <= static_cast<int>(cpu::detected()); ++i) {
        const auto level = static_cast<cpu::isa>(i);
        all.push_back({std::string(cpu::name(level)), cpu::kernels_of(level), &cpu::bf16_kernels_of(level), &cpu::int8_kernels_of(level),
                       &cpu::decode_kernels_of(level)});
    }
#if defined(__x86_64__)
    if (cpu::detected() >= cpu::isa::avx2) {  // whose functions the emulation calls
        static const cpu::kernels of_avx512 = avx512::values();
        static const cpu::bf16_kernels f = avx512::bf16_values(), chain = avx512_bf16::bf16_values(), tiles = [] {
            cpu::bf16_kernels k = chain;
            k.pairs = amx::tiles<false>(amx::pair_row);
            k.pairs.enter = flush, k.pairs.leave = unflush;  // there are no tiles to configure
            return k;
        }();
        static const cpu::tile_kernels int8 = avx512::int8_table<>(), vnni = avx512_vnni::int8_table(), tiles8 = [] {
            cpu::tile_kernels k = amx::tiles<true>(amx::signed_row);
            k.enter = nullptr, k.leave = nullptr;
            return k;
        }();
        const cpu::decode_kernels* const decode = &avx512::decode_table<>();
        all.push_back({"emulated avx512", &of_avx512, &f, &int8, decode});
        all.push_back({"emulated avx512_vnni, avx512_bf16", &of_avx512, &chain, &vnni, decode});
        all.push_back({"emulated amx", &of_avx512, &tiles, &tiles8, decode});
    }
#endif
    return all;
}

}  // namespace emulated
