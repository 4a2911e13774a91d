#include "experiment.hpp"
#include "files.hpp"
#include "plots.hpp"

#include <iostream>

/// Trains a DeepSeekMoE language model on bytes, then a GShard model of equal size on as many, and shows which learned more.
namespace language_model {

namespace {

/// Everything that will be written can be, before any of it is.
void require_places(const std::filesystem::path& out, const std::filesystem::path& json_file) {
    if (!json_file.empty()) {
        const auto folder = json_file.has_parent_path() ? json_file.parent_path() : std::filesystem::path(".");
        std::error_code code;
        const auto status = std::filesystem::status(json_file, code);
        if (status.type() == std::filesystem::file_type::none) throw usage_error("cannot write " + json_file.string() + ": " + code.message());
        if (std::filesystem::is_directory(status)) throw usage_error("--json names a folder, " + json_file.string() + ", instead of a file");
        if (folder.lexically_normal() != out.lexically_normal() || std::filesystem::exists(folder, code)) require_writable(folder);
    }
    require_folder(out);
}

}  // namespace

void run(int count, char** words) {
    options o;
    if (!parse(count, words, o)) return;

    const corpus c = o.text.empty() ? licences() : from_files(o.text, o.held_out);
    const int context = shape{}.context;
    const windows text(c.training, context, "training");
    const auto held_out = windows(c.held_out, context, "held-out").consecutive();
    const std::filesystem::path out = o.out, json_file = o.json;
    require_places(out, json_file);
    std::cout << describe(c) << std::endl;

    const guild::thread_pool pool(o.threads);
    settings how{.steps = o.steps, .minutes = o.minutes, .seed = o.seed};
    progress line;
    std::vector<result> all;
    if (o.model != "gshard") {
        all.push_back(experiment<deepseek_moe>("DeepSeekMoE", "deepseek_moe.safetensors", o, how, pool, text, held_out, line));
        how = {.steps = all.back().measured.steps, .seed = o.seed};
    }
    if (o.model != "deepseek_moe") all.push_back(experiment<gshard>("GShard", "gshard.safetensors", o, how, pool, text, held_out, line));

    std::vector<outcome> measured;
    for (const auto& r : all) measured.push_back(r.measured);
    replace_file(out / "loss.svg", loss_plot(measured));
    replace_file(out / "experts.svg", load_plot(measured));
    if (!o.json.empty()) replace_file(json_file, json(o, c, all));

    std::cout << '\n' << table(all) << '\n';
    for (const auto& r : all)
        std::cout << r.file << ": " << grouped(r.file_bytes) << " bytes, read back: " << grouped(r.compared_logits) << " logits with the same bits\n";
    std::cout << (out / "loss.svg").string() << ", " << (out / "experts.svg").string() << ": loss curves, load of the experts\n";
    if (o.minutes > 0) std::cout << "the same bits again: --steps " << all.front().measured.steps << '\n';
    if (o.length == 0) return;
    for (const auto& r : all)
        std::cout << '\n' << r.measured.name << " continues \"" << printable(o.prompt) << "\":\n" << printable(o.prompt + r.text) << '\n';
}

}  // namespace language_model

int main(int count, char** words) {
    try {
        language_model::run(count, words);
    } catch (const language_model::usage_error& e) {
        std::cerr << "language_model: " << e.what() << std::endl;
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "language_model: " << e.what() << std::endl;
        return 1;
    }
    return std::cout ? 0 : 1;
}
