#include <guild/backend/eigen.hpp>
#include <guild/gate/run.hpp>
#include <guild/presets.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include <support/main.hpp>
#include <support/support.hpp>

// Logits [T, P] to choice [T, W] and back, one thread, without the router's matrix product and without what a gate does to x.
//
//   ns_per_token   of every run
//   gate/...       the gates of published models, forward and backward, T = 256
//   preset/...     every gate of the library at 64 and 256 experts, forward; K is 6 and 8 unless the gate fixes it
//   select/...     top_k alone against std::partial_sort on the same scores, token by token, in the same rounds:
//                  partial_sort is its time over top_k's: above 1 top_k is faster

namespace {

template <class Model> struct setting {
    static constexpr long vocabulary = 1000;
    Model model;
    long T, E = model.experts(), W = model.extent().slots, P = E + model.extent().extra;
    guild::buffer<float> logits, weights, gradient, learned, state, partial, before;
    std::vector<int> id = std::vector<int>(static_cast<std::size_t>(T)), table{};
    guild::view<float> logit = bench::random(logits, T, P, 4.f, 1), d_weight = bench::random(weights, T, W, 1.f, 2);
    guild::gate_data<float> data{.learned = bench::random(learned, 1, model.stages().learned(model.experts()), 1.f, 3).data,
                                 .state = bench::random(state, 1, model.stages().state(model.experts()), 0.1f, 4).data};
    guild::gate_result<float> result;
    guild::backend::eigen<> backend;

    setting(const Model& m, long tokens) : model(m), T(tokens) {
        for (long i = 0; i < vocabulary * W; ++i) table.push_back(static_cast<int>((i / W * 7 + i % W) % E));  // distinct experts for an id
        for (std::size_t t = 0; t < id.size(); ++t) id[t] = static_cast<int>(t * 31 % vocabulary);
        data.table = table.data();
        data.vocabulary = vocabulary;
        data.previous = bench::random(before, T, E, 1.f, 5);
    }
    void forward() { guild::gate::forward(backend, model, data, guild::batch{.token_id = id}, guild::view<const float>(logit), result); }
};

/// f() in every iteration, and what it took of this thread over T tokens.
template <class F> void measure(benchmark::State& state, long T, F f) {
    const std::clock_t start = std::clock();
    for (auto _ : state) {
        f();
        benchmark::ClobberMemory();
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    state.counters["ns_per_token"] = seconds * 1e9 / static_cast<double>(T) / static_cast<double>(state.iterations());
}
template <class Model> void forward(benchmark::State& state, const Model& model, long T) {
    setting<Model> s{model, T};
    measure(state, T, [&] { s.forward(); });
}
template <class Model> void backward(benchmark::State& state, const Model& model, long T) {
    setting<Model> s{model, T};
    guild::buffer<float> d_learned;
    d_learned.shape(1, s.model.stages().learned(s.model.experts()));
    s.forward();
    const guild::view<float> d_logit = bench::random(s.gradient, T, s.P, 0.f, 5);
    const guild::gate::result_gradient<float> by{.weight = s.d_weight};
    measure(state, T, [&] {
        guild::gate::backward(s.backend, s.model, s.data, guild::batch{.token_id = s.id}, guild::view<const float>(s.logit), s.result, by, d_logit,
                              d_learned.data(), s.partial);
    });
}
std::string numbers(long E, long K) { return "/E:" + std::to_string(E) + "/K:" + std::to_string(K); }
template <class Model> void add(const std::string& name, const Model& m = {}) {
    const std::string full = "gate/" + name + numbers(m.experts(), m.config.top_k);
    benchmark::RegisterBenchmark((full + "/forward").c_str(), [m](benchmark::State& state) { forward(state, m, 256); });
    benchmark::RegisterBenchmark((full + "/backward").c_str(), [m](benchmark::State& state) { backward(state, m, 256); });
}

/// One kind of gate at several (E, K); widths do not matter here.
template <int E, int K, auto Gate = guild::deepseek_moe_gate{}>
struct of : guild::model<guild::config{.hidden = 1, .expert_hidden = 1, .routed_experts = E, .top_k = K, .shared_experts = 1}, Gate> {};

template <auto Gate, int E, int K> void preset_at(const std::string& name) {
    for (const long T : {1L, 64L, 4096L})
        benchmark::RegisterBenchmark(("preset/" + name + numbers(E, K) + "/T:" + std::to_string(T)).c_str(),
                                     [T](benchmark::State& state) { forward(state, of<E, K, Gate>{}, T); });
}
template <auto Gate, int Small = 6, int Large = 8> void preset(const std::string& name) {
    preset_at<Gate, 64, Small>(name);
    preset_at<Gate, 256, Large>(name);
}

template <int E, int K> void select(benchmark::State& state) {
    constexpr long T = 4096, rounds = 9;
    constexpr guild::extent<E, 0, K> extent;
    guild::buffer<float> memory;
    const guild::view<const float> score = bench::random(memory, T, E, 1.f, 1);
    std::vector<int> ours(T * K), theirs(T * K);
    bench::stopwatch our_time, their_time;
    const auto we_choose = [&] {
        for (long t = 0; t < T; ++t) {
            auto row = guild::gate::load<guild::row<float, guild::extent<E, 0, K>>>(extent, score.row(t));
            guild::top_k{}.forward(guild::token<float>{}, row);
            std::copy_n(row.expert, K, ours.begin() + t * K);
        }
        benchmark::ClobberMemory();
    };
    const auto they_choose = [&] {
        for (long t = 0; t < T; ++t) {
            std::array<std::pair<float, int>, static_cast<std::size_t>(E)> ranked;  // faster than indices alone
            for (int e = 0; e < E; ++e) ranked[static_cast<std::size_t>(e)] = {score(t, e), e};
            std::partial_sort(ranked.begin(), ranked.begin() + K, ranked.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
            for (std::size_t k = 0; k < K; ++k) theirs[static_cast<std::size_t>(t * K) + k] = ranked[k].second;
        }
        benchmark::ClobberMemory();
    };
    for (auto _ : state) {
        our_time.time(we_choose);
        state.PauseTiming();
        their_time.time(they_choose);
        state.ResumeTiming();
    }
    while (our_time.rounds() < rounds) our_time.time(we_choose), their_time.time(they_choose);
    if (ours != theirs) state.SkipWithError("std::partial_sort chose other experts");
    state.counters["ns_per_token"] = our_time.median() * 1e9 / static_cast<double>(T);
    state.counters["partial_sort"] = their_time.median() / our_time.median();
}
template <int E, int K> void add_select() { benchmark::RegisterBenchmark(("select/top_k" + numbers(E, K)).c_str(), select<E, K>); }

}  // namespace

int main(int count, char** arguments) {
    add<guild::deepseek_moe_2b>("deepseek_moe_2b");
    add<guild::deepseek_moe_16b>("deepseek_moe_16b");
    add<guild::deepseek_moe_145b>("deepseek_moe_145b");
    add<guild::deepseek_v2>("deepseek_v2");
    add<guild::deepseek_v3>("deepseek_v3");
    add<guild::dynamic_model<guild::deepseek_v3_gate>>("deepseek_v3_dynamic", {.config = guild::deepseek_v3::config});
    add<guild::mixtral_8x7b>("mixtral_8x7b");
    add<guild::qwen3_30b_a3b>("qwen3_30b_a3b");
    add<guild::switch_2b>("switch_2b");
    add<of<16, 2>>("softmax");
    add<of<64, 2>>("softmax");
    add<of<64, 8>>("softmax");
    add<of<256, 2>>("softmax");
    add<of<256, 8>>("softmax");

    preset<guild::dense_gate{}, 64, 256>("dense");
    preset<guild::hierarchical_gate{}, 64, 256>("hierarchical");
    preset<guild::noisy_top_k_gate{}>("noisy_top_k");
    preset<guild::gshard_gate{}, 2, 2>("gshard");
    preset<guild::gshard_capacity_gate{}, 2, 2>("gshard_capacity");
    preset<guild::fairseq_top2_gate{}, 2, 2>("fairseq_top2");
    preset<guild::switch_gate{}, 1, 1>("switch");
    preset<guild::switch_capacity_gate{}, 1, 1>("switch_capacity");
    preset<guild::hash_gate{}>("hash");
    preset<guild::base_gate{}, 1, 1>("base");
    preset<guild::expert_choice_gate{}>("expert_choice");
    preset<guild::deepseek_moe_gate{}>("deepseek_moe");
    preset<guild::deepseek_v2_gate{}>("deepseek_v2");
    preset<guild::deepseek_v2_lite_gate{}>("deepseek_v2_lite");
    preset<guild::deepseek_v3_gate{}>("deepseek_v3");
    preset<guild::deepseek_v4_gate{}>("deepseek_v4");
    preset<guild::deepseek_v4_hash_gate{}>("deepseek_v4_hash");
    preset<guild::mixtral_gate{}>("mixtral");
    preset<guild::qwen3_gate{}>("qwen3");
    preset<guild::qwen2_gate{}>("qwen2");
    preset<guild::dbrx_gate{}>("dbrx");
    preset<guild::gpt_oss_gate{}>("gpt_oss");
    preset<guild::llama4_gate{}, 1, 1>("llama4");
    preset<guild::ernie_gate{}>("ernie");
    preset<guild::glm4_gate{}>("glm4");
    preset<guild::kimi_k2_gate{}>("kimi_k2");
    preset<guild::moonlight_gate{}>("moonlight");
    preset<guild::minimax_m2_gate{}>("minimax_m2");
    preset<guild::lfm2_gate{}>("lfm2");
    preset<guild::muse_spark_gate{}>("muse_spark");
    preset<guild::laguna_gate{}>("laguna");
    preset<guild::kolibri_gate{}>("kolibri");
    preset<guild::flint_gate{}>("flint");
    preset<guild::inkling_gate{}>("inkling");
    preset<guild::gemma4_gate{}>("gemma4");
    preset<guild::mistral4_gate{}>("mistral4");
    preset<guild::longcat_gate{}>("longcat");
    preset<guild::remoe_gate{}, 64, 256>("remoe");
    preset<guild::fairseq_sampled_top2_gate{}, 2, 2>("fairseq_sampled_top2");
    preset<guild::fairseq_top2_before_gate{}, 2, 2>("fairseq_top2_before");
    preset<guild::specialised_gate{}>("specialised");
    preset<guild::moe_plus_plus_gate{}>("moe_plus_plus");
    preset<guild::cosine_gate{}>("cosine");
    preset<guild::xmoe_gate{}, 1, 1>("xmoe");
    preset<guild::phi_moe_gate{}, 2, 2>("phi_moe");

    add_select<8, 2>();
    add_select<64, 6>();
    add_select<128, 8>();
    add_select<256, 8>();
    return bench::run(count, arguments, {"--benchmark_min_time=0.1"});
}
