#include <guild/cost/layer.hpp>
#include <guild/telemetry/numbers.hpp>

#include <support/models.hpp>
#include <support/naive.hpp>
#include <support/probes.hpp>
#include <support/subject.hpp>

// A whole layer, forward, over packed weights that come from memory: they are larger than caches, and every round takes other tokens.
//
//     layer/<model>/<format>/[skew:<load>/]T:<tokens>/threads:<n>
//
//   format     float; bf16, activations fp32; bf16a, activations bf16; int8, activations int8
//   skew       zipf: experts are chosen as often as 1, 1/2, 1/3, ..; six: all tokens choose the same six. Otherwise nearly uniform
//
// Beside it in the same rounds run the naive loop of naive.hpp and probes of what the machine can do at that time. Counters, of medians:
//
//   ms             time of the layer
//   roofline       the least time in which the experts' work can be done, over the layer's: for each expert that has tokens the larger of
//                  operations / peak and bytes of weights / bandwidth, one after the other
//   naive_eigen    time of the naive loop, which has fp32 weights in every row, over the layer's: above 1 the layer is faster
//   gate_percent, telemetry_percent   of the layer's time: router and stages of the gate; telemetry, called after a forward
//   GFLOP/s, GB/s  of the layer: its products; its weights, read once for each expert with tokens
//
// A part runs unless a filter is given; --benchmark_filter=. runs everything, which takes half an hour and, for mixtral_8x7b, 12 GiB.
// GUILD_BENCH_SECONDS: for how long each is repeated. GUILD_BENCH_SHAPE="H F E K S T" adds a layer of these numbers with DeepSeekMoE's gate:
// layer/given/float. GUILD_BENCH_ALONE=1 leaves the naive loop out, which takes most of the time of a large batch.

namespace {

using guild::view;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The contenders, and what they took so far.
template <class Model, class Kind> class contest {
    using packed = guild::packed<typename Kind::format>;

public:
    contest(const guild::weights<Model>& plain, const bench::packed_weights<Model, Kind>& w, long T, int threads)
        : plain_(plain),
          T_(T),
          pool_(bench::pool(threads)),
          backend_(guild::threads{pool_}, Kind::by()),
          layer_(w, backend_),
          context_{plain.model, w.lend(), backend_, &w},
          tokens_(T, plain.model.config.hidden),
          y_(T, plain.model.config.hidden),
          naive_y_(T, plain.model.config.hidden),
          probes_(threads, Kind::multiplies) {
        workspace_.reserve(layer_, T);
        layer_.forward(tokens_.x(), y_, workspace_, tokens_.side());
    }
    void layer() {
        tokens_.next();
        time_.time([&] { layer_.forward(tokens_.x(), y_, workspace_, tokens_.side()); });
    }
    /// What is compared, on the tokens and the choice of the last call of layer().
    void others() {
        guild::workspace<float>& ws = workspace_;
        work_.push_back(bench::work_of(plain_.model.config, layer_.load(ws).count, T_, Kind::bytes));
        probes_.sample();
        const matrix x = tokens_.copy();
        guild::step::dispatch(context_, ws);  // a small layer has made no plan
        if (!alone_) naive_time_.time([&] { bench::naive(plain_.model.config, ws.plan, ws.gate.choice).forward(plain_, x, naive_y_, pool_); });
        gate_time_.time([&] {  // the same again
            guild::step::logits(context_, tokens_.x(), tokens_.side(), ws);
            guild::step::choose(context_, tokens_.side(), ws);
        });
        telemetry_time_.time([&] { telemetry_.add(layer_, ws); });
    }
    /// Whether the naive loop computed the same in the last round, but for rounding.
    bool agrees() const { return alone_ || (y_ - naive_y_).norm() <= static_cast<float>(Kind::apart) * y_.norm(); }

    void report(benchmark::State& state) const {
        const double time = time_.median();
        const guild::cost::mixture cost = guild::cost::of(plain_.model);
        std::vector<double> least;
        for (const auto& round : work_) least.push_back(bench::limits::roofline_seconds(round, probes_.peak(), probes_.bandwidth()));
        double reached = 0;
        for (const long n : layer_.load(workspace_).count) reached += n > 0;
        state.counters["ms"] = 1e3 * time;
        state.counters["roofline"] = bench::median(least) / time;
        if (!alone_) state.counters["naive_eigen"] = naive_time_.median() / time;
        state.counters["gate_percent"] = 100 * gate_time_.median() / time;
        state.counters["telemetry_percent"] = 100 * telemetry_time_.median() / time;
        state.counters["GFLOP/s"] = cost.forward_flops(static_cast<double>(T_)) / time * 1e-9;
        state.counters["GB/s"] = cost.weight_bytes(reached, Kind::bytes) / time * 1e-9;
    }

private:
    const guild::weights<Model>& plain_;
    long T_;
    const bool alone_ = std::getenv("GUILD_BENCH_ALONE") != nullptr;
    const guild::thread_pool& pool_;
    bench::backend backend_;
    guild::layer<Model, packed, bench::backend> layer_;
    guild::context<Model, packed, bench::backend> context_;
    bench::tokens tokens_;
    matrix y_, naive_y_;
    guild::workspace<float> workspace_;
    bench::probes probes_;
    std::vector<std::vector<bench::limits::work>> work_;
    bench::stopwatch time_, naive_time_, gate_time_, telemetry_time_;
    guild::telemetry telemetry_;
};

/// One line. `prepare`: what is to be done with the weights.
template <class Kind, class Model, class Prepare>
void add(const std::string& name, const std::string& load, const Model& m, long T, Prepare prepare) {
    for (const int threads : bench::thread_counts()) {
        const auto run = [=](benchmark::State& state) {
            try {
                auto& plain = bench::plain_weights(name + load, m);
                prepare(plain, T);
                contest<Model, Kind> c(plain, bench::packed<Model, Kind>(name + load, plain), T, threads);
                for (auto _ : state) c.layer();
                bench::rounds([&] { c.layer(), c.others(); });
                if (!c.agrees()) state.SkipWithError("the naive loop computed something else");
                c.report(state);
            } catch (const std::exception& e) { state.SkipWithError(e.what()); }
        };
        const std::string full = "layer/" + name + "/" + Kind::name + load + "/T:" + std::to_string(T) + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(full.c_str(), run)->Unit(benchmark::kMillisecond);
    }
}
template <class... Kinds, class Model> void add(const std::string& name, const Model& m, std::initializer_list<long> tokens) {
    const auto each = [&]<class Kind>(Kind) {
        for (const long T : tokens) add<Kind>(name, "", m, T, [](auto&, long) {});
    };
    (each(Kinds{}), ...);
}

/// A table from which tokens get K distinct experts, e drawn with probability 1 / (e + 1): the K largest of log p - log(-log u).
void zipf(guild::weights<bench::routed_by_table>& w, long T) {
    const int E = w.model.config.routed_experts, K = w.model.config.top_k;
    if (!w.table.empty()) return;
    for (long id = 0; id < bench::tokens::bank(T); ++id) {
        std::vector<std::pair<double, int>> key;
        for (int e = 0; e < E; ++e) key.emplace_back(-std::log1p(e) - std::log(-std::log(guild::uniform(1, 0, id, e) + 1e-300)), e);
        std::partial_sort(key.begin(), key.begin() + K, key.end(), std::greater<>());
        for (int k = 0; k < K; ++k) w.table.push_back(key[static_cast<std::size_t>(k)].second);
    }
}
void six(guild::weights<bench::routed_by_table>& w, long T) {
    const int K = w.model.config.top_k;
    if (!w.table.empty()) return;
    for (long i = 0; i < bench::tokens::bank(T) * K; ++i) w.table.push_back(static_cast<int>(i % K));
}

}  // namespace

