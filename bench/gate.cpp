#include <guild/backend/reference.hpp>
#include <guild/gate/run.hpp>
#include <guild/presets.hpp>

#include <benchmark/benchmark.h>

#include "support.hpp"

// Logits [T, P] to choice [T, W] and back, one thread, without the router's matrix product.

namespace {

constexpr long T = 256;

template <class Model> struct setting {
    Model model;
    long E = model.experts(), W = model.extent().slots, P = E + model.extent().extra;
    guild::buffer<float> logits, weights, gradient, learned, state, partial;
    guild::view<float> logit = bench::random(logits, T, P, 4.f, 1), d_weight = bench::random(weights, T, W, 1.f, 2);
    guild::gate_data<float> data{.learned = bench::random(learned, 1, model.stages().learned(model.experts()), 1.f, 3).data,
                                 .state = bench::random(state, 1, model.stages().state(model.experts()), 0.1f, 4).data};
    guild::gate_result<float> result;
    guild::backend::reference backend;
    explicit setting(const Model& m) : model(m) {}
};

void per_token(benchmark::State& state) { state.counters["per_token"] = bench::time_of_one(T); }
template <class Model> void forward(benchmark::State& state, const Model& model) {
    setting<Model> s{model};
    for (auto _ : state) {
        guild::gate::forward(s.backend, s.model, s.data, guild::batch{}, guild::view<const float>(s.logit), s.result);
        benchmark::ClobberMemory();
    }
    per_token(state);
}
template <class Model> void backward(benchmark::State& state, const Model& model) {
    setting<Model> s{model};
    guild::buffer<float> d_learned;
    d_learned.shape(1, s.model.stages().learned(s.model.experts()));
    guild::gate::forward(s.backend, s.model, s.data, guild::batch{}, guild::view<const float>(s.logit), s.result);
    const guild::view<float> d_logit = bench::random(s.gradient, T, s.P, 0.f, 5);
    for (auto _ : state) {
        guild::gate::backward(s.backend, s.model, s.data, guild::batch{}, guild::view<const float>(s.logit), s.result,
                              guild::view<const float>(s.d_weight), static_cast<const float*>(nullptr), d_logit, d_learned.data(), s.partial);
        benchmark::ClobberMemory();
    }
    per_token(state);
}
template <class Model> void add(const std::string& name, const Model& m = {}) {
    const std::string full = "gate/" + name + "/E:" + std::to_string(m.experts()) + "/K:" + std::to_string(m.config.top_k);
    benchmark::RegisterBenchmark((full + "/forward").c_str(), [m](benchmark::State& state) { forward(state, m); });
    benchmark::RegisterBenchmark((full + "/backward").c_str(), [m](benchmark::State& state) { backward(state, m); });
}

/// One kind of gate at several (E, K); widths do not matter here.
template <int E, int K> struct softmax_top : guild::model<guild::config{.hidden = 1, .expert_hidden = 1, .routed_experts = E, .top_k = K}> {};

const bool registered = [] {
    add<guild::deepseek_moe_2b>("deepseek_moe_2b");
    add<guild::deepseek_moe_16b>("deepseek_moe_16b");
    add<guild::deepseek_moe_145b>("deepseek_moe_145b");
    add<guild::deepseek_v2>("deepseek_v2");
    add<guild::deepseek_v3>("deepseek_v3");
    add<guild::dynamic_model<guild::deepseek_v3_gate>>("deepseek_v3_dynamic", {.config = guild::deepseek_v3::config});
    add<guild::mixtral_8x7b>("mixtral_8x7b");
    add<guild::qwen3_30b_a3b>("qwen3_30b_a3b");
    add<guild::switch_2b>("switch_2b");
    add<softmax_top<16, 2>>("softmax");
    add<softmax_top<64, 2>>("softmax");
    add<softmax_top<64, 8>>("softmax");
    add<softmax_top<256, 2>>("softmax");
    add<softmax_top<256, 8>>("softmax");
    return true;
}();

}  // namespace
