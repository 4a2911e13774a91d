#include "options.hpp"
#include "error.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <thread>

namespace language_model {

bool parse(int count, char** words, options& o) {
    CLI::App app{
        "Trains a byte-level DeepSeekMoE language model on real text, then a GShard top-2 model of equal size on as many bytes,\n"
        "and compares the two.",
        "language_model"};
    app.add_option("--text", o.text, "Text to learn from (default: the licence texts in /usr/share/common-licenses)")->type_name("FILE...");
    auto* held_out = app.add_option("--held-out", o.held_out, "Text to be judged by (default: the last tenth of every --text)")->type_name("FILE...");
    held_out->needs("--text");
    app.add_option("--model", o.model, "Which model to train")->check(CLI::IsMember({"deepseek_moe", "gshard", "both"}))->capture_default_str();
    auto* steps = app.add_option("--steps", o.steps, "Steps of each model")->check(CLI::Range(1L, 10'000'000L))->capture_default_str();
    app.add_option("--minutes", o.minutes, "Instead of --steps: as many as take about this long, per model")
        ->check(CLI::Range(0.01, 10000.0))
        ->excludes(steps)
        ->type_name("FLOAT");
    app.add_option("--seed", o.seed, "Of first weights, order of the text and samples")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--threads", o.threads, "Threads (default: as many as the machine has); they never change a result")->check(CLI::Range(1, 256));
    app.add_flag("--tied", o.tied, "Use the embedding as the head too");
    app.add_option("--out", o.out, "Folder for the models and pictures")->type_name("DIR")->capture_default_str();
    app.add_option("--json", o.json, "Also write everything measured into this file")->type_name("FILE");
    app.add_option("--prompt", o.prompt, "What the generated text continues")->type_name("TEXT")->capture_default_str();
    app.add_option("--length", o.length, "Bytes to generate")->check(CLI::Range(0L, 1'000'000L))->capture_default_str();
    app.add_option("--temperature", o.temperature, "Of the generated text; 0: always the most likely byte")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    try {
        app.parse(count, words);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return false;
    } catch (const CLI::ParseError& e) { throw usage_error(std::string(e.what()) + " (see --help)"); }
    if (o.prompt.empty()) throw usage_error("--prompt must have at least one character");
    if (o.out.empty()) throw usage_error("--out must name a folder");
    if (o.threads == 0) o.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    return true;
}

}  // namespace language_model
