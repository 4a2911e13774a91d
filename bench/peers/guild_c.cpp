#include <guild/format/int8.hpp>
#include <guild/layer.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/weights/convert.hpp>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <support/limits.hpp>

// guild behind a C interface, for bench/peers: a mixture with DeepSeekMoE's gate, its weights borrowed from the caller in PyTorch's
// layout, and the probes of bench/support/limits.hpp. A function that returns int returns 0, or 1 after an error that guild_error() tells.

namespace {

using model = guild::dynamic_model<guild::deepseek_moe_gate>;
using backend = guild::backend::eigen<guild::threads>;

/// Everything about one layer; H, F, E, K, S as in guild::config.
struct description {
    long H, F, E, K, S;
    int threads;
    int training;           ///< 0: for forward, which packs the weights if the backend can; 1: for train as well, weights stay plain
    const float* router;    ///< [E, H]
    const void *gate, *up;  ///< [E, F, H], an expert `expert_stride` numbers after the one before
    long expert_stride;
    const void* down;                                   ///< [E, H, F]
    const void *shared_gate, *shared_up, *shared_down;  ///< [S F, H], [S F, H], [H, S F]
};

struct mixture {
    virtual ~mixture() = default;
    virtual void forward(const float* x, long T, float* y) = 0;
    virtual void train(const float* x, long T, float* y, const float* dy, float* dx) = 0;
    virtual const guild::choice<float>& choice() const = 0;
    virtual guild::weights<model, float>& gradient() = 0;
};

/// A layer for inference: over packed weights where the backend packs, else over the plain ones.
template <class Format> struct plain_layer {
    guild::layer<model, Format, backend> layer;
    plain_layer(const guild::weights_view<Format>& w, const model& m, const backend& b) : layer(w, m, b) {}
};
template <class Format> struct packed_layer {
    guild::packed_weights<model, Format, backend> weights;
    guild::layer<model, guild::packed<Format>, backend> layer;
    template <class Weights> packed_layer(const Weights& w, const model& m, const backend& b) : weights(w, m, b), layer(weights, b) {}
};
template <class B, class Network> concept packs = requires(const B& b, const Network& n) { b.pack(n, 1L, 1L, 1L); };
template <class Format>
using inference = std::conditional_t<packs<backend, typename guild::weights_view<Format>::network>, packed_layer<Format>, plain_layer<Format>>;

/// How weights of a format are computed fastest: bf16 rounds activations, as the others do, where there are instructions for that; int8
/// quantises them.
template <class Format> guild::cpu::arithmetic fastest() {
    if (std::is_same_v<Format, guild::int8>) return guild::cpu::arithmetic::int8;
    if (!std::is_same_v<Format, guild::bf16> || guild::cpu::active() < guild::cpu::isa::avx512_bf16) return guild::cpu::arithmetic::fp32;
    return guild::cpu::active() == guild::cpu::isa::amx ? guild::cpu::arithmetic::bf16 : guild::cpu::arithmetic::bf16_chain;
}

model model_of(const description& d) {
    return {.config = {.hidden = static_cast<int>(d.H),
                       .expert_hidden = static_cast<int>(d.F),
                       .routed_experts = static_cast<int>(d.E),
                       .top_k = static_cast<int>(d.K),
                       .shared_experts = static_cast<int>(d.S)}};
}
template <class Format> guild::weights_view<Format> view_of(const description& d) {
    const auto at = [](const void* p, long expert_stride, long row_stride) {
        return guild::stack<const Format>{static_cast<const Format*>(p), expert_stride, row_stride};
    };
    guild::weights_view<Format> w;
    w.router = {d.router, 0, d.H};
    w.experts.gate = at(d.gate, d.expert_stride, d.H);
    w.experts.up = at(d.up, d.expert_stride, d.H);
    w.experts.down = at(d.down, d.H * d.F, d.F);
    w.shared.gate = at(d.shared_gate, 0, d.H);
    w.shared.up = at(d.shared_up, 0, d.H);
    w.shared.down = at(d.shared_down, 0, d.S * d.F);
    return w;
}

template <class Format> class mixture_of final : public mixture {
public:
    explicit mixture_of(const description& d)
        : model_(model_of(d)), pool_(d.threads), backend_(guild::threads{pool_}, fastest<Format>()), plain_(view_of<Format>(d), model_, backend_) {
        if (!d.training) inference_.emplace(view_of<Format>(d), model_, backend_);
    }
    void forward(const float* x, long T, float* y) override {
        const long H = model_.config.hidden;
        const guild::view<const float> from(x, T, H);
        const guild::view<float> to(y, T, H);
        trained_ = false;
        if (inference_) inference_->layer.forward(from, to, workspace_);
        else plain_.forward(from, to, workspace_);
    }
    void train(const float* x, long T, float* y, const float* dy, float* dx) override {
        const long H = model_.config.hidden;
        trained_ = true;
        plain_.forward({x, T, H}, {y, T, H}, tape_);
        plain_.backward({dy, T, H}, {dx, T, H}, gradient(), tape_);
    }
    const guild::choice<float>& choice() const override { return trained_ ? tape_.gate.choice : workspace_.gate.choice; }
    guild::weights<model, float>& gradient() override {
        if (!gradient_) gradient_ = std::make_unique<guild::weights<model, float>>(model_);
        return *gradient_;
    }

private:
    model model_;
    guild::thread_pool pool_;
    backend backend_;
    guild::layer<model, Format, backend> plain_;
    std::optional<inference<Format>> inference_;
    std::unique_ptr<guild::weights<model, float>> gradient_;
    guild::workspace<float> workspace_;
    guild::tape<float> tape_;
    bool trained_ = false;
};

/// In int8, made of the caller's floats; for forward alone.
class quantised final : public mixture {
    using format = guild::int8;

public:
    explicit quantised(const description& d)
        : pool_(d.threads),
          backend_(guild::threads{pool_}, fastest<format>()),
          inference_(guild::convert<format>(view_of<float>(d), model_of(d), pool_), model_of(d), backend_) {}
    void forward(const float* x, long T, float* y) override {
        const long H = inference_.weights.model().config.hidden;
        inference_.layer.forward({x, T, H}, {y, T, H}, workspace_);
    }
    void train(const float*, long, float*, const float*, float*) override { throw guild::argument_error("int8 does not train"); }
    const guild::choice<float>& choice() const override { return workspace_.gate.choice; }
    guild::weights<model, float>& gradient() override { throw guild::argument_error("int8 does not train"); }

private:
    guild::thread_pool pool_;
    backend backend_;
    packed_layer<format> inference_;
    guild::workspace<float> workspace_;
};

std::string error;

template <class F> int guarded(F f) {
    try {
        f();
        return 0;
    } catch (const std::exception& e) { error = e.what(); }
    return 1;
}

}  // namespace

