// Weights inside the program: constants that the compiler lays out, in the read-only part of the file, that a layer borrows as it would any others.
// No file is opened and nothing is copied, packed or allocated for them. A trained model would be printed as such a table.
#include <guild/guild.hpp>

#include <array>
#include <chrono>
#include <cstdio>

struct small : guild::model<guild::config{.hidden = 16, .expert_hidden = 32, .routed_experts = 8, .top_k = 2}, guild::mixtral_gate{}> {};

struct table {
    static constexpr std::size_t E = small::config.routed_experts, F = small::config.expert_hidden, H = small::config.hidden;
    std::array<float, E * H> router{};                        // [E, H]
    std::array<guild::bf16, E * F * H> gate{}, up{}, down{};  // [E, F, H], [E, F, H], [E, H, F]
};
/// Stands for the numbers of a trained model: uniform in +- 1/2, from the library's own generator, which runs at compile time.
consteval table trained() {
    table t;
    const auto number = [](int stream, std::size_t i) { return static_cast<float>(guild::uniform(1, stream, 0, static_cast<long>(i)) - 0.5); };
    for (std::size_t i = 0; i < t.router.size(); ++i) t.router[i] = number(0, i);
    for (std::size_t i = 0; i < t.up.size(); ++i) {
        t.gate[i] = guild::bf16(number(1, i));
        t.up[i] = guild::bf16(number(2, i));
        t.down[i] = guild::bf16(number(3, i));
    }
    return t;
}
constexpr table in_program = trained();

int main() {
    constexpr std::size_t F = table::F, H = table::H;
    guild::weights_view<guild::bf16> view;
    view.router = {in_program.router.data(), 0, H};
    view.experts.gate = {in_program.gate.data(), F * H, H};
    view.experts.up = {in_program.up.data(), F * H, H};
    view.experts.down = {in_program.down.data(), H * F, F};
    const guild::layer<small, guild::bf16> layer{view};

    const std::array<float, H> x{1, -1, 0.5};  // one token
    std::array<float, H> y{};
    guild::workspace<float> workspace;
    const auto forward = [&] { layer.forward({x.data(), 1, H}, {y.data(), 1, H}, workspace); };
    forward();  // reserves the workspace
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; ++i) forward();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - before;
    std::printf("%zu bytes of weights in the program, %.2f us for a token\ny = %.4f %.4f %.4f ...\n", sizeof in_program, time.count() / 1000,
                static_cast<double>(y[0]), static_cast<double>(y[1]), static_cast<double>(y[2]));

    // The same numbers in memory of their own: the same bits.
    guild::weights<small, guild::bf16> owned;
    owned.router.assign(in_program.router.begin(), in_program.router.end());
    owned.experts.gate.assign(in_program.gate.begin(), in_program.gate.end());
    owned.experts.up.assign(in_program.up.begin(), in_program.up.end());
    owned.experts.down.assign(in_program.down.begin(), in_program.down.end());
    std::array<float, H> again{};
    guild::layer<small, guild::bf16>{owned}.forward({x.data(), 1, H}, {again.data(), 1, H}, workspace);
    return y == again ? 0 : 1;
}
