#include <guild/balance/telemetry.hpp>
#include <guild/cost/layer.hpp>
#include <guild/layer.hpp>
#include <guild/presets.hpp>

#include <benchmark/benchmark.h>

#include <cmath>
#include <concepts>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>
#include <thread>

#include "naive.hpp"
#include "support.hpp"

// A whole layer, forward (layer/...) and forward + backward (training/...), with weights that come from memory: they are larger than
// caches, and every round takes other tokens. In the same rounds run the naive loop of naive.hpp and, alone, the matrix products of
// the layer on the plan that the layer made:
//
//   naive_eigen      time of the naive loop over the layer's: above 1 the layer is faster. The loop has fp32 weights in every row
//   overhead         the layer's time over that of its products: what gate, dispatch, activation and combine add
//   gate_percent     the gate's share of a forward: the router's product and the stages, of the layer's time
//   telemetry_percent  what telemetry costs after a forward, of the layer's time
//   GFLOP/s, GB/s    of the layer: its products, and its weights read once for each expert with tokens (forward alone)
//
// GUILD_BENCH_SHAPE="H F E K S T" adds a layer of these numbers with DeepSeekMoE's gate, named `given`.

namespace {

using guild::view;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using backend = guild::backend::eigen<guild::threads>;

constexpr std::size_t least_rounds = 5;
constexpr long bank = 1024;  // tokens to take from

const guild::thread_pool& pool(int threads) {
    static std::map<int, guild::thread_pool> pools;
    return pools.try_emplace(threads, threads).first->second;
}

/// A layer's weights in its format and, as the same values, in fp32.
template <class Model, class Format> struct subject {
    guild::weights<Model, float> plain;
    std::unique_ptr<guild::weights<Model, Format>> stored;
    std::unique_ptr<guild::weights<Model, float>> gradient;

    /// Uniform numbers of variance 1 / fan-in.
    explicit subject(const Model& m) : plain(m) {
        const guild::config& c = m.config;
        unsigned long long random = 1;
        const auto fill = [&](std::string_view name, auto& t) {
            const int fan_in = name == "experts.down" ? c.expert_hidden : name == "shared.down" ? c.shared_width() : c.hidden;
            const float size = std::sqrt(3.f / static_cast<float>(fan_in));
            for (float& w : t) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                w = size * (static_cast<float>(random >> 40) * 0x1p-23f - 1);
            }
        };
        each_tensor(fill, plain);
        if constexpr (!std::same_as<Format, float>) {
            stored = std::make_unique<guild::weights<Model, Format>>(m);
            const auto round = [](const char*, auto& from, auto& to) {
                for (std::size_t i = 0; i < from.size(); ++i) {
                    to[i] = typename std::remove_cvref_t<decltype(to)>::value_type(from[i]);
                    from[i] = guild::decode(to[i]);
                }
            };
            each_tensor(round, plain, *stored);
        }
    }
    const guild::weights<Model, Format>& weights() const {
        if constexpr (std::same_as<Format, float>) return plain;
        else return *stored;
    }
};

