#pragma once
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace bench {

/// How many threads this machine runs at once.
inline int most_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
/// 1, 2, 4, .. and all.
inline std::vector<int> thread_counts() {
    std::vector<int> counts;
    for (int n = 1; n < most_threads(); n *= 2) counts.push_back(n);
    counts.push_back(most_threads());
    return counts;
}
/// Ends of regular expressions: all threads; one and all.
inline std::string all() { return "/threads:" + std::to_string(most_threads()) + "$"; }
inline std::string one_and_all() { return "/threads:(1|" + std::to_string(most_threads()) + ")$"; }

/// Runs the benchmarks of this program with the `usual` arguments and those of the command line, which come later and so override them.
inline int run(int count, char** given, std::vector<std::string> usual) {
    std::vector<char*> all{given[0]};
    for (std::string& one : usual) all.push_back(one.data());
    all.insert(all.end(), given + 1, given + count);
    int n = static_cast<int>(all.size());
    all.push_back(nullptr);
    benchmark::Initialize(&n, all.data());
    if (benchmark::ReportUnrecognizedArguments(n, all.data())) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

/// For benchmarks that count their rounds themselves: one turn of Google Benchmark's loop is enough, whatever it takes.
inline const std::string one_turn = "--benchmark_min_time=0.000001";

}  // namespace bench
