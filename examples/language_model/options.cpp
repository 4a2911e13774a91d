#include "options.hpp"
#include "error.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <concepts>
#include <iostream>
#include <thread>

namespace language_model {

namespace {

/// What the user wrote, for a sentence: in quotes, without what does not print, the beginning of it.
std::string in_quotes(const std::string& text) {
    constexpr std::size_t most = 40;
    std::string out = printable(text.substr(0, most));
    std::replace(out.begin(), out.end(), '\n', '?');
    return "'" + out + (text.size() > most ? "'..." : "'");
}
std::string written(double x) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, x).ptr};
}
template <std::integral T> std::string written(T x) { return std::to_string(x); }

/// An option whose value is one number of [low, high], all of it and nothing else: no NaN, no other base, no number that would not fit.
template <class T> CLI::Option* add_number(CLI::App& app, const char* name, T& value, T low, T high, const std::string& about) {
    const auto read = [&value, name, low, high](const std::string& text) {
        T found{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), found);
        if (error != std::errc{} || end != text.data() + text.size() || !(low <= found && found <= high))
            throw usage_error(std::string(name) + " is " + in_quotes(text) + ", expected a " + (std::integral<T> ? "whole number" : "number") +
                              " from " + written(low) + " to " + written(high));
        value = found;
    };
    return app.add_option_function<std::string>(name, read, about)->type_name(std::integral<T> ? "INT" : "FLOAT");
}

}  // namespace

bool parse(int count, char** words, options& o) {
    CLI::App app{
        "Trains a byte-level DeepSeekMoE language model on real text, then a GShard top-2 model of equal size on as many bytes,\n"
        "and compares the two.",
        "language_model"};
    app.add_option("--text", o.text, "Text to learn from (default: the licence texts in /usr/share/common-licenses)")->type_name("FILE...");
    auto* held_out = app.add_option("--held-out", o.held_out, "Text to be judged by (default: the last tenth of every --text)")->type_name("FILE...");
    held_out->needs("--text");
    app.add_option("--model", o.model, "Which model to train: deepseek_moe, gshard or both")->type_name("NAME")->capture_default_str();
    auto* steps = add_number(app, "--steps", o.steps, 1L, 10'000'000L, "Steps of each model")->default_str(written(o.steps));
    add_number(app, "--minutes", o.minutes, 0.01, 10000.0, "Instead of --steps: as many as take about this long, per model")->excludes(steps);
    add_number(app, "--seed", o.seed, std::uint64_t{0}, ~std::uint64_t{0}, "Of first weights, order of the text and samples")
        ->default_str(written(o.seed));
    add_number(app, "--threads", o.threads, 1, 256, "Threads (default: as many as the machine has); they never change a result");
    app.add_flag("--tied", o.tied, "Use the embedding as the head too")->disable_flag_override();
    app.add_option("--out", o.out, "Folder for the models and pictures")->type_name("DIR")->capture_default_str();
    auto* json = app.add_option("--json", o.json, "Also write everything measured into this file")->type_name("FILE");
    app.add_option("--prompt", o.prompt, "What the generated text continues")->type_name("TEXT")->capture_default_str();
    add_number(app, "--length", o.length, 0L, 1'000'000L, "Bytes to generate")->default_str(written(o.length));
    add_number(app, "--temperature", o.temperature, 0.0, 100.0, "Of the generated text; 0: always the most likely byte")
        ->default_str(written(o.temperature));
    try {
        app.parse(count, words);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return false;
    } catch (const CLI::ParseError& e) {
        std::string sentence = printable(std::string(e.what()).substr(0, 160));
        std::replace(sentence.begin(), sentence.end(), '\n', ' ');
        throw usage_error(sentence + " (see --help)");
    }
    if (o.model != "deepseek_moe" && o.model != "gshard" && o.model != "both")
        throw usage_error("--model is " + in_quotes(o.model) + ", expected deepseek_moe, gshard or both");
    for (const auto* files : {&o.text, &o.held_out})
        for (const std::string& file : *files)
            if (file.empty()) throw usage_error(std::string(files == &o.text ? "--text" : "--held-out") + " must name files");
    if (json->count() > 0 && o.json.empty()) throw usage_error("--json must name a file");
    if (o.prompt.empty()) throw usage_error("--prompt must have at least one character");
    if (o.out.empty()) throw usage_error("--out must name a folder");
    if (o.threads == 0) o.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 256U));
    return true;
}

}  // namespace language_model
