// Training: a mixture of small experts learns a function by gradient descent, balance loss included; first in fp32, then with the
// experts' products in bf16, summed in fp32, as machines with instructions for bf16 do it faster.
#include <guild/guild.hpp>

#include <cstdlib>
#include <iostream>

struct student : guild::model<guild::segmented{.hidden = 16, .ffn_hidden = 64, .experts = 4, .top_k = 2, .segments = 2, .shared = 1},
                              guild::deepseek_moe_gate{}, guild::expert_loss{.weight = 0.01}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void train(guild::cpu::arithmetic products) {
    constexpr long T = 256, H = student::config.hidden;
    std::srand(1);
    const matrix x = matrix::Random(T, H);  // [T, H]
    const matrix target = (3 * x.array()).sin() * x.rowwise().reverse().array();
    matrix y(T, H), dy(T, H), dx(T, H);

    auto weights = guild::random_weights<student>(/*seed=*/1);
    const guild::layer layer{weights, guild::backend::eigen{guild::serial{}, products}};  // borrows the weights: every step below is seen by it
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

int main() {
    for (const auto products : {guild::cpu::arithmetic::fp32, guild::cpu::arithmetic::bf16}) {
        std::cout << "products in " << name(products) << '\n';
        train(products);
    }
}
