#pragma once
#include <support/products.hpp>

#include <string>
#include <vector>

namespace emulated {

/// Kernels of an instruction set that this machine has, or the text of one over emulated instructions.
struct machine {
    std::string name;
    const guild::cpu::kernels* kernels;
    const guild::cpu::bf16_kernels* bf16;
    const guild::cpu::tile_kernels* int8;
    const guild::cpu::decode_kernels* decode;
};
std::vector<machine> machines();

}  // namespace emulated
