// Numbers that are known when the program runs, as from the configuration of a checkpoint: the kinds of policy are types still, all sizes are values.
// One instantiation serves every size, and has the bits of the model whose numbers the compiler knows.
#include <guild/guild.hpp>

#include <cstdio>
#include <cstring>
#include <sstream>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using any_v3 = guild::dynamic_model<guild::deepseek_v3_gate>;

/// Lines of a name and a number each; what is not there keeps its default.
any_v3 read(std::istream& text) {
    any_v3 m{.config = {.hidden = 0, .expert_hidden = 0, .routed_experts = 0, .top_k = 0}};
    std::string name;
    for (double value = 0; text >> name >> value;) {
        if (name == "hidden_size") m.config.hidden = static_cast<int>(value);
        if (name == "moe_intermediate_size") m.config.expert_hidden = static_cast<int>(value);
        if (name == "n_routed_experts") m.config.routed_experts = static_cast<int>(value);
        if (name == "num_experts_per_tok") m.config.top_k = static_cast<int>(value);
        if (name == "n_shared_experts") m.config.shared_experts = static_cast<int>(value);
        if (name == "n_group") m.gate.groups = static_cast<int>(value);
        if (name == "topk_group") m.gate.keep = static_cast<int>(value);
        if (name == "routed_scaling_factor") m.gate.scale = value;
    }
    return m;
}
template <class Model> matrix output(const Model& m, const matrix& x) {
    const auto weights = guild::random_weights<Model>(/*seed=*/1, m);  // throws where the numbers break a rule
    const guild::layer layer{weights};
    guild::workspace<float> workspace;
    matrix y(x.rows(), x.cols());
    layer.forward(x, y, workspace);
    return y;
}
struct fixed : guild::model<guild::config{.hidden = 24, .expert_hidden = 16, .routed_experts = 8, .top_k = 2, .shared_experts = 1},
                            guild::deepseek_v3_gate{.groups = 4, .keep = 2, .scale = 2.5}> {};

int main() {
    const std::string same =
        "n_routed_experts 8\nnum_experts_per_tok 2\nn_shared_experts 1\nmoe_intermediate_size 16\nn_group 4\ntopk_group 2\n"
        "routed_scaling_factor 2.5\n";
    for (const char* width : {"hidden_size 24\n", "hidden_size 40\n"}) {
        std::istringstream text(width + same);
        const any_v3 m = read(text);
        const matrix x = matrix::Random(5, m.config.hidden), y = output(m, x);
        std::printf("H %d: |y| = %.4f\n", m.config.hidden, static_cast<double>(y.norm()));
        if (m.config.hidden != fixed::config.hidden) continue;
        const matrix expected = output(fixed{}, x);
        if (std::memcmp(y.data(), expected.data(), sizeof(float) * static_cast<std::size_t>(y.size())) != 0) return 1;
    }
    std::istringstream wrong("hidden_size 24\n" + same + "num_experts_per_tok 9\n");
    try {
        output(read(wrong), matrix::Zero(5, 24));
        return 1;
    } catch (const guild::argument_error& e) { std::printf("refused: %s\n", e.what()); }
}