/// The matrix products of a layer, alone. What the activation and combine would have made is any numbers.
template <class Model, class Format> class products {
    using gradients = guild::weights<Model, float>;

public:
    products(const guild::weights<Model, Format>& w, const backend& b, long T) : w_(w), backend_(b), c_(w.model.config), all_(T), T_(T) {
        make(routed_, T * c_.top_k, c_.expert_hidden);
        make(shared_, T, c_.shared_width());
        bench::random(logits_, T, w.model.experts(), 1.f, 3);
    }
    void forward(view<const float> x, const guild::plan& plan) {
        backend_.product(guild::groups<float>(all_), x, w_.router, logits_.shape(T_, c_.routed_experts));
        up_and_down(routed(plan), x, w_.experts, routed_, c_.expert_hidden);
        if (c_.shared_width() > 0) up_and_down(all_, x, w_.shared, shared_, c_.shared_width());
    }
    /// dx =, gradient +=
    void backward(view<const float> x, view<float> dx, gradients& gradient, const guild::plan& plan) {
        if (c_.shared_width() > 0) back(all_, x, w_.shared, shared_, dx, gradient.shared.lend(c_.shared_width(), c_.hidden), c_.shared_width());
        const view<float> read = routed_.read.shape(plan.rows, c_.hidden);
        back(routed(plan), x, w_.experts, routed_, read, gradient.experts.lend(c_.expert_hidden, c_.hidden), c_.expert_hidden);
        const view<const float> logits = logits_.shape(T_, c_.routed_experts);
        backend_.weight_gradient(guild::groups<float>(all_), logits, x, guild::stack<float>{gradient.router.data(), 0, c_.hidden});
        backend_.input_gradient(guild::groups<float>(all_), logits, w_.router, dx, guild::into::add);
    }

private:
    struct buffers {
        guild::buffer<float> h, a, out, d_a, read;
    };
    void make(buffers& b, long rows, long width) {
        bench::random(b.h, rows, 2 * width, 1.f, 1);
        bench::random(b.a, rows, width, 1.f, 2);
        bench::random(b.out, rows, c_.hidden, 1.f, 3);
        b.d_a.shape(rows, width);
        b.read.shape(rows, c_.hidden);
    }
    guild::groups<float> routed(const guild::plan& plan) const { return {c_.routed_experts, plan.offset.data(), plan.token.data()}; }
    void up_and_down(const guild::groups<float>& g, view<const float> x, const auto& w, buffers& b, long width) {
        const long rows = g.offset[g.count];
        const view<float> h = b.h.shape(rows, 2 * width);
        backend_.product(g, x, w.gate, h.columns(0, width));
        backend_.product(g, x, w.up, h.columns(width, width));
        backend_.product(g.direct(), view<const float>(b.a.shape(rows, width)), w.down, b.out.shape(rows, c_.hidden));
    }
    void back(const guild::groups<float>& g, view<const float> x, const auto& w, buffers& b, view<float> read, const auto& gradient, long width) {
        const long rows = g.offset[g.count];
        const view<const float> out = b.out.shape(rows, c_.hidden), a = b.a.shape(rows, width), h = b.h.shape(rows, 2 * width);
        backend_.weight_gradient(g.direct(), out, a, gradient.down);
        backend_.input_gradient(g.direct(), out, w.down, b.d_a.shape(rows, width), guild::into::overwrite);
        backend_.weight_gradient(g, h.columns(width, width), x, gradient.up);
        backend_.input_gradient(g.direct(), h.columns(width, width), w.up, read, guild::into::overwrite);
        backend_.weight_gradient(g, h.columns(0, width), x, gradient.gate);
        backend_.input_gradient(g.direct(), h.columns(0, width), w.gate, read, guild::into::add);
    }

    guild::weights_view<Format> w_;
    backend backend_;
    guild::config c_;
    guild::one_group<float> all_;
    long T_;
    buffers routed_, shared_;
    guild::buffer<float> logits_;
};

/// The contenders on one subject, and what they took so far.
template <class Model, class Format> class contest {
public:
    contest(subject<Model, Format>& s, long T, int threads, bool training)
        : subject_(s),
          pool_(pool(threads)),
          layer_(s.weights(), backend(pool_)),
          parts_{s.plain.model, s.weights(), backend(pool_)},
          products_(s.weights(), backend(pool_), T),
          T_(T),
          training_(training) {
        const long H = s.plain.model.config.hidden;
        const view<float> all = bench::random(x_, bank, H, std::sqrt(3.f), 7);
        tokens_ = Eigen::Map<matrix>(all.data, bank, H);
        y_.resize(T, H), naive_y_.resize(T, H), dx_.resize(T, H);
        dy_ = matrix::Random(T, H);
        if (training && !s.gradient) s.gradient = std::make_unique<guild::weights<Model, float>>(s.plain.model);
        training ? tape_.reserve(layer_, T) : workspace_.reserve(layer_, T);
    }
    void layer() {
        first_ = (first_ + T_) % (bank - T_ + 1);
        const view<const float> x = tokens();
        layer_time_.time([&] {
            if (!training_) return layer_.forward(x, y_, workspace_);
            layer_.forward(x, y_, tape_);
            layer_.backward(dy_, dx_, *subject_.gradient, tape_);
        });
    }
    /// What is compared, on the tokens and the plan of the last call of layer().
    void others() {
        guild::workspace<float>& ws = training_ ? tape_ : workspace_;
        const matrix x = tokens_.middleRows(first_, T_);
        naive_time_.time([&] {
            bench::naive naive(subject_.plain.model.config, ws.plan, ws.gate.choice);
            naive.forward(subject_.plain, x, naive_y_, pool_);
            if (training_) naive.backward(subject_.plain, dy_, dx_, *subject_.gradient, pool_);
        });
        if (!training_) {
            gate_time_.time([&] {  // the same again
                guild::step::logits(parts_, tokens(), {}, ws);
                guild::step::choose(parts_, T_, {}, ws);
            });
            telemetry_time_.time([&] { telemetry_.add(layer_, ws); });
        }
        products_time_.time([&] {
            products_.forward(tokens(), ws.plan);
            if (training_) products_.backward(tokens(), dx_, *subject_.gradient, ws.plan);
        });
    }
    /// Whether the naive loop computed the same in the last round.
    bool agrees() const { return (y_ - naive_y_).norm() <= 1e-4f * y_.norm(); }
    std::size_t rounds() const { return products_time_.rounds(); }

    void report(benchmark::State& state) const {
        const double time = layer_time_.median();
        const guild::cost::mixture cost = guild::cost::of(subject_.plain.model);
        double reached = 0;
        for (const long n : layer_.load(training_ ? tape_ : workspace_).count) reached += n > 0;
        state.counters["naive_eigen"] = naive_time_.median() / time;
        state.counters["overhead"] = time / products_time_.median();
        state.counters["GFLOP/s"] = (training_ ? 3 : 1) * cost.forward_flops(static_cast<double>(T_)) / time * 1e-9;
        if (training_) return;
        state.counters["gate_percent"] = 100 * gate_time_.median() / time;
        state.counters["telemetry_percent"] = 100 * telemetry_time_.median() / time;
        state.counters["GB/s"] = cost.weight_bytes(reached, sizeof(Format)) / time * 1e-9;
    }

private:
    view<const float> tokens() const { return view<const float>(tokens_.middleRows(first_, T_)); }

    subject<Model, Format>& subject_;
    const guild::thread_pool& pool_;
    guild::layer<Model, Format, backend> layer_;
    guild::parts<Model, Format, backend> parts_;
    products<Model, Format> products_;
    long T_, first_ = 0;
    bool training_;
    guild::buffer<float> x_;
    matrix tokens_, y_, naive_y_, dy_, dx_;
    guild::workspace<float> workspace_;
    guild::tape<float> tape_;
    bench::stopwatch layer_time_, naive_time_, products_time_, gate_time_, telemetry_time_;
    guild::telemetry telemetry_;
};

