// Without exceptions and run-time type information: every header compiles, a layer runs on threads, and an error calls the handler with its
// sentence and then ends the program. Ends with 0 where all of that is so. With an argument no handler is set: the sentence is printed.
#include <Eigen/Core>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <guild/guild.hpp>
#include <guild/io/safetensors.hpp>

namespace {
struct tiny : guild::model<guild::config{.hidden = 16, .expert_hidden = 32, .routed_experts = 4, .top_k = 2}, guild::mixtral_gate{}> {};

bool told = false;
void hear(const char* sentence) { told = std::strcmp(sentence, "guild::layer: x is [8, 15], expected [8, 16]") == 0; }
}  // namespace

int main(int count, char**) {
    told = count > 1;
    if (!told && guild::set_error_handler(hear) != nullptr) return 2;
    std::signal(SIGABRT, [](int) { std::_Exit(told ? 0 : 1); });

    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const matrix x = matrix::Random(300, 16), narrow = matrix::Random(8, 15);
    matrix y(300, 16), dx(300, 16), few(8, 16);
    const auto weights = guild::random_weights<tiny>(/*seed=*/1);
    const guild::thread_pool pool(2);
    const guild::layer layer{weights, guild::backend::eigen{guild::threads{pool}}};
    guild::tape<float> tape;
    layer.forward(x, y, tape);
    guild::weights<tiny> gradients;
    layer.backward(y, dx, gradients, tape);
    if (!dx.allFinite() || dx.isZero(0)) return 3;

    layer.forward(narrow, few, tape);
    return 4;  // an error that did not end the program
}
