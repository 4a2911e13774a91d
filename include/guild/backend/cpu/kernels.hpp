#pragma once
#include <guild/backend/cpu/table.hpp>

#if defined(__GNUC__)
#include <guild/backend/cpu/regions.hpp>
#endif

/// The kernels of an instruction set that the machine has. Those of each format are templates, so that a program compiles what it uses.
namespace guild::inline v0::cpu {

/// Whether the compiler is one that the kernels are written for: g++ or clang.
#if defined(__GNUC__)
inline constexpr bool have_kernels = true;
#else
inline constexpr bool have_kernels = false;
#endif

namespace detail {
inline void check_level(isa level) {
    if (level > detected())
        guild::detail::raise<argument_error>("guild::cpu: asked for ", name(level), ", expected at most what this machine has, ", name(detected()));
    if (level == isa::amx && !tiles_permitted()) guild::detail::raise<argument_error>("guild::cpu: asked for amx, which the system does not permit");
}
}  // namespace detail

/// Null without `have_kernels`. Throws argument_error if the machine lacks the instruction set; so do the others.
inline const kernels* kernels_of(isa level) {
    detail::check_level(level);
#if defined(__GNUC__)
#if defined(__x86_64__)
    if (level >= isa::amx) return &amx::table<>();
    if (level >= isa::avx512) return &avx512::table<>();
    if (level >= isa::avx2) return &avx2::table<>();
#endif
    return &generic::table<>();
#else
    return nullptr;
#endif
}

#if defined(__GNUC__)
template <class = void> const bf16_kernels& bf16_kernels_of(isa level) {
    detail::check_level(level);
#if defined(__x86_64__)
    if (level >= isa::amx) return amx::bf16_table<>();
    if (level >= isa::avx512_bf16) return avx512_bf16::bf16_table<>();
    if (level >= isa::avx512) return avx512::bf16_table<>();
    if (level >= isa::avx2) return avx2::bf16_table<>();
#endif
    return generic::bf16_table<>();
}
template <class = void> const tile_kernels& int8_kernels_of(isa level) {
    detail::check_level(level);
#if defined(__x86_64__)
    if (level >= isa::amx) return amx::int8_table<>();
    if (level >= isa::avx512_vnni) return avx512_vnni::int8_table<>();
    if (level >= isa::avx512) return avx512::int8_table<>();
    if (level >= isa::avx2) return avx2::int8_table<>();
#endif
    return generic::int8_table<>();
}
template <class = void> const decode_kernels& decode_kernels_of(isa level) {
    detail::check_level(level);
#if defined(__x86_64__)
    if (level >= isa::avx512) return avx512::decode_table<>();
    if (level >= isa::avx2) return avx2::decode_table<>();
#endif
    return generic::decode_table<>();
}
#endif

}  // namespace guild::inline v0::cpu
