#include <support/gradient.hpp>

// Every loss through a layer: what reaches x, the router and the learned numbers.

namespace {
using namespace guild;

constexpr config small{.hidden = 4, .expert_hidden = 3, .routed_experts = 6, .top_k = 2};
struct noisy : model<small, noisy_top_k_gate{}, noisy_load_loss{.weight = 0.5}, importance_loss{.weight = 0.5},
                     mutual_information_loss{.weight = 0.5}, orthogonality_loss{.weight = 0.5}, top_k_balance_loss{.weight = 0.5}> {};
struct limited : model<small, deepseek_v2_gate{.groups = 3, .keep = 2, .scale = 1}, device_loss{.weight = 0.5, .devices = 3},
                       communication_loss{.weight = 0.5, .devices = 3, .reach = 2}, sequence_loss{.weight = 0.5},
                       sequence_loss{.weight = 0.3, .by = counted::realised}, global_batch_loss{.weight = 0.5}> {};
struct rectified
    : model<small, remoe_gate{}, l1_loss{.weight = 0.5}, l1_loss{.weight = 0.3, .balanced = true}, importance_loss{.weight = 0.1, .unbiased = true}> {
};
}  // namespace

TEST_CASE_TEMPLATE("gradients of the balance losses through a layer", Model, noisy, limited, rectified) {
    const int sequence[] = {0, 2, 2, 7};
    const bool padding[] = {false, false, true, false, true, false, false}, all[] = {true, true};
    for (const long T : {0, 1, 7}) test::check_gradients<Model>(T, {.seed = 2, .training = true});
    test::check_gradients<Model>(7, {.padding = padding, .sequence = sequence, .seed = 3, .training = true});
    test::check_gradients<Model>(7, {.padding = padding, .sequence = sequence});
    test::check_gradients<Model>(2, {.padding = all, .training = true});
}
TEST_CASE("a loss is measured without being optimised, whether the model has it or others or none") {
    struct bare : model<small, deepseek_v3_gate{.groups = 1, .keep = 1}> {};
    struct with : model<small, deepseek_v3_gate{.groups = 1, .keep = 1}, expert_loss{.weight = 0.25}> {};
    const auto loss_of = [](const auto& w, const auto& loss) {
        const layer one{w, backend::reference{}};
        std::vector<double> x, y(4 * 9);
        for (long i = 0; i < 4 * 9; ++i) x.push_back(normal(5, 0, 0, i));
        tape<double> tp;
        one.forward({x.data(), 9, 4}, {y.data(), 9, 4}, tp);
        return one.measure(loss, tp);
    };
    const auto w = random_weights<bare, double>(3);
    const auto v = random_weights<with, double>(3);
    CHECK(loss_of(w, expert_loss{.weight = 0.25}) == loss_of(v, expert_loss{.weight = 0.25}));
    CHECK(loss_of(w, z_loss{.weight = 1}) == loss_of(v, z_loss{.weight = 1}));
    CHECK(loss_of(w, z_loss{.weight = 1}) > 0);
}
TEST_CASE("the batch scales the losses of a model one by one") {
    // each alone, at half its weight: the loss and the gradient of a model that has no other
    static constexpr l1_loss l1{.weight = 0.5};
    static constexpr importance_loss importance{.weight = 0.25};
    static constexpr scheduled logits{z_loss{.weight = 0.5}, warm_up{.steps = 8}};
    struct three : model<small, remoe_gate{}, l1, importance, logits> {};
    struct first : model<small, remoe_gate{}, l1> {};
    struct second : model<small, remoe_gate{}, importance> {};
    struct third : model<small, remoe_gate{}, logits> {};
    std::vector<double> x, y(4 * 9);
    for (long i = 0; i < 4 * 9; ++i) x.push_back(normal(5, 0, 0, i));
    const auto run = [&]<class Model>(Model, std::span<const double> strength) {
        const auto w = random_weights<Model, double>(3);
        const layer one{w, backend::reference{}};
        tape<double> tp;
        weights<Model, double> grad(Model{});
        const std::vector<double> dy(4 * 9);
        std::vector<double> dx(4 * 9);
        one.forward({x.data(), 9, 4}, {y.data(), 9, 4}, tp, {.strength = strength, .step = 6});
        one.backward({dy.data(), 9, 4}, {dx.data(), 9, 4}, grad, tp);
        return std::pair{one.loss(tp), grad.router};
    };
    const std::pair<double, std::vector<double>> alone[] = {run(first{}, {}), run(second{}, {}), run(third{}, {})};
    for (std::size_t i = 0; i < 3; ++i) {
        CAPTURE(i);
        double strength[3] = {};
        strength[i] = 0.5;
        const auto half = run(three{}, strength);
        CHECK(half.first == doctest::Approx(0.5 * alone[i].first).epsilon(1e-14));
        CHECK(half.first > 0);
        for (std::size_t j = 0; j < half.second.size(); ++j) CHECK(std::abs(half.second[j] - 0.5 * alone[i].second[j]) < 1e-14);
        for (std::size_t other = 0; other < i; ++other) CHECK(std::abs(alone[i].first - alone[other].first) > 1e-3);
    }
    const double both[] = {1, 1};
    CHECK_THROWS_AS(run(three{}, both), shape_error);
}
