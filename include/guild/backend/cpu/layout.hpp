#pragma once
#include <guild/backend/cpu/table.hpp>

#include <algorithm>
#include <bit>

namespace guild::inline v0::cpu {

/// How a packed matrix [outputs, depth] lies in memory: panels of `columns` outputs, `wide` of which stand together; of these first the block
/// of the first `block` of the depth of each panel, then the next. So what is read lies in the order in which it is read. Within a block
/// [depth / numbers, columns, numbers], `numbers` of ascending depth in a word of 32 bits; the last block is padded to a multiple of `unit`.
class layout {
public:
    static constexpr long together = 128;  ///< outputs of panels that stand together, unless a layout is told otherwise

    layout() = default;
    /// `parts` matrices of outputs / parts rows stand side by side in every panel; panels of `run` outputs stand together.
    layout(long outputs, long depth, int columns, int parts, long numbers, long block, long unit, long run = together)
        : outputs_(outputs),
          depth_(depth),
          columns_(columns),
          numbers_(numbers),
          block_(block),
          unit_(unit),
          log_wide_(std::countr_zero(static_cast<unsigned>(run / columns))),
          panels_((outputs / parts + columns / parts - 1) / (columns / parts)),
          blocks_((depth + block - 1) / block),
          block_bytes_(bytes(block)),
          last_bytes_(blocks_ > 0 ? bytes(k(blocks_ - 1)) : 0) {}

    long outputs() const { return outputs_; }
    long depth() const { return depth_; }
    int columns() const { return columns_; }
    long block() const { return block_; }
    long wide() const { return 1L << log_wide_; }
    long panels() const { return panels_; }
    long blocks() const { return blocks_; }
    /// Depth of block b.
    long k(long b) const { return (std::min)(block_, depth_ - b * block_); }
    long words(long k) const { return ((k + unit_ - 1) / unit_ * unit_ + numbers_ - 1) / numbers_; }
    /// Bytes of block b of a panel.
    long bytes_of(long b) const { return b + 1 < blocks_ ? block_bytes_ : last_bytes_; }
    /// Bytes of all blocks of a panel.
    long panel_bytes() const { return (blocks_ - 1) * block_bytes_ + last_bytes_; }
    /// Bytes of a matrix.
    long size() const { return panels_ * panel_bytes(); }
    /// Where block b of a panel begins.
    long at(long panel, long b) const {
        const long first = panel >> log_wide_ << log_wide_, beside = (std::min)(wide(), panels_ - first);
        return first * panel_bytes() + b * beside * block_bytes_ + (panel - first) * bytes_of(b);
    }

private:
    long bytes(long k) const { return words(k) * columns_ * 4; }
    long outputs_ = 0, depth_ = 0;
    int columns_ = 1;
    long numbers_ = 1, block_ = depth_block, unit_ = 1;
    int log_wide_ = 0;
    long panels_ = 0, blocks_ = 0, block_bytes_ = 0, last_bytes_ = 0;
};

}  // namespace guild::inline v0::cpu
