#pragma once
#include <guild/parallel/thread_pool.hpp>

#include <cpuid.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

/// What this machine can do at most, measured: arithmetic rates and bandwidths of x86-64 processors, with the widest instructions that
/// the running one has. `flops` and `bandwidth` take 10 to 30 ms a call, to stand between the rounds of another benchmark: a shared machine
/// changes from minute to minute, and only a limit of the same minutes says how close to it a time is.
namespace bench::limits {

// ---- what the processor has ----

struct processor {
    bool avx2 = false, avx512 = false, avx512_bf16 = false, avx512_vnni = false, amx_bf16 = false, amx_int8 = false;
};

/// By CPUID and, as the system must save the registers, XGETBV; asks Linux for the tiles of AMX.
inline const processor& cpu() {
    static const processor found = [] {
        processor p;
        const auto leaf = [](unsigned number, unsigned part) {
            std::array<unsigned, 4> r{};  // eax, ebx, ecx, edx
            if (!__get_cpuid_count(number, part, &r[0], &r[1], &r[2], &r[3])) r = {};
            return r;
        };
        const auto one = leaf(1, 0), seven = leaf(7, 0), more = leaf(7, 1);
        const auto bit = [](unsigned word, int i) { return ((word >> i) & 1u) != 0; };
        if (!bit(one[2], 27)) return p;  // no XGETBV
        unsigned saved = 0, high = 0;
        asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
        p.avx2 = (saved & 0x6) == 0x6 && bit(seven[1], 5) && bit(one[2], 12);
        p.avx512 = p.avx2 && (saved & 0xe6) == 0xe6 && bit(seven[1], 16);
        p.avx512_vnni = p.avx512 && bit(seven[2], 11);
        p.avx512_bf16 = p.avx512 && bit(more[0], 5);
        if (constexpr long request = 0x1023, tiles = 18;
            (saved & 0x60000) == 0x60000 && bit(seven[3], 24) && syscall(SYS_arch_prctl, request, tiles) == 0) {
            p.amx_bf16 = bit(seven[3], 22);
            p.amx_int8 = bit(seven[3], 25);
        }
        return p;
    }();
    return found;
}

// ---- loops at the limit: operands stay in registers, every accumulator is independent of the others ----

namespace detail {

#define BENCH_4(op, a, b, c, d) op(a) op(b) op(c) op(d)
#define BENCH_12(op) BENCH_4(op, 0, 1, 2, 3) BENCH_4(op, 4, 5, 6, 7) BENCH_4(op, 8, 9, 10, 11)
#define BENCH_24(op) BENCH_12(op) BENCH_4(op, 12, 13, 14, 15) BENCH_4(op, 16, 17, 18, 19) BENCH_4(op, 20, 21, 22, 23)
#define BENCH_YMM "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define BENCH_ZMM BENCH_YMM, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm30", "xmm31"
#define BENCH_LOOP(name, isa, start, body, clobbered)                                                  \
    __attribute__((noinline, target(isa))) inline void name(long n) {                                  \
        asm volatile(start "1:\n\t" body "dec %0\n\tjnz 1b\n\tvzeroupper" : "+r"(n)::"cc", clobbered); \
    }

#define BENCH_FMA_YMM(r) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #r "\n\t"
#define BENCH_MADD(r) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\tvpaddd %%ymm13, %%ymm" #r ", %%ymm" #r "\n\t"
#define BENCH_FMA_ZMM(r) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #r "\n\t"
#define BENCH_DOT_BF16(r) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #r "\n\t"
#define BENCH_DOT_INT8(r) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #r "\n\t"
#define BENCH_ZERO_YMM "vpxor %%ymm14, %%ymm14, %%ymm14\n\tvpxor %%ymm15, %%ymm15, %%ymm15\n\t"
#define BENCH_ZERO_ZMM "vpxord %%zmm30, %%zmm30, %%zmm30\n\tvpxord %%zmm31, %%zmm31, %%zmm31\n\t"

BENCH_LOOP(fma_avx2, "avx2,fma", BENCH_ZERO_YMM, BENCH_12(BENCH_FMA_YMM), BENCH_YMM)
BENCH_LOOP(madd_avx2, "avx2", BENCH_ZERO_YMM, BENCH_12(BENCH_MADD), BENCH_YMM)
BENCH_LOOP(fma_avx512, "avx512f", BENCH_ZERO_ZMM, BENCH_24(BENCH_FMA_ZMM), BENCH_ZMM)
BENCH_LOOP(dot_bf16, "avx512f,avx512bf16", BENCH_ZERO_ZMM, BENCH_24(BENCH_DOT_BF16), BENCH_ZMM)
BENCH_LOOP(dot_int8, "avx512f,avx512vnni", BENCH_ZERO_ZMM, BENCH_24(BENCH_DOT_INT8), BENCH_ZMM)

/// Tiles 0 to 3 accumulate, 4 and 5 hold rows of A, 6 and 7 of B; all of 16 rows of 64 bytes. Compilers do not allocate tiles.
struct alignas(64) tile_configuration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(tile_configuration) == 64);
#define BENCH_TILE_ZERO(r) "tilezero %%tmm" #r "\n\t"
#define BENCH_TILES(name, isa, op)                                                                                                                  \
    __attribute__((noinline, target("amx-tile," isa))) inline void name(long n) {                                                                   \
        const tile_configuration tiles;                                                                                                             \
        asm volatile("ldtilecfg %1\n\t" BENCH_4(BENCH_TILE_ZERO, 0, 1, 2, 3) BENCH_4(                                                               \
                         BENCH_TILE_ZERO, 4, 5, 6, 7) "1:\n\t" op " %%tmm6, %%tmm4, %%tmm0\n\t" op " %%tmm7, %%tmm4, %%tmm1\n\t" op                 \
                                                      " %%tmm6, %%tmm5, %%tmm2\n\t" op " %%tmm7, %%tmm5, %%tmm3\n\tdec %0\n\tjnz 1b\n\ttilerelease" \
                     : "+r"(n)                                                                                                                      \
                     : "m"(tiles)                                                                                                                   \
                     : "cc");                                                                                                                       \
    }
BENCH_TILES(tiles_bf16, "amx-bf16", "tdpbf16ps")
BENCH_TILES(tiles_int8, "amx-int8", "tdpbssd")

// ---- reading: 256 bytes a step, each line prefetched `ahead` bytes before it is read; 0: by the hardware alone ----

#define BENCH_LINES(hint, load, r) \
    hint load " (%0), %%" r "0\n\t" load " 64(%0), %%" r "1\n\t" load " 128(%0), %%" r "2\n\t" load " 192(%0), %%" r "3\n\t"
#define BENCH_HALVES "vmovups 32(%0), %%ymm4\n\tvmovups 96(%0), %%ymm5\n\tvmovups 160(%0), %%ymm6\n\tvmovups 224(%0), %%ymm7\n\t"
#define BENCH_HINT "prefetcht1 (%0,%2)\n\tprefetcht1 64(%0,%2)\n\tprefetcht1 128(%0,%2)\n\tprefetcht1 192(%0,%2)\n\t"
#define BENCH_READ(name, isa, body)                                                                  \
    __attribute__((noinline, target(isa))) inline void name(const char* p, long steps, long ahead) { \
        asm volatile("1:\n\t" body "add $256, %0\n\tdec %1\n\tjnz 1b\n\tvzeroupper"                  \
                     : "+r"(p), "+r"(steps)                                                          \
                     : "r"(ahead)                                                                    \
                     : "cc", "memory", BENCH_YMM);                                                   \
    }
BENCH_READ(read_avx2, "avx2", BENCH_LINES("", "vmovups", "ymm") BENCH_HALVES)
BENCH_READ(read_avx2_ahead, "avx2", BENCH_LINES(BENCH_HINT, "vmovups", "ymm") BENCH_HALVES)
BENCH_READ(read_avx512, "avx512f", BENCH_LINES("", "vmovups", "zmm"))
BENCH_READ(read_avx512_ahead, "avx512f", BENCH_LINES(BENCH_HINT, "vmovups", "zmm"))

#undef BENCH_4
#undef BENCH_12
#undef BENCH_24
#undef BENCH_YMM
#undef BENCH_ZMM
#undef BENCH_LOOP
#undef BENCH_FMA_YMM
#undef BENCH_MADD
#undef BENCH_FMA_ZMM
#undef BENCH_DOT_BF16
#undef BENCH_DOT_INT8
#undef BENCH_ZERO_YMM
#undef BENCH_ZERO_ZMM
#undef BENCH_TILE_ZERO
#undef BENCH_TILES
#undef BENCH_LINES
#undef BENCH_HALVES
#undef BENCH_HINT
#undef BENCH_READ

inline void read(const char* p, long bytes, long ahead) {
    if (bytes < 256) return;
    if (cpu().avx512) (ahead > 0 ? read_avx512_ahead : read_avx512)(p, bytes / 256, ahead);
    else (ahead > 0 ? read_avx2_ahead : read_avx2)(p, bytes / 256, ahead);
}

inline const guild::thread_pool& pool(int threads) {
    static std::map<int, guild::thread_pool> pools;
    return pools.try_emplace(threads, threads).first->second;
}
template <class F> double seconds(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
/// Keeps the calling thread on the i-th of its processors for a while: a burst is over before the system has parted two threads that
/// began on one.
class pinned {
public:
    explicit pinned(long i) {
        if (sched_getaffinity(0, sizeof before_, &before_) != 0 || CPU_COUNT(&before_) == 0) return;
        long left = i % CPU_COUNT(&before_);
        unsigned at = 0;
        while (!CPU_ISSET(at, &before_) || left-- > 0) ++at;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(at, &one);
        set_ = sched_setaffinity(0, sizeof one, &one) == 0;
    }
    ~pinned() {
        if (set_) sched_setaffinity(0, sizeof before_, &before_);
    }
    pinned(const pinned&) = delete;
    pinned& operator=(const pinned&) = delete;

private:
    cpu_set_t before_;
    bool set_ = false;
};

/// f(i) for i < threads, each on a thread and, where there are enough, a processor of its own, and how long all took.
template <class F> double on_each(int threads, F f) {
    const guild::thread_pool& workers = pool(threads);
    return seconds([&] {
        workers.run(threads, [&](long begin, long end) {
            for (long i = begin; i < end; ++i) {
                std::optional<pinned> here;
                if (threads > 1) here.emplace(i);
                f(i);
            }
        });
    });
}

}  // namespace detail

/// Memory in huge pages where the system gives them, every byte written once.
class memory {
public:
    explicit memory(long bytes) : bytes_(bytes) {
        void* const p = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) throw std::bad_alloc();
        madvise(p, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
        std::memset(p, 1, static_cast<std::size_t>(bytes));
        data_ = static_cast<char*>(p);
    }
    ~memory() { munmap(data_, static_cast<std::size_t>(bytes_)); }
    memory(const memory&) = delete;
    memory& operator=(const memory&) = delete;
    char* data() const { return data_; }
    long size() const { return bytes_; }

private:
    char* data_;
    long bytes_;
};

// ---- arithmetic ----

/// A kind of instruction that multiplies and adds.
struct unit {
    const char* name;
    const char* format;  ///< "float", "bf16", "int8": what it multiplies
    void (*run)(long);   ///< n turns of its loop
    double operations;   ///< of one turn, a multiplication and an addition being two
    bool processor::*needed;
};
inline constexpr std::array units{
    unit{"fp32 FMA, AVX2", "float", detail::fma_avx2, 12 * 16, &processor::avx2},
    unit{"fp32 FMA, AVX-512", "float", detail::fma_avx512, 24 * 32, &processor::avx512},
    unit{"bf16 vdpbf16ps", "bf16", detail::dot_bf16, 24 * 64, &processor::avx512_bf16},
    unit{"bf16 AMX tdpbf16ps", "bf16", detail::tiles_bf16, 4 * 16384, &processor::amx_bf16},
    // Of vpmaddubsw and vpmaddwd, which make as many products of 8 bits, the second multiplies the sums of the first by 1: as long as two vpmaddwd.
    unit{"int8 as int16, vpmaddwd + vpaddd", "int8", detail::madd_avx2, 12 * 32, &processor::avx2},
    unit{"int8 vpdpbusd", "int8", detail::dot_int8, 24 * 128, &processor::avx512_vnni},
    unit{"int8 AMX tdpbssd", "int8", detail::tiles_int8, 4 * 32768, &processor::amx_int8},
};

/// Operations a second of a unit that the processor has, on so many threads; the burst takes about 15 ms.
inline double rate(const unit& u, int threads) {
    static std::map<std::pair<const char*, int>, long> turns;
    long& n = turns.try_emplace({u.name, threads}, 100000).first->second;
    for (;;) {
        const long now = n;
        const double time = detail::on_each(threads, [&](long) { u.run(now); });
        n = std::max(1L, static_cast<long>(static_cast<double>(now) * std::min(0.015 / time, 50.0)));
        if (time > 0.007) return static_cast<double>(now) * u.operations * threads / time;
    }
}

/// The fastest way to multiply numbers of a format ("float", "bf16", "int8") and sum in 32 bits. Formats without instructions of their
/// own are converted, so float's bounds from above what they reach. Null: not even AVX2.
inline const unit* fastest(const char* format) {
    static std::map<std::string_view, const unit*> known;
    const auto [place, first] = known.try_emplace(format, nullptr);
    if (!first) return place->second;
    double best = 0;
    for (const unit& u : units) {
        const bool suits = std::string_view(u.format) == format || std::string_view(u.format) == "float";
        if (!suits || !(cpu().*u.needed)) continue;
        if (const double r = rate(u, 1); r > best) best = r, place->second = &u;
    }
    return place->second;
}
/// Its rate now: FLOP/s.
inline double flops(int threads, const char* format = "float") {
    const unit* const u = fastest(format);
    return u ? rate(*u, threads) : 0;
}

// ---- memory ----

/// A way to read: so many places of a thread's part in turn, 1 KiB each, and how far before its use a line is prefetched, 0: not by
/// software. Which is best depends on the machine and the threads, by up to a third.
struct pattern {
    long streams, ahead;
};
inline constexpr std::array<pattern, 6> patterns{{{1, 0}, {1, 1 << 10}, {1, 4 << 10}, {1, 16 << 10}, {4, 0}, {4, 1 << 10}}};

/// Bytes a second that all threads together read from p, each a part.
inline double read_rate(const char* p, long bytes, int threads, pattern how) {
    constexpr long turn = 1 << 10;
    const long stream = bytes / threads / how.streams / turn * turn, part = stream * how.streams;
    const double time = detail::on_each(threads, [&](long i) {
        if (how.streams == 1) return detail::read(p + i * part, part, how.ahead);
        for (long at = 0; at < stream; at += turn)
            for (long s = 0; s < how.streams; ++s) detail::read(p + i * part + s * stream + at, turn, how.ahead);
    });
    return static_cast<double>(part * threads) / time;
}

/// Bytes a second read from memory, on so many threads, now: a window of 512 MiB that moves on from call to call, with the
/// pattern that was best on first use. About 20 ms.
inline double bandwidth(int threads) {
    static const memory field(512L << 20);
    static std::map<int, std::pair<pattern, double>> best;  // and its rate
    static long at = 0;
    const auto [place, first] = best.try_emplace(threads);
    auto& [how, expected] = place->second;
    if (first)
        for (int round = 0; round < 3; ++round)
            for (const pattern p : patterns)
                if (const double r = read_rate(field.data(), field.size(), threads, p); r > expected) how = p, expected = r;
    const long bytes = std::min(field.size(), static_cast<long>(0.02 * expected));
    if (at + bytes > field.size()) at = 0;
    const double now = read_rate(field.data() + at, bytes, threads, how);
    at += bytes / 4096 * 4096;
    return now;
}

// ---- roofline ----

/// What one expert has to do.
struct work {
    long rows;     ///< tokens that chose it
    double bytes;  ///< of its weights, read once if any did
    double flops;
};
/// Two products [rows, H] by [F, H] and one [rows, F] by [H, F], weights of `size` bytes.
inline work expert_work(long rows, long H, long F, double size) {
    const double numbers = 3 * static_cast<double>(H) * static_cast<double>(F);
    return {rows, rows > 0 ? numbers * size : 0, 2 * numbers * static_cast<double>(rows)};
}
/// The same for forward and backward: three times the products; weights are read by each, gradients read and written.
inline work expert_training_work(long rows, long H, long F, double size, double gradient_size) {
    const work forward = expert_work(rows, H, F, size);
    return {rows, forward.bytes * (2 + 2 * gradient_size / size), 3 * forward.flops};
}
/// No layer that handles its experts one after the other takes less: sum of max(flops / peak, bytes / bandwidth).
inline double roofline_seconds(std::span<const work> experts, double peak, double bandwidth) {
    double sum = 0;
    for (const work& w : experts) sum += std::max(w.flops / peak, w.bytes / bandwidth);
    return sum;
}

}  // namespace bench::limits
