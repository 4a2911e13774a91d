// expect: guild::model: more than one gate given
// expect: guild::config: .top_k must be at least 1
// expect: guild::config: .top_k must be at most .routed_experts
// expect: guild::model: a stage of the gate does not fit .routed_experts and .top_k
// expect: guild::model: the balancer moves a selection bias, and the gate has none
#include <guild/guild.hpp>

// One error of each model, whatever is done with it afterwards.
constexpr guild::config numbers{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 2};
struct two : guild::model<numbers, guild::mixtral_gate{}, guild::qwen3_gate{}> {};
struct none : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4}> {};
struct many : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 4, .top_k = 5}> {};
struct groups : guild::model<numbers, guild::deepseek_v3_gate{.groups = 3, .keep = 2, .scale = 1}> {};
struct balance : guild::model<numbers, guild::mixtral_gate{}, guild::bias_balance{}> {};

template <class Model> void use() {
    auto weights = guild::random_weights<Model>(1);
    const guild::layer<Model> layer{weights};
    guild::tape<float> tape;
    guild::weights<Model> gradients;
    Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> x(3, Model::config.hidden), y = x, dx = x;
    layer.forward(x, y, tape);
    layer.backward(y, dx, gradients, tape);
}
template void use<two>();
template void use<none>();
template void use<many>();
template void use<groups>();
template void use<balance>();
