// expect: guild::layer: the tape keeps x by address until backward, and x is a temporary
#include <guild/guild.hpp>

struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2}> {};
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void forward(const guild::layer<mixture>& layer, const matrix& x, matrix& y, guild::tape<float>& tape) {
    layer.forward(matrix(x * 2), y, tape, {.training = true});
}
