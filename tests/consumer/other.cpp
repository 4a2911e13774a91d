#include <Eigen/Core>
#include <guild/guild.hpp>

namespace {
struct mixture : guild::model<guild::config{.hidden = 16, .expert_hidden = 32, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate{}> {};
}  // namespace

float other() {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const matrix x = matrix::Random(4, mixture::config.hidden);
    matrix y(4, mixture::config.hidden);
    const auto weights = guild::random_weights<mixture>(/*seed=*/2);
    const guild::layer<mixture> layer{weights};
    guild::workspace<float> workspace;
    layer.forward(x, y, workspace);
    return y.norm();
}
