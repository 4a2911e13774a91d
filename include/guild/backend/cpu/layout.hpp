#pragma once
#include <guild/backend/cpu/table.hpp>

#include <algorithm>

namespace guild::inline v0::cpu {

/// How a packed matrix [outputs, depth] lies in memory: panels of `columns` outputs, `wide` of which stand together; of these first the block
/// of the first `block` of the depth of each panel, then the next. So what is read lies in the order in which it is read. Within a block
/// [depth / numbers, columns, numbers], `numbers` of ascending depth in a word of 32 bits.
struct layout {
    long outputs = 0, depth = 0;
    int columns = 1, parts = 1;            ///< `parts` matrices of outputs / parts rows, side by side in every panel
    long numbers = 1;                      ///< in a word
    long block = depth_block, unit = 1;    ///< of the depth; the last block is padded to a multiple of `unit`
    static constexpr long together = 128;  ///< outputs

    long wide() const { return together / columns; }
    long panels() const { return (outputs / parts + columns / parts - 1) / (columns / parts); }
    long blocks() const { return (depth + block - 1) / block; }
    /// Depth of a block.
    long k(long b) const { return std::min(block, depth - b * block); }
    long words(long k) const { return ((k + unit - 1) / unit * unit + numbers - 1) / numbers; }
    /// Bytes of k of a panel.
    long bytes(long k) const { return words(k) * columns * 4; }
    long panel_bytes() const { return (blocks() - 1) * bytes(block) + bytes(k(blocks() - 1)); }
    long size() const { return panels() * panel_bytes(); }
    long at(long panel, long b) const {
        const long first = panel / wide() * wide(), beside = std::min(wide(), panels() - first);
        return first * panel_bytes() + b * beside * bytes(block) + (panel - first) * bytes(k(b));
    }
};

}  // namespace guild::inline v0::cpu
