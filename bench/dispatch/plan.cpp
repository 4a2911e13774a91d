#include <guild/dispatch/plan.hpp>

#include <benchmark/benchmark.h>

#include <support/main.hpp>
#include <support/support.hpp>

/// The plan of T tokens that each choose K of E experts at random: counts, then the stable sort.
static void plan(benchmark::State& state) {
    const long T = state.range(0);
    const int E = static_cast<int>(state.range(1)), K = static_cast<int>(state.range(2));
    guild::choice<float> choice;
    choice.resize(T, K);
    for (long t = 0; t < T; ++t)
        for (int k = 0; k < K; ++k) {  // distinct: the k-th choice steps over the ones before it
            int e = static_cast<int>(guild::uniform(1, 0, t, k) * (E - k));
            int* const first = &choice.expert[t * K];
            for (int i = 0; i < k; ++i)
                if (first[i] <= e) ++e;
            first[k] = e;
            std::sort(first, first + k + 1);
        }
    guild::plan plan;
    for (auto _ : state) {
        guild::dispatch::count(choice, E, plan);
        guild::dispatch::sort(choice, E, plan);
        benchmark::ClobberMemory();
    }
    state.counters["per_row"] = bench::time_of_one(T * K);
}
BENCHMARK(plan)
    ->ArgNames({"T", "E", "K"})
    ->ArgsProduct({{1, 16, 512, 4096}, {64}, {6}})
    ->Args({512, 8, 2})
    ->Args({512, 256, 8})
    ->Args({4096, 256, 8});

int main(int count, char** arguments) { return bench::run(count, arguments, {"--benchmark_min_time=0.1"}); }
