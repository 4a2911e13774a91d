#include <guild/cost/layer.hpp>

#include <support/models.hpp>
#include <support/naive.hpp>
#include <support/probes.hpp>
#include <support/subject.hpp>

// A training step of a whole layer, forward and backward, over plain weights that are larger than caches; every round takes other tokens.
//
//     training/<model>/<arithmetic>/T:<tokens>/threads:<n>
//
//   arithmetic   float; bf16: operands of products rounded, by the faster of the two orders of summation, weights and gradients float
//
// Beside it in the same rounds run the naive loop of naive.hpp, forward and backward, and a probe of the arithmetic. Counters, of medians:
//
//   ms           time of the step
//   peak         operations a second of the products, three times those of the forward, over the most that the machine can do at that time
//   naive_eigen  time of the naive loop over the step's: above 1 the layer is faster
//   GFLOP/s      of the products
//   float        of bf16: time of the step in float in the same rounds over the step's: above 1 rounding is faster
//
// A part runs unless a filter is given; --benchmark_filter=. runs everything. GUILD_BENCH_SECONDS: for how long each is repeated.
// GUILD_BENCH_SHAPE="H F E K S T" adds a layer of these numbers with DeepSeekMoE's gate: training/given.

namespace {

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

bench::holder held_gradient;

/// The contenders, and what they took so far. Both add to the same gradient.
template <class Model> class contest {
public:
    contest(const guild::weights<Model>& w, guild::weights<Model>& gradient, long T, int threads, bool rounded)
        : w_(w),
          gradient_(gradient),
          T_(T),
          pool_(bench::pool(threads)),
          rounded_(rounded),
          layer_(w, bench::backend(guild::threads{pool_}, rounded ? bench::as_bf16a::by() : bench::as_float::by())),
          float_layer_(w, bench::backend(guild::threads{pool_})),
          tokens_(T, w.model.config.hidden),
          dy_(matrix::Random(T, w.model.config.hidden)),
          y_(dy_),
          dx_(dy_),
          naive_y_(dy_),
          naive_dx_(dy_),
          probes_(threads, rounded ? "bf16" : "float") {
        tape_.reserve(layer_, T);
        step(layer_, y_);
    }
    void layer() {
        tokens_.next();
        time_.time([&] { step(layer_, y_); });
    }
    void others() {
        probes_.sample();
        if (rounded_) float_time_.time([&] { step(float_layer_, naive_y_); });
        const matrix x = tokens_.copy();
        naive_time_.time([&] {
            bench::naive naive(w_.model.config, tape_.plan, tape_.gate.choice);
            naive.forward(w_, x, naive_y_, pool_);
            naive.backward(w_, dy_, naive_dx_, gradient_, pool_);
        });
    }
    /// Whether the naive loop computed the same y in the last round; its dx lacks what passes through the router.
    bool agrees() const { return (y_ - naive_y_).norm() <= (rounded_ ? 3e-2f : 1e-4f) * y_.norm(); }

    void report(benchmark::State& state) const {
        const double time = time_.median(), flops = 3 * guild::cost::of(w_.model).forward_flops(static_cast<double>(T_));
        state.counters["ms"] = 1e3 * time;
        state.counters["peak"] = flops / time / probes_.peak();
        state.counters["naive_eigen"] = naive_time_.median() / time;
        state.counters["GFLOP/s"] = flops / time * 1e-9;
        if (rounded_) state.counters["float"] = float_time_.median() / time;
    }

private:
    using layer_type = guild::layer<Model, float, bench::backend>;
    void step(const layer_type& layer, matrix& y) {
        layer.forward(tokens_.x(), y, tape_);
        layer.backward(dy_, dx_, gradient_, tape_);
    }

    const guild::weights<Model>& w_;
    guild::weights<Model>& gradient_;
    long T_;
    const guild::thread_pool& pool_;
    bool rounded_;
    layer_type layer_, float_layer_;
    bench::tokens tokens_;
    matrix dy_, y_, dx_, naive_y_, naive_dx_;
    guild::tape<float> tape_;
    bench::probes probes_;
    bench::stopwatch time_, naive_time_, float_time_;
};

template <class Model> void add(const std::string& name, const Model& m, bool rounded, long T) {
    for (const int threads : bench::thread_counts()) {
        const auto run = [=](benchmark::State& state) {
            try {
                if (!held_gradient.holds(name)) held_gradient.release();
                auto& w = bench::plain_weights(name, m);
                auto& gradient = held_gradient.get<guild::weights<Model>>(name, [&] {
                    bench::need_memory(4 * bench::expert_numbers(m));
                    return new guild::weights<Model>(m);
                });
                contest<Model> c(w, gradient, T, threads, rounded);
                for (auto _ : state) c.layer();
                bench::rounds([&] { c.layer(), c.others(); });
                if (!c.agrees()) state.SkipWithError("the naive loop computed something else");
                c.report(state);
            } catch (const std::exception& e) { state.SkipWithError(e.what()); }
        };
        const std::string full =
            "training/" + name + (rounded ? "/bf16/T:" : "/float/T:") + std::to_string(T) + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(full.c_str(), run)->Unit(benchmark::kMillisecond);
    }
}
template <class Model> void add(const std::string& name, const Model& m, std::initializer_list<long> tokens) {
    for (const bool rounded : {false, true})
        for (const long T : tokens) add(name, m, rounded, T);
}

}  // namespace

int main(int count, char** arguments) {
    add("deepseek_moe_2b", guild::deepseek_moe_2b{}, {128, 512});
    add("deepseek_moe_16b", guild::deepseek_moe_16b{}, {1, 16, 128, 512, 2048});
    add("olmoe", bench::olmoe{}, {128, 512});
    if (const auto [m, T] = bench::given(); T > 0) add("given", m, {T});

    const std::string usual = "^training/(given/.*|deepseek_moe_2b/float)/T:.*" + bench::one_and_all() +
                              "|^training/deepseek_moe_16b/(float/T:(16|512)|bf16/T:512)" + bench::all();
    return bench::run(count, arguments, {bench::one_turn, "--benchmark_filter=" + usual});
}
