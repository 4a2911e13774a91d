#pragma once
#include <guild/backend/cpu/layout.hpp>
#include <guild/backend/cpu/memory.hpp>
#include <guild/backend/cpu/strategy.hpp>
#include <guild/backend/cpu/sweep.hpp>

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace guild::inline v0::cpu {

/// What a format's matrix is made of: codes, each of `per_code` numbers of ascending depth, and scales for every `group` of the depth, if any.
template <class Format> struct parts_of {
    using code = Format;
    struct scale {};
    static constexpr long per_code = 1, group = 1L << 62;
    static constexpr bool scaled = false;
};
template <has_scales Format> struct parts_of<Format> {
    using code = typename Format::code;
    using scale = typename Format::scale;
    static constexpr long per_code = Format::per_code, group = Format::columns;
    static constexpr bool scaled = true;
};

/// Most outputs of a matrix by which one_row.hpp multiplies rows one by one, and most such rows.
inline constexpr long few_outputs = 4 * depth_block, few_rows = 8;

/// Matrices [E, outputs, depth] in a layout for the kernels of one instruction set and one arithmetic. Codes and scales are kept exactly.
template <class Format> class packed_matrix {
    using parts = parts_of<Format>;

public:
    using code = typename parts::code;
    using scale = typename parts::scale;
    static constexpr long codes = 4 / sizeof(code), numbers = codes * parts::per_code;  ///< in a word
    static constexpr long most_whole = 16384;                                           ///< the deepest matrix whose rows are gathered whole

    packed_matrix() = default;
    packed_matrix(const strategy& s, int columns, long experts, long outputs, long depth, int side_by_side)
        : layout_(checked(s, experts, outputs, depth), depth, columns, side_by_side, numbers, s.tiles->block, (std::max)(numbers, s.tiles->unit),
                  whole(s, depth) ? columns : layout::together),
          experts_(experts),
          few_rows_(few(s, layout_)),
          strategy_(s),
          memory_(bytes(layout_.depth() > 0 ? layout_.size() : 0)),
          scales_(bytes(parts::scaled ? layout_.panels() * groups() * columns * static_cast<long>(sizeof(scale)) : 0)),
          sums_(bytes(s.by == arithmetic::int8 && s.tiles->offset ? layout_.panels() * columns * 4 : 0)) {}

    const cpu::layout& shape() const { return layout_; }
    /// Whether the blocks of a panel follow each other, for tiles that meet a row's whole depth.
    bool whole() const { return whole(strategy_, layout_.depth()); }
    long experts() const { return experts_; }
    const cpu::strategy& computed() const { return strategy_; }
    /// Bytes that it takes.
    std::size_t size() const { return memory_.size() + scales_.size() + sums_.size(); }

    /// Up to how many rows are multiplied one by one: those of fp32 over a single block that cost less than what a thread is woken for.
    long few_rows() const { return few_rows_; }

    const void* begin(long e) const { return memory_.data() + e * layout_.size(); }
    const std::byte* block(long e, long panel, long b) const { return memory_.data() + e * layout_.size() + layout_.at(panel, b); }
    /// Scales of a panel, [groups, columns].
    const scale* scales(long e, long panel) const {
        if constexpr (!parts::scaled) return nullptr;
        return scales_.as<const scale>() + (e * layout_.panels() + panel) * groups() * layout_.columns();
    }
    /// Sums of the int8 of each column of a panel, where the tiles want them, or null.
    const std::int32_t* sums(long e, long panel) const {
        if (sums_.size() == 0) return nullptr;
        return sums_.as<const std::int32_t>() + (e * layout_.panels() + panel) * layout_.columns();
    }

    /// Packs a panel: row(j) is the stored row of its column j, null for zeros; scales(j) the row's scales.
    template <class Row> void fill(const kernels& with, long e, long panel, Row row) {
        fill(with, e, panel, row, [](int) { return nullptr; });
    }
    template <class Row, class Scales> void fill(const kernels& with, long e, long panel, Row row, Scales scales_of) {
        alignas(64) static constexpr std::byte zeros[1024]{};  // as many as a row has in a block
        const code* rows[most_columns];
        const char* from[most_columns];
        std::int32_t total[most_columns]{};
        for (int j = 0; j < layout_.columns(); ++j) rows[j] = row(j);
        for (long b = 0; b < layout_.blocks(); ++b) {
            const long whole = codes_of(b) / codes;
            for (int j = 0; j < layout_.columns(); ++j)
                from[j] = reinterpret_cast<const char*>(rows[j] ? static_cast<const void*>(rows[j] + first(b)) : zeros);
            std::byte* const to = const_cast<std::byte*>(block(e, panel, b));
            with.transpose(from, layout_.columns(), whole, to, b + 1 < layout_.blocks() ? 512 : 0);
            fill_end(with, rows, b, to + 4 * whole * layout_.columns());
            if (sums_.size() > 0) strategy_.tiles->total(to, layout_.words(layout_.k(b)), total);
        }
        if (sums_.size() > 0) std::copy_n(total, layout_.columns(), const_cast<std::int32_t*>(sums(e, panel)));
        if constexpr (parts::scaled)
            for (int j = 0; j < layout_.columns(); ++j) {
                const scale* const of = rows[j] ? scales_of(j) : nullptr;
                for (long g = 0; g < groups(); ++g) const_cast<scale*>(scales(e, panel))[g * layout_.columns() + j] = of ? of[g] : scale{};
            }
    }
    /// The reverse, the same codes and scales: row(j) is where column j goes, scales_of(j) its scales; null: nowhere.
    template <class Row, class Scales> void unpack(const kernels& with, long e, long panel, Row row, Scales scales_of) const {
        alignas(64) char nowhere[1024];
        char* to[most_columns];
        for (long b = 0; b < layout_.blocks(); ++b) {
            const long n = codes_of(b), whole = n / codes;
            for (int j = 0; j < layout_.columns(); ++j) to[j] = row(j) ? reinterpret_cast<char*>(row(j) + first(b)) : nowhere;
            with.restore(block(e, panel, b), whole, to);
            const std::byte* const end = block(e, panel, b) + 4 * whole * layout_.columns();
            for (int j = 0; j < layout_.columns() && n % codes > 0; ++j)
                std::memcpy(to[j] + 4 * whole, end + 4 * j, static_cast<std::size_t>(n % codes) * sizeof(code));
        }
        if constexpr (parts::scaled)
            for (int j = 0; j < layout_.columns(); ++j)
                if (scale* const of = scales_of(j))
                    for (long g = 0; g < groups(); ++g) of[g] = scales(e, panel)[g * layout_.columns() + j];
    }

private:
    static bool whole(const strategy& s, long depth) { return s.tiles->whole && depth <= most_whole; }
    static long few(const strategy& s, const cpu::layout& l) {
        if (!std::is_same_v<Format, float> || s.by != arithmetic::fp32 || l.blocks() != 1 || l.outputs() > few_outputs) return 0;
        return (std::min)(cpu::few_rows, (1L << 18) / (std::max)(l.panels() * l.columns() * l.depth(), 1L));
    }
    /// The outputs; throws argument_error if the bytes, or the sums of int8, may not fit.
    static long checked(const strategy& s, long experts, long outputs, long depth) {
        if (static_cast<double>(experts) * static_cast<double>(outputs) * static_cast<double>(depth) > 0x1p56)
            guild::detail::raise<argument_error>("guild::cpu: weights to pack are [", experts, ", ", outputs, ", ", depth,
                                                 "], expected at most 2^56 numbers");
        if (s.by == arithmetic::int8 && depth > 65536)
            guild::detail::raise<argument_error>("guild::cpu: arithmetic int8 over a depth of ", depth,
                                                 ", expected at most 65536, whose sums fit in 32 bits");
        return outputs;
    }
    /// Codes of a row in block b, and the first of them.
    long codes_of(long b) const { return (layout_.k(b) + parts::per_code - 1) / parts::per_code; }
    long first(long b) const { return b * layout_.block() / parts::per_code; }
    /// The words of block b that codes do not fill, at most 16 of a row: what is left of the rows, then zeros.
    void fill_end(const kernels& with, const code* const* rows, long b, std::byte* to) const {
        constexpr long most = 16 * codes;
        const long words = layout_.words(layout_.k(b)) - codes_of(b) / codes, left = codes_of(b) % codes;
        if (words == 0) return;
        alignas(64) code ends[std::size_t{most_columns * most}]{};
        const char* from[most_columns];
        for (int j = 0; j < layout_.columns(); ++j) {
            if (rows[j]) std::copy_n(rows[j] + first(b) + codes_of(b) - left, left, ends + j * most);
            from[j] = reinterpret_cast<const char*>(ends + j * most);
        }
        with.transpose(from, layout_.columns(), words, to, 0);
    }
    long groups() const { return parts::group >= layout_.depth() ? 1 : (layout_.depth() + parts::group - 1) / parts::group; }
    std::size_t bytes(long each) const {
        const auto size = static_cast<std::size_t>(each), n = static_cast<std::size_t>(experts_);
        if (size != 0 && n > (std::size_t(1) << 62) / size) guild::detail::out_of_memory();
        return size * n;
    }
    cpu::layout layout_;
    long experts_ = 0, few_rows_ = 0;
    cpu::strategy strategy_;
    memory memory_, scales_, sums_;
};

}  // namespace guild::inline v0::cpu
