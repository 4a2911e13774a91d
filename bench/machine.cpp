#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <support/limits.hpp>

// What this machine can do at most, on one thread and on all: arithmetic by every kind of instruction that it has, and reading
// and copying at every level of memory. All probes run in turn, round after round; printed are the median and the best of the rounds.
//
//   bench_machine [rounds]     default 9

namespace {

namespace limits = bench::limits;

struct probe {
    std::string name;
    const char* per_second;
    std::function<double(int threads)> run;  // in billions
    std::vector<double> found{};
};

long size_of(int level, long otherwise) {
    const long found = sysconf(level);
    return found > 0 ? found : otherwise;
}

std::string kib(long bytes) { return std::to_string(bytes >> 10) + " KiB"; }

/// Reading the same bytes again and again, each thread its own.
probe cache(const std::string& name, const limits::memory& field, long bytes) {
    return {name + " read, " + kib(bytes) + " a thread", "GB/s", [&field, bytes](int threads) {
                const long turns = std::max(1L, (256L << 20) / bytes);
                const double time = limits::detail::on_each(threads, [&](long i) {
                    for (long t = 0; t < turns; ++t) limits::detail::read(field.data() + i * bytes, bytes, 0);
                });
                return 1e-9 * static_cast<double>(turns * bytes * threads) / time;
            }};
}

double copy(const limits::memory& field, int threads) {
    const long half = field.size() / 2, part = half / threads / 4096 * 4096;
    const double time = limits::detail::on_each(
        threads, [&](long i) { std::memcpy(field.data() + half + i * part, field.data() + i * part, static_cast<std::size_t>(part)); });
    return 1e-9 * 2 * static_cast<double>(part * threads) / time;
}

}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 9;
    const int most = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    if (!limits::cpu().avx2) return std::puts("This program needs AVX2."), 1;

    const long second = size_of(_SC_LEVEL2_CACHE_SIZE, 512 << 10), third = size_of(_SC_LEVEL3_CACHE_SIZE, 16 << 20);
    const limits::memory field(std::max(1024L << 20, 4 * second * most));
    std::printf("%d threads, per core %s of L2, %s of L3\n", most, kib(second).c_str(), kib(third).c_str());

    std::vector<probe> probes;
    for (const limits::unit& u : limits::units)
        if (limits::cpu().*u.needed)
            probes.push_back(
                {u.name, u.format == std::string("int8") ? "GOP/s" : "GFLOP/s", [&u](int threads) { return 1e-9 * limits::rate(u, threads); }});
    probes.push_back(cache("L2", field, second / 2));
    probes.push_back(cache("L3", field, 4 * second));
    for (const limits::pattern how : limits::patterns)
        probes.push_back({"memory read, " + std::to_string(how.streams) + (how.streams == 1 ? " stream" : " streams") +
                              (how.ahead == 0 ? "" : ", prefetch " + kib(how.ahead) + " ahead"),
                          "GB/s", [&field, how](int threads) { return 1e-9 * limits::read_rate(field.data(), field.size(), threads, how); }});
    probes.push_back({"memory copy, read + written", "GB/s", [&field](int threads) { return copy(field, threads); }});

    for (const int threads : most > 1 ? std::vector<int>{1, most} : std::vector<int>{1}) {
        for (probe& p : probes) p.found.clear();
        for (int r = 0; r < rounds; ++r)
            for (probe& p : probes) p.found.push_back(p.run(threads));
        std::printf("\n%-44s %10s %10s\n", (std::to_string(threads) + (threads == 1 ? " thread" : " threads")).c_str(), "median", "best");
        for (probe& p : probes) {
            std::sort(p.found.begin(), p.found.end());
            std::printf("%-44s %10.1f %10.1f %s\n", p.name.c_str(), p.found[p.found.size() / 2], p.found.back(), p.per_second);
        }
    }
}
