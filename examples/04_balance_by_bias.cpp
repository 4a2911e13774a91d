// Balance without a loss, as in DeepSeek-V3: a bias that only ranks is moved after every batch by the sign of each expert's overload.
#include <guild/guild.hpp>

#include <iomanip>
#include <iostream>
#include <string>

struct balanced : guild::model<guild::config{.hidden = 32, .expert_hidden = 32, .routed_experts = 16, .top_k = 4},
                               guild::deepseek_v3_gate{.groups = 4, .keep = 2, .scale = 1}, guild::bias_balance{.rate = 0.01}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void print(int batch, const guild::load& load) {
    std::cout << "batch " << std::setw(3) << batch << "  most loaded expert " << std::setprecision(2) << std::fixed << load.max_violation() + 1
              << " times its share, entropy " << load.entropy() << " of 4 bits  ";
    for (long count : load.count) std::cout << std::string(" .:-=+*#%@").substr(static_cast<std::size_t>(std::min(9L, count * 40 / load.total)), 1);
    std::cout << '\n';
}

int main() {
    auto weights = guild::random_weights<balanced>(/*seed=*/1);
    std::fill(weights.state.begin(), weights.state.end(), 0.f);
    const guild::layer<balanced> layer{weights};
    guild::workspace<float> workspace;
    matrix y(512, 32);

    for (int batch = 0; batch <= 100; ++batch) {
        const matrix x = matrix::Random(512, 32).array() + 0.5f;  // off centre: some experts are everybody's favourites
        layer.forward(x, y, workspace);
        const guild::load load = layer.load(workspace);
        if (batch % 20 == 0) print(batch, load);
        guild::rebalance(weights, load);
    }
}
