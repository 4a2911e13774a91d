#include <cstring>

#include <support/limits.hpp>
#include <support/models.hpp>
#include <support/subject.hpp>

// Packing the weights of a whole layer, DeepSeekMoE 2B's, from plain weights of the same format, and unpacking them.
//
//     pack/<format>/threads:<n>   unpack/<format>/threads:<n>
//
// Formats as in layer.cpp. In the same rounds as much is copied by std::memcpy, spread over the same threads. Counters, of medians:
//
//   ms        time to pack or unpack
//   GB/s      bytes of weights read and written, a second
//   copy      GB/s over those of copying between memory that is there already
//   new_copy  the same over copying to memory that the system has to give first, as both do

namespace {

using model = guild::deepseek_moe_2b;
bench::holder held_stored;

template <class Kind> guild::weights<model, typename Kind::format>& stored() {
    return held_stored.get<guild::weights<model, typename Kind::format>>(Kind::name, [] {
        const auto plain = bench::random_weights(model{});
        return new guild::weights<model, typename Kind::format>(guild::convert<typename Kind::format>(*plain, bench::pool(bench::most_threads())));
    });
}

void copy(std::byte* to, const std::byte* from, long bytes, const guild::thread_pool& pool) {
    pool.run(bytes >> 12,
             [&](long begin, long end) { std::memcpy(to + (begin << 12), from + (begin << 12), static_cast<std::size_t>(end - begin) << 12); });
}

/// f() in every round and copies beside it; both move `bytes`, read and written.
template <class F> void measure(benchmark::State& state, double bytes, int threads, F f) {
    const guild::thread_pool& pool = bench::pool(threads);
    const long half = static_cast<long>(bytes / 2);
    const bench::limits::memory from(half), to(half);
    const auto* const source = reinterpret_cast<const std::byte*>(from.data());
    bench::stopwatch time, copy_time, new_time;
    for (auto _ : state) f();
    bench::rounds([&] {
        time.time(f);
        copy_time.time([&] { copy(reinterpret_cast<std::byte*>(to.data()), source, half, pool); });
        new_time.time([&] {
            const guild::cpu::memory fresh(static_cast<std::size_t>(half));
            copy(fresh.data(), source, half, pool);
            benchmark::ClobberMemory();
        });
    });
    state.counters["ms"] = 1e3 * time.median();
    state.counters["GB/s"] = 1e-9 * bytes / time.median();
    state.counters["copy"] = copy_time.median() / time.median();
    state.counters["new_copy"] = new_time.median() / time.median();
}

template <class Kind> void add() {
    using packed = bench::packed_weights<model, Kind>;
    static const double bytes = 2 * Kind::bytes * bench::expert_numbers(model{});
    const auto each = [](const std::string& what, auto run) {
        for (const int threads : bench::thread_counts()) {
            const auto with = [=](benchmark::State& state) {
                run(state, threads, stored<Kind>(), bench::backend(guild::threads{bench::pool(threads)}, Kind::by()));
            };
            const std::string full = what + "/" + Kind::name + "/threads:" + std::to_string(threads);
            benchmark::RegisterBenchmark(full.c_str(), with)->Unit(benchmark::kMillisecond);
        }
    };
    each("pack", [](benchmark::State& state, int threads, const auto& w, const bench::backend& by) {
        measure(state, bytes, threads, [&] { benchmark::DoNotOptimize(packed(w, w.model, by).model()); });
    });
    each("unpack", [](benchmark::State& state, int threads, const auto& w, const bench::backend& by) {
        const packed p(w, w.model, by);
        measure(state, bytes, threads, [&] { benchmark::DoNotOptimize(p.unpack(guild::threads{bench::pool(threads)}).router.data()); });
    });
}

}  // namespace

int main(int count, char** arguments) {
    add<bench::as_float>();
    add<bench::as_bf16>();
    add<bench::as_int8>();
    return bench::run(count, arguments, {bench::one_turn, "--benchmark_filter=pack/.*" + bench::one_and_all()});
}
