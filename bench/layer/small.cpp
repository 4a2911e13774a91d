#include <support/hand_written.hpp>
#include <support/models.hpp>
#include <support/subject.hpp>

// Layers so small that nothing may cost but the products: one token, one thread, packed weights, 8 experts of which 2 are chosen, F = 2 H,
// Mixtral's gate.
//
//     small/H:<16|32|64|128>
//
// In the same rounds runs hand_written.hpp, a function for exactly that size. Counters, of medians over rounds of 256 tokens one by one:
//
//   ns            time of a token through the layer
//   hand_written  time of the hand-written function over the layer's: 1 is as fast

namespace {

template <int H> void small(benchmark::State& state) {
    using model = bench::small<H>;
    using backend = guild::backend::eigen<>;
    constexpr long T = 256;
    const auto w = bench::random_weights(model{});
    const guild::packed_weights<model, float, backend> packed(*w);
    const guild::layer layer(packed);
    const bench::hand_written<H, 2 * H> by_hand(w->router.data(), w->experts.gate.data(), w->experts.up.data(), w->experts.down.data());

    guild::buffer<float> memory, ours, theirs;
    const guild::view<const float> x = bench::random(memory, T, H, std::sqrt(3.f), 7);
    const guild::view<float> y = ours.shape(T, H), z = theirs.shape(T, H);
    guild::workspace<float> workspace;
    workspace.reserve(layer, 1);
    const auto we = [&] {
        for (long t = 0; t < T; ++t) layer.forward({x.row(t), 1, H}, {y.row(t), 1, H}, workspace);
        benchmark::ClobberMemory();
    };
    const auto they = [&] {
        for (long t = 0; t < T; ++t) by_hand(x.row(t), z.row(t));
        benchmark::ClobberMemory();
    };
    we(), they();
    bench::stopwatch our_time, their_time;
    for (auto _ : state) we();
    bench::rounds([&] { our_time.time(we), their_time.time(they); });

    double apart = 0, size = 0;
    for (long i = 0; i < T * H; ++i) apart += std::pow(y.data[i] - z.data[i], 2), size += std::pow(y.data[i], 2);
    if (!(apart <= 1e-10 * size)) state.SkipWithError("the hand-written function computed something else");
    state.counters["ns"] = 1e9 * our_time.median() / T;
    state.counters["hand_written"] = their_time.median() / our_time.median();
}

}  // namespace

int main(int count, char** arguments) {
    benchmark::RegisterBenchmark("small/H:16", small<16>);
    benchmark::RegisterBenchmark("small/H:32", small<32>);
    benchmark::RegisterBenchmark("small/H:64", small<64>);
    benchmark::RegisterBenchmark("small/H:128", small<128>);
    return bench::run(count, arguments, {bench::one_turn});
}