extern "C" {

const char* guild_error() { return error.c_str(); }

/// Null after an error. `format`: "float", "bf16" or "int8", of which the last is made of floats. The weights must outlive a
/// mixture of the others.
mixture* guild_create(const description* d, const char* format) {
    mixture* made = nullptr;
    guarded([&] {
        if (std::strcmp(format, "float") == 0) made = new mixture_of<float>(*d);
        else if (std::strcmp(format, "bf16") == 0) made = new mixture_of<guild::bf16>(*d);
        else if (std::strcmp(format, "int8") == 0) made = new quantised(*d);
        else throw guild::argument_error(std::string("format is ") + format + ", expected float, bf16 or int8");
    });
    return made;
}
void guild_destroy(mixture* m) { delete m; }

/// x, y [T, H], y =
int guild_forward(mixture* m, const float* x, long T, float* y) {
    return guarded([&] { m->forward(x, T, y); });
}
/// Forward and backward. dy, dx [T, H], dx =, the gradients of the weights +=
int guild_train(mixture* m, const float* x, long T, float* y, const float* dy, float* dx) {
    return guarded([&] { m->train(x, T, y, dy, dx); });
}
/// What the last forward or train chose: expert, weight [T, K].
int guild_choice(const mixture* m, int* expert, float* weight) {
    return guarded([&] {
        const guild::choice<float>& c = m->choice();
        const auto n = static_cast<std::size_t>(c.tokens * c.slots);
        std::copy_n(c.expert.data(), n, expert);
        std::copy_n(c.weight.data(), n, weight);
    });
}
/// The gradient of a tensor ("router", "experts.gate", "shared.down", ..): contiguous, shapes as in guild::weights; null if there is none.
float* guild_gradient(mixture* m, const char* name) {
    float* found = nullptr;
    guarded([&] { each_tensor([&](const char* n, auto& t) { found = std::strcmp(n, name) == 0 ? t.data() : found; }, m->gradient()); });
    return found;
}
int guild_zero_gradient(mixture* m) {
    return guarded([&] { zero(m->gradient()); });
}

/// The limits of now; see bench/support/limits.hpp.
double guild_flops(int threads, const char* format) { return bench::limits::flops(threads, format); }
double guild_bandwidth(int threads) { return bench::limits::bandwidth(threads); }
const char* guild_unit(const char* format) {
    const bench::limits::unit* const u = bench::limits::fastest(format);
    return u ? u->name : "none";
}
/// The roofline of experts that get rows [n] tokens, of width F, weights of `size` bytes; training: forward and backward.
double guild_roofline(const long* rows, long n, long H, long F, double size, int training, double flops, double bandwidth) {
    std::vector<bench::limits::work> list;
    for (long i = 0; i < n; ++i)
        list.push_back(training ? bench::limits::expert_training_work(rows[i], H, F, size, sizeof(float))
                                : bench::limits::expert_work(rows[i], H, F, size));
    return bench::limits::roofline_seconds(list, flops, bandwidth);
}
}
