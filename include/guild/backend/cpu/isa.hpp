#pragma once
#include <guild/core/error.hpp>

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/// Which instructions this machine has, found at run time, so that a program compiled for any x86-64 runs the kernels of the machine it
/// meets. Decided by feature bits alone: virtual machines report models that they are not.
namespace guild::inline v0::cpu {

/// In ascending order: each has what those before it have. `generic` is what the compiler itself makes.
enum class isa { generic, avx2, avx512, avx512_vnni, avx512_bf16, amx };

/// As users write them, by isa.
inline constexpr std::string_view isa_names[] = {"generic", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};
/// The name of one, as in isa_names.
constexpr std::string_view name(isa i) { return isa_names[static_cast<int>(i)]; }

namespace detail {

#if defined(__x86_64__) && defined(__linux__)
/// Whether Linux can give a process the tile registers.
inline bool tiles_supported() {
    constexpr long arch_get_xcomp_supp = 0x1021;
    unsigned long components = 0;
    return syscall(SYS_arch_prctl, arch_get_xcomp_supp, &components) == 0 && (components >> 18 & 1) != 0;
}
/// Asks for them, once and for the whole process: from then on its signal stacks need 8 KiB more.
inline bool tiles_permitted() {
    constexpr long arch_req_xcomp_perm = 0x1023, tile_data = 18;
    static const bool given = syscall(SYS_arch_prctl, arch_req_xcomp_perm, tile_data) == 0;
    return given;
}
#else
inline bool tiles_supported() { return false; }
inline bool tiles_permitted() { return false; }
#endif

inline isa detect() {
#if defined(__x86_64__) && defined(__GNUC__)
    const auto bit = [](unsigned word, int n) { return (word >> n & 1u) != 0; };
    unsigned a = 0, b = 0, c1 = 0, d = 0, a7 = 0, b7 = 0, c7 = 0, d7 = 0, a71 = 0, unused = 0;
    if (!__get_cpuid(1, &a, &b, &c1, &d)) return isa::generic;
    const bool osxsave = bit(c1, 27), avx = bit(c1, 28), fma = bit(c1, 12), f16c = bit(c1, 29);
    if (!osxsave || !avx || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return isa::generic;
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const auto saves = [&](unsigned state) { return (low & state) == state; };  // registers that the system keeps for a thread
    if (!saves(0x6) || !bit(b7, 5) || !fma || !f16c) return isa::generic;
    const bool f_dq_bw_vl = bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31);
    if (!saves(0xe6) || !f_dq_bw_vl) return isa::avx2;
    if (!bit(c7, 11)) return isa::avx512;
    if (a7 >= 1) __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
    if (!bit(a71, 5)) return isa::avx512_vnni;
    const bool tile_bf16_int8 = bit(d7, 24) && bit(d7, 22) && bit(d7, 25);
    return tile_bf16_int8 && saves(0x60000) && tiles_supported() ? isa::amx : isa::avx512_bf16;
#else
    return isa::generic;
#endif
}

inline isa chosen(const char* asked, isa found) {
    if (!asked || !*asked) return found;
    for (int i = 0; i <= static_cast<int>(isa::amx); ++i)
        if (isa_names[i] == asked) {
            if (i <= static_cast<int>(found)) return static_cast<isa>(i);
            guild::detail::raise<argument_error>("guild::cpu: GUILD_ISA is ", asked, ", expected at most what this machine has, ",
                                                 isa_names[static_cast<int>(found)]);
        }
    guild::detail::raise<argument_error>("guild::cpu: GUILD_ISA is ", asked, ", expected generic, avx2, avx512, avx512_vnni, avx512_bf16 or amx");
}

}  // namespace detail

/// The most that this machine has.
inline isa detected() {
    static const isa found = detail::detect();
    return found;
}
/// What kernels use unless told otherwise, tiles only if the system permits them: `detected`, or what the environment variable GUILD_ISA says when
/// the first one asks. Throws argument_error if that is no instruction set, or one that the machine lacks.
inline isa active() {
    static const isa found = [] {
        const isa asked = detail::chosen(std::getenv("GUILD_ISA"), detected());
        return asked == isa::amx && !detail::tiles_permitted() ? isa::avx512_bf16 : asked;
    }();
    return found;
}

}  // namespace guild::inline v0::cpu