int main(int count, char** arguments) {
    using bench::as_bf16, bench::as_bf16a, bench::as_float, bench::as_int8;
    add<as_float, as_bf16, as_bf16a, as_int8>("deepseek_moe_2b", guild::deepseek_moe_2b{}, {1, 16, 128, 512});
    add<as_float, as_bf16, as_bf16a, as_int8>("deepseek_moe_16b", guild::deepseek_moe_16b{}, {1, 4, 16, 64, 128, 512, 2048});
    add<as_float, as_bf16, as_bf16a, as_int8>("qwen3_30b_a3b", guild::qwen3_30b_a3b{}, {1, 16, 128, 512});
    add<as_float, as_bf16, as_bf16a, as_int8>("olmoe", bench::olmoe{}, {1, 16, 128, 512});
    add<as_float, as_bf16, as_bf16a, as_int8>("deepseek_v3_slice", bench::deepseek_v3_slice{}, {1, 16, 128});
    add<as_bf16, as_bf16a>("mixtral_8x7b", guild::mixtral_8x7b{}, {1, 16, 128});
    add<as_float>("deepseek_moe_16b", "/skew:zipf", bench::routed_by_table{}, 512, zipf);
    add<as_float>("deepseek_moe_16b", "/skew:six", bench::routed_by_table{}, 512, six);
    if (const auto [m, T] = bench::given(); T > 0) add<as_float>("given", m, {T});

    const std::string usual = "^layer/(given/.*|deepseek_moe_2b/float/T:(1|128)|deepseek_moe_16b/float/T:(1|16|128|512))" + bench::one_and_all() +
                              "|^layer/(deepseek_moe_16b/float/skew:.*|deepseek_moe_16b/(bf16|bf16a|int8)/T:(1|128)|qwen3_30b_a3b/float/T:(1|128))" +
                              bench::all();
    return bench::run(count, arguments, {bench::one_turn, "--benchmark_filter=" + usual});
}
