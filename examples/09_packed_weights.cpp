// Weights packed once for the kernels of the machine at hand: less memory, more speed, and for each arithmetic bits that do not depend on the batch.
#include <guild/guild.hpp>

#include <cstring>
#include <iostream>

namespace cpu = guild::cpu;
struct served : guild::model<guild::segmented{.hidden = 256, .ffn_hidden = 512, .experts = 8, .top_k = 2, .segments = 4, .shared = 1},
                             guild::deepseek_moe_gate{}> {};
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Packs the weights in a format, and says how far the output is from `exact`, and whether a token alone gets the bits it has in the batch.
template <class Format>
bool serve(const guild::weights<served>& weights, cpu::arithmetic by, const matrix& x, const matrix& exact, const char* name) {
    using backend = guild::backend::eigen<>;
    const backend how(guild::serial{}, by);
    const guild::packed_weights<served, Format, backend> packed(guild::convert<Format>(weights), {}, how);  // the source may go
    const guild::layer layer(packed, how);

    guild::workspace<float> workspace;
    matrix y(64, 256), alone(1, 256);
    layer.forward(x, y, workspace);
    layer.forward(x.row(41), alone, workspace);
    const bool same = std::memcmp(alone.data(), y.row(41).data(), sizeof(float) * 256) == 0;
    std::cout << name << ": " << (y - exact).norm() / exact.norm() << " from fp32, a token alone has " << (same ? "the same bits" : "OTHER BITS")
              << '\n';
    return same;
}

int main() {
    std::cout << "kernels: " << cpu::name(cpu::active()) << '\n';
    const auto weights = guild::random_weights<served>(/*seed=*/1);
    const matrix x = matrix::Random(64, 256);
    matrix exact(64, 256);
    guild::workspace<float> workspace;
    guild::layer<served>{weights}.forward(x, exact, workspace);

    bool good = serve<float>(weights, cpu::arithmetic::fp32, x, exact, "float                  ");
    good &= serve<guild::bf16>(weights, cpu::arithmetic::fp32, x, exact, "bf16, fp32 activations ");
    good &= serve<guild::bf16>(weights, cpu::arithmetic::bf16, x, exact, "bf16, bf16 activations ");
    good &= serve<guild::int8>(weights, cpu::arithmetic::int8, x, exact, "int8, int8 activations ");
    good &= serve<guild::mxfp4>(weights, cpu::arithmetic::fp32, x, exact, "MXFP4, fp32 activations");
    return good ? 0 : 1;
}
