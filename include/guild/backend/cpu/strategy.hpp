#pragma once
#include <guild/backend/cpu/kernels.hpp>
#include <guild/format/fp8.hpp>
#include <guild/format/half.hpp>
#include <guild/format/int4.hpp>
#include <guild/format/int8.hpp>
#include <guild/format/mxfp4.hpp>

namespace guild::inline v0::cpu {

/// How products over one format's packed weights are computed, chosen when they are packed: the kernels, and how a block is read.
struct strategy {
    isa level = isa::generic;
    arithmetic by = arithmetic::fp32;
    const tile_kernels* tiles = nullptr;
    const tile_kernels* few = nullptr;  ///< where there are, used up to their number of rows: the same bits
    decode_kernel decode = nullptr;     ///< where there is, a block is decoded before `tiles` read it
};

namespace detail {
[[noreturn]] inline void refuse(arithmetic by, const char* format, isa level) {
    guild::detail::raise<argument_error>("guild::cpu: arithmetic ", name(by), " over ", format, " weights, expected one that the format and ",
                                         name(level), " have");
}
template <class Format> struct decoder;
template <> struct decoder<half> {
    static decode_kernel of(const decode_kernels& k) { return k.half; }
};
template <> struct decoder<fp8> {
    static decode_kernel of(const decode_kernels& k) { return k.fp8; }
};
template <int Group> struct decoder<int4<Group>> {
    static decode_kernel of(const decode_kernels& k) { return k.int4; }
};
template <> struct decoder<mxfp4> {
    static decode_kernel of(const decode_kernels& k) { return k.mxfp4; }
};
}  // namespace detail

#if defined(__GNUC__)
namespace detail {
/// fp32 on rows as they are or rounded; `few`, `decode`: as in strategy.
inline strategy in_order_of_fp32(arithmetic by, isa level, const char* format, decode_kernel decode, const tile_kernels* few = nullptr) {
    if (by == arithmetic::fp32) return {level, by, &kernels_of(level)->fp32, few, decode};
    if (by == arithmetic::bf16_rows) return {level, by, &bf16_kernels_of(level).rounded, nullptr, decode};
    refuse(by, format, level);
}
}  // namespace detail

/// Throws argument_error if the format has no such arithmetic, or the instruction set has not.
template <class Format> strategy strategy_of(arithmetic by, isa level) {
    return detail::in_order_of_fp32(by, level, "these", detail::decoder<Format>::of(decode_kernels_of(level)));
}
template <> inline strategy strategy_of<float>(arithmetic by, isa level) { return detail::in_order_of_fp32(by, level, "float", nullptr); }
template <> inline strategy strategy_of<bf16>(arithmetic by, isa level) {
    const bf16_kernels& k = bf16_kernels_of(level);
    if (by == arithmetic::bf16) return {level, by, &k.pairs};
    if (by == arithmetic::bf16_chain && k.chain) return {level, by, &k.chain};
    return detail::in_order_of_fp32(by, level, "bf16", k.decode, &k.widened);
}
template <> inline strategy strategy_of<int8>(arithmetic by, isa level) {
    if (by == arithmetic::int8) return {level, by, &int8_kernels_of(level)};
    return detail::in_order_of_fp32(by, level, "int8", decode_kernels_of(level).int8);
}

#endif

}  // namespace guild::inline v0::cpu
