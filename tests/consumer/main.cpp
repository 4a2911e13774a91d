#include <Eigen/Core>
#include <guild/guild.hpp>
#include <iostream>
#include <string>

float other();

struct tiny : guild::model<guild::segmented{.hidden = 32, .ffn_hidden = 64, .experts = 4, .top_k = 2, .segments = 2, .shared = 1},
                           guild::deepseek_v3_gate{.groups = 1, .keep = 1, .scale = 1}> {};

int main() {
#ifdef PACKAGE_VERSION
    const auto version = std::to_string(GUILD_VERSION_MAJOR) + '.' + std::to_string(GUILD_VERSION_MINOR) + '.' + std::to_string(GUILD_VERSION_PATCH);
    if (version != PACKAGE_VERSION) {
        std::cerr << "the headers say " << version << ", the package " << PACKAGE_VERSION << '\n';
        return 1;
    }
#endif
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const matrix x = matrix::Random(8, tiny::config.hidden);
    matrix y(8, tiny::config.hidden);

    const auto weights = guild::random_weights<tiny>(/*seed=*/1);
    const guild::layer<tiny> layer{weights};
    guild::workspace<float> workspace;
    layer.forward(x, y, workspace);
    std::cout << "|y| = " << y.norm() << ", |other| = " << other() << '\n';
    return y.allFinite() && y.norm() > 0 ? 0 : 1;
}
