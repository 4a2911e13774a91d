// expect: guild::view: activations are row-major
// expect: guild::view: activations are row-major
#include <guild/guild.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2}> {};

void forward(const guild::layer<mixture>& layer, guild::workspace<float>& workspace) {
    const Eigen::MatrixXf x = Eigen::MatrixXf::Zero(3, 8);
    Eigen::MatrixXf y(3, 8);
    layer.forward(x, y, workspace);
}
