#pragma once
#include <guild/backend/cpu/layout.hpp>
#include <guild/backend/cpu/memory.hpp>
#include <guild/backend/cpu/strategy.hpp>
#include <guild/backend/cpu/sweep.hpp>

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

/// Matrices [E, outputs, depth] in a layout for the kernels of one instruction set and one arithmetic. Codes and scales are kept exactly.
template <class Format> class packed_matrix {
    using parts = parts_of<Format>;

public:
    using code = typename parts::code;
    using scale = typename parts::scale;
    static constexpr long codes = 4 / sizeof(code), numbers = codes * parts::per_code;  ///< in a word

    packed_matrix() = default;
    packed_matrix(const strategy& s, int columns, long experts, long outputs, long depth, int side_by_side)
        : layout_(checked(s, experts, outputs, depth), depth, columns, side_by_side, numbers, s.tiles->block, std::max(numbers, s.tiles->unit)),
          experts_(experts),
          strategy_(s),
          memory_(bytes(layout_.depth() > 0 ? layout_.size() : 0)),
          scales_(bytes(parts::scaled ? layout_.panels() * groups() * columns * static_cast<long>(sizeof(scale)) : 0)),
          sums_(bytes(s.by == arithmetic::int8 ? layout_.panels() * columns * 4 : 0)) {}

    const cpu::layout& shape() const { return layout_; }
    long experts() const { return experts_; }
    const cpu::strategy& computed() const { return strategy_; }
    /// Bytes that it takes.
    std::size_t size() const { return memory_.size() + scales_.size() + sums_.size(); }

    const std::byte* block(long e, long panel, long b) const { return memory_.data() + e * layout_.size() + layout_.at(panel, b); }
    /// Scales of a panel, [groups, columns].
    const scale* scales(long e, long panel) const {
        if constexpr (!parts::scaled) return nullptr;
        return reinterpret_cast<const scale*>(scales_.data()) + (e * layout_.panels() + panel) * groups() * layout_.columns();
    }
    /// Sums of the int8 of each column of a panel, for arithmetic::int8.
    const std::int32_t* sums(long e, long panel) const {
        return reinterpret_cast<const std::int32_t*>(sums_.data()) + (e * layout_.panels() + panel) * layout_.columns();
    }

    /// Packs a panel: row(j) is the stored row of its column j, null for zeros; scales(j) the row's scales.
    template <class Row> void fill(const kernels& with, long e, long panel, Row row) {
        fill(with, e, panel, row, [](int) { return nullptr; });
    }
    template <class Row, class Scales> void fill(const kernels& with, long e, long panel, Row row, Scales scales_of) {
        constexpr long most = 256 * codes;
        alignas(64) code rows[most_columns * most];
        for (long b = 0; b < layout_.blocks(); ++b) {
            const long n = (layout_.k(b) + parts::per_code - 1) / parts::per_code, words = layout_.words(layout_.k(b));
            for (int j = 0; j < layout_.columns(); ++j) {
                const code* const from = row(j);
                code* const to = rows + j * most;
                if (from) std::copy_n(from + b * layout_.block() / parts::per_code, n, to);
                std::fill(to + (from ? n : 0), to + words * codes, code{});
            }
            with.transpose(rows, sizeof(code) * most, layout_.columns(), words, const_cast<std::byte*>(block(e, panel, b)));
        }
        if constexpr (parts::scaled)
            for (int j = 0; j < layout_.columns(); ++j) {
                const scale* const from = row(j) ? scales_of(j) : nullptr;
                for (long g = 0; g < groups(); ++g) const_cast<scale*>(scales(e, panel))[g * layout_.columns() + j] = from ? from[g] : scale{};
            }
        if constexpr (std::is_same_v<Format, int8>)
            if (strategy_.by == arithmetic::int8)
                for (int j = 0; j < layout_.columns(); ++j) {
                    std::int32_t sum = 0;
                    if (const code* const from = row(j))
                        for (long k = 0; k < layout_.depth(); ++k) sum += from[k];
                    const_cast<std::int32_t*>(sums(e, panel))[j] = sum;
                }
    }
    /// Code k / per_code of column j of a panel, as stored.
    code operator()(long e, long panel, int j, long k) const {
        const long b = k / layout_.block(), at = k % layout_.block() / parts::per_code;
        code stored;
        std::memcpy(&stored, block(e, panel, b) + 4 * (at / codes * layout_.columns() + j) + at % codes * static_cast<long>(sizeof(code)),
                    sizeof stored);
        return stored;
    }
    /// Column j of a panel to a stored row and, where there are, its scales.
    void unpack(long e, long panel, int j, code* row, scale* scales_of) const {
        for (long k = 0; k < layout_.depth(); k += parts::per_code) row[k / parts::per_code] = (*this)(e, panel, j, k);
        if constexpr (parts::scaled)
            for (long g = 0; g < groups(); ++g) scales_of[g] = scales(e, panel)[g * layout_.columns() + j];
    }

private:
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
    long groups() const { return parts::group >= layout_.depth() ? 1 : (layout_.depth() + parts::group - 1) / parts::group; }
    std::size_t bytes(long each) const {
        const auto size = static_cast<std::size_t>(each), n = static_cast<std::size_t>(experts_);
        if (size != 0 && n > (std::size_t(1) << 62) / size) throw std::bad_alloc{};
        return size * n;
    }
    cpu::layout layout_;
    long experts_ = 0;
    cpu::strategy strategy_;
    memory memory_, scales_, sums_;
};

}  // namespace guild::inline v0::cpu
