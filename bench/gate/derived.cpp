#include <guild/guild.hpp>

#include <support/main.hpp>
#include <support/support.hpp>

// The backward of a layer whose stage or loss has no adjoint, so that one is derived, beside that of the same layer with one by hand, in the same
// rounds: T = 512, E = 64, one thread.
//
//     derived/<stage or loss>/H:<hidden>
//
//   ms       of the derived, medians
//   by_hand  its time over that of the adjoint by hand

namespace {

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The softmax of all logits, as a user would write it.
struct own_softmax {
    static constexpr bool scores = true;
    void forward(const auto&, auto& r) const {
        using guild::exp;
        const auto top = r.max([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] = exp(r.score[e] - top); });
        const auto total = r.sum([&](int e) { return r.score[e]; });
        r.each([&](int e) { r.score[e] = r.score[e] / total; });
    }
};
struct own_sigmoid {
    static constexpr bool scores = true;
    void forward(const auto&, auto& r) const {
        r.each([&](int e) { r.score[e] = 1 / (1 + guild::exp(-r.score[e])); });
    }
};
template <class Stage> struct gate_of {
    constexpr auto stages() const { return guild::pipeline{Stage{}, guild::top_k{}}; }
};
/// A loss of the library without its adjoint.
template <class Loss> struct without_adjoint {
    double weight = 1e-3;
    template <class S> S value(const guild::routing<S>& r) const { return Loss{.weight = weight}.value(r); }
};

template <int H, auto Gate, auto... Loss>
struct of : guild::model<guild::config{.hidden = H, .expert_hidden = H / 2, .routed_experts = 64, .top_k = 6}, Gate, Loss...> {};

template <class Model> class contender {
public:
    contender() { layer_.forward(x_, y_, tape_), layer_.backward(dy_, dx_, gradient_, tape_); }
    void run() {
        time_.time([&] { layer_.backward(dy_, dx_, gradient_, tape_); });
    }
    double median() const { return time_.median(); }

private:
    static constexpr int H = Model::config.hidden, T = 512;
    guild::weights<Model> weights_ = guild::random_weights<Model>(1), gradient_;
    guild::layer<Model> layer_{weights_};
    guild::tape<float> tape_;
    matrix x_ = matrix::Random(T, H), y_ = x_, dy_ = matrix::Random(T, H), dx_ = x_;
    bench::stopwatch time_;
};
template <class Derived, class ByHand> void duel(const std::string& name) {
    const auto run = [](benchmark::State& state) {
        contender<Derived> derived;
        contender<ByHand> by_hand;
        for (auto _ : state) derived.run();
        bench::rounds([&] { derived.run(), by_hand.run(); });
        state.counters["ms"] = 1e3 * derived.median();
        state.counters["by_hand"] = derived.median() / by_hand.median();
    };
    benchmark::RegisterBenchmark(("derived/" + name + "/H:" + std::to_string(Derived::config.hidden)).c_str(), run)->Unit(benchmark::kMillisecond);
}
template <int H> void add() {
    using guild::score, guild::softmax, guild::sigmoid;
    constexpr auto gate = gate_of<score<softmax>>{};
    duel<of<H, gate_of<own_softmax>{}>, of<H, gate>>("softmax");
    duel<of<H, gate_of<own_sigmoid>{}>, of<H, gate_of<score<sigmoid>>{}>>("sigmoid");
    duel<of<H, gate, without_adjoint<guild::z_loss>{}>, of<H, gate, guild::z_loss{.weight = 1e-3}>>("z_loss");
    duel<of<H, gate, without_adjoint<guild::top_k_balance_loss>{}>, of<H, gate, guild::top_k_balance_loss{.weight = 1e-3}>>("top_k_balance_loss");
}

}  // namespace

int main(int count, char** arguments) {
    add<256>();
    add<64>();
    return bench::run(count, arguments, {bench::one_turn});
}
