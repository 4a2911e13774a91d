// Training: a mixture of small experts learns a function by gradient descent, balance loss included.
#include <guild/guild.hpp>

#include <iostream>

struct student : guild::model<guild::segmented{.hidden = 16, .ffn_hidden = 64, .experts = 4, .top_k = 2, .segments = 2, .shared = 1},
                              guild::deepseek_moe_gate{}, guild::expert_loss{.weight = 0.01}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main() {
    constexpr long T = 256, H = student::config.hidden;
    const matrix x = matrix::Random(T, H);  // [T, H]
    const matrix target = (3 * x.array()).sin() * x.rowwise().reverse().array();
    matrix y(T, H), dy(T, H), dx(T, H);

    auto weights = guild::random_weights<student>(/*seed=*/1);
    const guild::layer<student> layer{weights};  // borrows the weights: every step below is seen by it
    guild::weights<student> gradients;
    guild::tape<float> tape;
    const float rate = 0.5f;

    for (int step = 0; step <= 400; ++step) {
        layer.forward(x, y, tape, {.training = true});
        dy = (y - target) * (2.f / T);  // of the mean squared error per token
        guild::zero(gradients);         // parameter gradients accumulate
        layer.backward(dy, dx, gradients, tape);
        guild::each_tensor(
            [&](const char*, auto& w, const auto& g) {
                for (std::size_t i = 0; i < w.size(); ++i) w[i] -= rate * g[i];
            },
            weights, gradients);
        if (step % 100 == 0)
            std::cout << "step " << step << "  error " << (y - target).squaredNorm() / T << "  balance loss " << layer.loss(tape)
                      << "  max violation " << layer.load(tape).max_violation() << '\n';
    }
}
