#include "files.hpp"

#include <guild/guild.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

// What docs/from_pytorch.md shows, between the marks, over a module and a step of its training that PyTorch computed (pytorch/module.py).
namespace {

// [names
struct mixture : guild::model<guild::config{.hidden = 12, .expert_hidden = 5, .routed_experts = 8, .top_k = 3, .shared_experts = 2},
                              guild::deepseek_moe_gate{}> {};

/// f(key of the module, its part of the weights, its shape) for every parameter: one list for import and for export.
void each_parameter(guild::weights<mixture>& w, auto f) {
    constexpr guild::config c = mixture::config;
    const auto linear = [&](const std::string& key, std::vector<float>& stacked, long e, long out, long in) {
        const auto size = static_cast<std::size_t>(out * in);
        f(key + ".weight", std::span(stacked).subspan(static_cast<std::size_t>(e) * size, size), std::vector{out, in});
    };
    const auto network = [&](const std::string& key, auto& stacked, long e, long width) {
        linear(key + ".gate_proj", stacked.gate, e, width, c.hidden);
        linear(key + ".up_proj", stacked.up, e, width, c.hidden);
        linear(key + ".down_proj", stacked.down, e, c.hidden, width);
    };
    linear("gate", w.router, 0, c.routed_experts, c.hidden);
    for (int e = 0; e < c.routed_experts; ++e) network("experts." + std::to_string(e), w.experts, e, c.expert_hidden);
    network("shared_experts", w.shared, 0, c.shared_width());
}

guild::weights<mixture> import_from(const std::filesystem::path& file, const std::string& prefix = "") {
    const guild::io::safetensors in(file);
    guild::weights<mixture> w;
    each_parameter(w, [&](const std::string& key, std::span<float> part, const std::vector<long>& shape) { in.read(prefix + key, part, shape); });
    return w;
}

void export_to(const std::filesystem::path& file, guild::weights<mixture>& w) {
    guild::io::safetensors_writer out;
    each_parameter(w, [&](const std::string& key, std::span<const float> part, const std::vector<long>& shape) { out.add(key, shape, part); });
    out.write(file);
}
// names]

const std::filesystem::path module_file = std::filesystem::path(GUILD_GOLDEN).parent_path() / "io" / "pytorch" / "module.safetensors";

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// [step
/// One step of torch.optim.SGD(lr=0.5) on loss = ((y - target) ** 2).sum() / T.  y [T, H] =, dx [T, H] =
void train_step(guild::weights<mixture>& weights, const matrix& x, const matrix& target, matrix& y, matrix& dx) {
    const guild::layer layer{weights};
    guild::weights<mixture> gradients;  // zero
    guild::tape<float> tape;
    layer.forward(x, y, tape, {.training = true});
    const matrix dy = (y - target) * (2.f / static_cast<float>(x.rows()));
    layer.backward(dy, dx, gradients, tape);
    guild::each_tensor(
        [](const char*, auto& w, const auto& g) {
            for (std::size_t i = 0; i < w.size(); ++i) w[i] -= 0.5f * g[i];
        },
        weights, gradients);
}
// step]

matrix read_matrix(const char* key, long rows, long cols) {
    const guild::io::safetensors in(module_file);
    matrix m(rows, cols);
    in.read(key, std::span(m.data(), static_cast<std::size_t>(m.size())), {rows, cols});
    return m;
}
}  // namespace

TEST_CASE("a module of PyTorch: the same outputs, the same gradient by x, the same weights after a step") {
    const long T = 7, H = mixture::config.hidden;
    const matrix x = read_matrix("batch.x", T, H), target = read_matrix("batch.target", T, H);
    auto weights = import_from(module_file);

    matrix y(T, H), dx(T, H);
    train_step(weights, x, target, y, dx);

    CHECK((y - read_matrix("batch.y", T, H)).lpNorm<Eigen::Infinity>() < 1e-6);
    CHECK((dx - read_matrix("batch.dx", T, H)).lpNorm<Eigen::Infinity>() < 1e-6);
    auto expected = import_from(module_file, "trained.");
    std::map<std::string, std::vector<float>> trained;
    each_parameter(expected, [&](const std::string& key, std::span<float> part, const auto&) { trained[key].assign(part.begin(), part.end()); });
    each_parameter(weights, [&](const std::string& key, std::span<float> part, const auto&) {
        CAPTURE(key);
        CHECK(std::ranges::equal(part, trained.at(key), [](float a, float b) { return std::abs(a - b) < 1e-6f; }));
    });
}

TEST_CASE("a module of PyTorch: what is written back has the keys, shapes and bytes that were read") {
    const temporary_folder folder;
    auto weights = import_from(module_file);
    export_to(folder / "written.safetensors", weights);

    const guild::io::safetensors before(module_file), after(folder / "written.safetensors");
    CHECK(after.tensors().size() == 1 + 3 * 8 + 3);
    for (const auto& tensor : after.tensors()) {
        CAPTURE(tensor.name);
        CHECK(tensor.shape == before.at(tensor.name).shape);
        CHECK(after.read_as<float>(tensor.name) == before.read_as<float>(tensor.name));
    }
}
