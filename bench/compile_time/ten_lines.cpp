#include <Eigen/Core>
#include <guild/guild.hpp>
#include <iostream>

struct tiny : guild::model<guild::segmented{.hidden = 512, .ffn_hidden = 1024, .experts = 16, .top_k = 2, .segments = 4, .shared = 1},
                           guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}, guild::bias_balance{.rate = 1e-3}> {};

int main() {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const matrix x = matrix::Random(8, 512);
    matrix y(8, 512);
    const auto weights = guild::random_weights<tiny>(/*seed=*/1);
    const guild::layer<tiny> layer{weights};
    guild::workspace<float> workspace;
    layer.forward(x, y, workspace);
    std::cout << y.norm() << '\n';
}
