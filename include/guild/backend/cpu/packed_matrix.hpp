#pragma once
#include <guild/backend/cpu/memory.hpp>
#include <guild/backend/cpu/strategy.hpp>
#include <guild/backend/cpu/sweep.hpp>
#include <guild/core/stack.hpp>

#include <cstring>

namespace guild::inline v0::cpu {

/// How a packed matrix [outputs, depth] lies in memory: panels of `columns` outputs, `wide` of which stand together; of these first the block
/// of the first `block` of the depth of each panel, then the next. So what is read lies in the order in which it is read. Within a block
/// [depth / numbers, columns, numbers], `numbers` of ascending depth in a word of 32 bits.
struct layout {
    long outputs = 0, depth = 0;
    int columns = 1, parts = 1;            ///< `parts` matrices of outputs / parts rows, side by side in every panel
    int numbers = 1;                       ///< in a word
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

/// Matrices [E, outputs, depth] in a layout for the kernels of one instruction set and one arithmetic. Numbers are kept exactly.
template <class Format> class packed_matrix {
    static constexpr int numbers = 4 / sizeof(Format);

public:
    packed_matrix() = default;
    packed_matrix(const strategy& s, int columns, long experts, long outputs, long depth, int parts)
        : layout_{outputs, depth, columns, parts, numbers, s.tiles->block, std::max<long>(numbers, s.tiles->unit)},
          experts_(experts),
          strategy_(s),
          memory_(total()) {}

    const cpu::layout& shape() const { return layout_; }
    long experts() const { return experts_; }
    const cpu::strategy& computed() const { return strategy_; }
    const std::byte* block(long e, long panel, long b) const { return memory_.data() + e * layout_.size() + layout_.at(panel, b); }

    /// Packs a panel: row(j) is the stored row of its column j, null for zeros.
    template <class Row> void fill(const kernels& with, long e, long panel, Row row) {
        constexpr long most = 256 * numbers;
        alignas(64) Format rows[most_columns * most];
        for (long b = 0; b < layout_.blocks(); ++b) {
            const long k = layout_.k(b), words = layout_.words(k);
            for (int j = 0; j < layout_.columns; ++j) {
                const Format* const from = row(j);
                Format* const to = rows + j * most;
                if (from) std::copy_n(from + b * layout_.block, k, to);
                std::fill(to + (from ? k : 0), to + words * numbers, Format{});
            }
            with.transpose(rows, sizeof(Format) * most, layout_.columns, words, memory_.data() + e * layout_.size() + layout_.at(panel, b));
        }
    }
    /// Number k of column j of a panel, as stored.
    Format operator()(long e, long panel, int j, long k) const {
        const long b = k / layout_.block, within = k % layout_.block, word = within / numbers * layout_.columns + j;
        Format number;
        std::memcpy(&number, block(e, panel, b) + 4 * word + within % numbers * static_cast<long>(sizeof(Format)), sizeof number);
        return number;
    }

private:
    std::size_t total() const {
        const auto size = static_cast<std::size_t>(layout_.depth > 0 ? layout_.size() : 0), n = static_cast<std::size_t>(experts_);
        if (size != 0 && n > (std::size_t(1) << 62) / size) throw std::bad_alloc{};
        return size * n;
    }
    cpu::layout layout_;
    long experts_ = 0;
    cpu::strategy strategy_;
    memory memory_;
};

}  // namespace guild::inline v0::cpu
