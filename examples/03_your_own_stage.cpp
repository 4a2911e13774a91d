// Your own router in a few lines: a stage that compares directions instead of lengths, with a learned temperature. It has no adjoint:
// one is derived from its forward, exactly. `inspect` shows a token's row after every stage.
#include <guild/guild.hpp>

#include <cmath>
#include <iomanip>
#include <iostream>

/// score = logit / |logits| * exp(temperature_e), temperature [E] learned.
struct direction {
    static constexpr int learned(int experts) { return experts; }
    void forward(const auto& t, auto& r) const {
        using guild::sqrt, guild::exp, guild::max;
        const auto length = max(sqrt(r.sum([&](int e) { return r.score[e] * r.score[e]; })), 1e-6f);
        r.each([&](int e) { r.score[e] = r.score[e] / length * exp(t.learned[e]); });
    }
};
struct direction_gate {
    constexpr auto stages() const { return guild::pipeline{direction{}, guild::score{guild::softmax{}}, guild::top_k{}}; }
};
struct mine : guild::model<guild::config{.hidden = 8, .expert_hidden = 16, .routed_experts = 6, .top_k = 2}, direction_gate{}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main() {
    const auto weights = guild::random_weights<mine>(/*seed=*/3);
    const guild::layer<mine> layer{weights};
    const matrix x = matrix::Random(4, 8), dy = matrix::Ones(4, 8);
    matrix y(4, 8), dx(4, 8);

    guild::tape<float> tape;
    guild::weights<mine> gradients;
    layer.forward(x, y, tape);
    layer.backward(dy, dx, gradients, tape);

    const char* stage[] = {"logits", "direction", "softmax", "top_k"};
    const auto rows = layer.inspect(tape, /*token=*/0);
    std::cout << std::fixed << std::setprecision(3);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::cout << std::setw(10) << stage[i] << " ";
        for (float s : rows[i].score) std::cout << std::setw(8) << s;
        std::cout << '\n';
    }
    std::cout << "    chosen  " << rows.back().expert[0] << " and " << rows.back().expert[1] << "\n\ngradient by temperature ";
    for (float g : gradients.learned) std::cout << std::setw(8) << g;
    std::cout << '\n';
}
