#include <support/gradient.hpp>
#include <support/policies.hpp>

#include <guild/gate/stage/capacity.hpp>
#include <guild/gate/stage/choose.hpp>
#include <guild/gate/stage/expert_choice.hpp>
#include <guild/gate/stage/logits.hpp>
#include <guild/gate/stage/normalise.hpp>
#include <guild/gate/stage/scores.hpp>
#include <guild/gate/stage/sparse_mixer.hpp>

// The stages that no published gate of the library is made of, several in one gate.

namespace {
using namespace guild;

struct biased {
    constexpr auto stages() const { return pipeline{router_bias{}, score{soft_cap{.cap = 0.7}}, top_k{}, weigh{softmax{}}, expert_scale{}}; }
};
struct floored {
    constexpr auto stages() const { return pipeline{score{sqrt_softplus{}}, top_k{}, weigh{unit_max{.floor = 1e-3}}}; }
};
struct noisy {
    constexpr auto stages() const { return pipeline{learned_noise{}, top_k{}, weigh{softmax{}}, weigh{unit_norm{.p = 3}}}; }
};
struct two_levels {
    constexpr auto stages() const { return pipeline{hierarchy{.groups = 2}, everyone{}}; }
};
struct rectified {
    constexpr auto stages() const { return pipeline{score{rectify{}}, positive{}}; }
};
struct gshard {
    constexpr auto stages() const {
        return pipeline{score{softmax{}}, top_k{}, random_second{}, capacity{0.6, rounding::up, priority::weight}, weigh{unit_sum{}}};
    }
};
struct by_device {
    constexpr auto stages() const { return pipeline{score{sigmoid{}}, top_k{}, device_capacity{2, 0.7}, weigh{unit_norm{}}}; }
};
struct experts_choose {
    constexpr auto stages() const { return pipeline{score{softmax{}}, expert_choice{1.5}}; }
};
struct mixer {
    constexpr auto stages() const { return pipeline{sparse_mixer{.jitter = 0.3}}; }
};
struct unweighted {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh_one{}}; }
};

constexpr config small{.hidden = 4, .expert_hidden = 3, .routed_experts = 6, .top_k = 2};
constexpr expert_loss loss{.weight = 0.5};
struct biased_layer : model<small, biased{}, loss> {};
struct floored_layer : model<small, floored{}, loss> {};
struct noisy_layer : model<small, noisy{}, z_loss{.weight = 0.5}> {};
struct two_level_layer : model<small, two_levels{}, loss> {};
struct rectified_layer : model<small, rectified{}, residual::complement, loss> {};
struct gshard_layer : model<small, gshard{}, residual::complement, loss, switch_loss{.weight = 0.5}> {};
struct device_layer : model<small, by_device{}, loss, test::curvature{}> {};
struct experts_choose_layer : model<small, experts_choose{}, residual::plain> {};
struct mixer_layer : model<small, mixer{}> {};
struct unweighted_layer : model<small, unweighted{}, loss> {};
}  // namespace

TEST_CASE_TEMPLATE("gradients of layers made of other stages", Model, biased_layer, noisy_layer, two_level_layer, rectified_layer, gshard_layer,
                   device_layer, experts_choose_layer, unweighted_layer) {
    const int sequence[] = {0, 2, 7};
    const bool padding[] = {false, false, true, false, false, false, true};
    for (const long T : {0, 1, 7}) test::check_gradients<Model>(T, {.seed = 2, .training = true});
    test::check_gradients<Model>(7, {.padding = padding, .sequence = sequence});
}

TEST_CASE("gradients of a mixture of picks one after the other") { test::check_gradients<mixer_layer>(7); }

TEST_CASE("gradients of square-root scores over a floored sum") { test::check_gradients<floored_layer>(3); }
