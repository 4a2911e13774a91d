// One header, one mixture, one forward: eight tokens through a DeepSeek-V3 layer in miniature.
// [ten lines
#include <guild/guild.hpp>
#include <iostream>

struct tiny : guild::model<guild::segmented{.hidden = 512, .ffn_hidden = 1024, .experts = 16, .top_k = 2, .segments = 4, .shared = 1},
                           guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}> {};  // 63 routed, 7 chosen, 1 shared, F = 256

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main() {
    const auto weights = guild::random_weights<tiny>(/*seed=*/1);
    const guild::layer<tiny> layer{weights};
    guild::workspace<float> workspace;

    const matrix x = matrix::Random(8, 512);  // [T, H]
    matrix y(8, 512);
    layer.forward(x, y, workspace);
    std::cout << "|y| = " << y.norm() << '\n';
    // ten lines]

    const guild::choice<float>& chosen = workspace.gate.choice;
    std::cout << "token: experts and their weights\n";
    for (long t = 0; t < chosen.tokens; ++t) {
        std::cout << t << ':';
        for (long k = 0; k < chosen.slots; ++k)
            std::cout << "  " << chosen.expert[t * chosen.slots + k] << ' ' << chosen.weight[t * chosen.slots + k];
        std::cout << '\n';
    }
}