template <class Model, class Format> void add(const std::string& name, const Model& model, std::initializer_list<long> tokens, bool training) {
    const std::string format = std::same_as<Format, float> ? "float" : "bf16", key = name + "/" + format;
    const int most = static_cast<int>(std::thread::hardware_concurrency());
    for (const long T : tokens)
        for (int threads = 1; threads <= most; threads = threads < most ? std::min(2 * threads, most) : most + 1) {
            const auto run = [=](benchmark::State& state) {
                auto& s = bench::held<subject<Model, Format>>(key, [&] { return new subject<Model, Format>(model); });
                contest<Model, Format> c(s, T, threads, training);
                for (auto _ : state) {
                    c.layer();
                    state.PauseTiming();
                    c.others();
                    state.ResumeTiming();
                }
                while (c.rounds() < least_rounds) c.layer(), c.others();
                if (!c.agrees()) state.SkipWithError("the naive loop computed something else");
                c.report(state);
            };
            const std::string full = (training ? "training/" : "layer/") + key + "/T:" + std::to_string(T) + "/threads:" + std::to_string(threads);
            benchmark::RegisterBenchmark(full.c_str(), run)->Unit(benchmark::kMillisecond);
        }
}

const bool registered = [] {
    add<guild::deepseek_moe_2b, float>("deepseek_moe_2b", {}, {1, 16, 128, 512}, false);
    add<guild::deepseek_moe_2b, float>("deepseek_moe_2b", {}, {512}, true);
    add<guild::qwen3_30b_a3b, float>("qwen3_30b_a3b", {}, {1, 128}, false);
    add<guild::deepseek_moe_16b, float>("deepseek_moe_16b", {}, {1, 16, 64, 128, 512}, false);
    add<guild::deepseek_moe_16b, float>("deepseek_moe_16b", {}, {1, 16, 128, 512}, true);
    add<guild::deepseek_moe_16b, guild::bf16>("deepseek_moe_16b", {}, {1, 16, 64, 128, 512}, false);
    if (const char* shape = std::getenv("GUILD_BENCH_SHAPE")) {
        guild::dynamic_model<guild::deepseek_moe_gate> m;
        long T = 0;
        std::istringstream in(shape);
        in >> m.config.hidden >> m.config.expert_hidden >> m.config.routed_experts >> m.config.top_k >> m.config.shared_experts >> T;
        if (!in || T < 1 || T > bank) throw guild::argument_error("GUILD_BENCH_SHAPE: expected six numbers, H F E K S T, T from 1 to 1024");
        m.check();
        add<decltype(m), float>("given", m, {T}, false);
        add<decltype(m), float>("given", m, {T}, true);
    }
    return true;
}();

}  // namespace
