// One const layer for all: a pool inside the layer, or many requests on it at once, each with a workspace of its own. Same bits.
#include <guild/guild.hpp>

#include <cstring>
#include <iostream>

struct served : guild::model<guild::segmented{.hidden = 256, .ffn_hidden = 512, .experts = 8, .top_k = 2, .segments = 4, .shared = 1},
                             guild::deepseek_moe_gate{}> {};

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main() {
    const auto weights = guild::random_weights<served>(/*seed=*/1);
    const matrix x = matrix::Random(64, 256);
    matrix alone(64, 256), pooled(64, 256), requested(64, 256);

    // One request on one thread, then on a pool of four that splits the work of a request.
    const guild::layer<served> layer{weights};
    guild::workspace<float> workspace;
    layer.forward(x, alone, workspace);

    const guild::thread_pool pool{4};
    const guild::layer parallel{weights, guild::backend::eigen{guild::threads{pool}}};
    parallel.forward(x, pooled, workspace);

    // Eight requests of eight tokens at once on the const layer; nothing allocates after `reserve`.
    std::vector<std::thread> requests;
    for (long id = 0; id < 8; ++id)
        requests.emplace_back([&, id] {
            guild::workspace<float> mine;
            mine.reserve(layer, /*tokens=*/8);
            layer.forward(x.middleRows(8 * id, 8), requested.middleRows(8 * id, 8), mine);
        });
    for (std::thread& r : requests) r.join();

    const auto same = [&](const matrix& y) { return std::memcmp(y.data(), alone.data(), sizeof(float) * 64 * 256) == 0; };
    std::cout << "a pool of 4 threads:  " << (same(pooled) ? "the same bits" : "OTHER BITS") << '\n'
              << "8 concurrent callers: " << (same(requested) ? "the same bits" : "OTHER BITS") << '\n';
    return same(pooled) && same(requested) ? 0 : 1;
}
