#include "report.hpp"
#include "progress.hpp"
#include "svg.hpp"

#include <nlohmann/json.hpp>

#include <functional>

namespace language_model {

namespace {

std::string names(const std::vector<document>& all) {
    std::string out;
    for (const auto& d : all) out += (out.empty() ? "" : ", ") + d.name;
    return out;
}

nlohmann::ordered_json to_json(const std::vector<document>& all) {
    auto out = nlohmann::ordered_json::array();
    for (const auto& d : all) out.push_back({{"name", d.name}, {"bytes", d.text.size()}});
    return out;
}

nlohmann::ordered_json to_json(const result& r) {
    const outcome& m = r.measured;
    auto curve = nlohmann::ordered_json::array();
    for (const auto& p : m.curve)
        curve.push_back({{"step", p.step}, {"bytes_read", p.tokens}, {"training_bits_per_byte", p.training}, {"held_out_bits_per_byte", p.held_out}});
    return {{"name", m.name},
            {"router", m.router},
            {"parameters", m.parameters},
            {"expert_parameters", m.expert_parameters},
            {"active_expert_parameters", m.active_expert_parameters},
            {"steps", m.steps},
            {"bytes_read", m.tokens},
            {"seconds", m.seconds},
            {"bytes_per_second", m.tokens_per_second()},
            {"training_bits_per_byte", m.training},
            {"held_out_bits_per_byte", m.held_out},
            {"busiest_expert", m.busiest()},
            {"load", m.load},
            {"curve", curve},
            {"file", r.file},
            {"file_bytes", r.file_bytes},
            {"reloaded_logits_with_same_bits", r.compared_logits},
            {"generated", printable(r.text)}};
}

}  // namespace

std::string printable(const std::string& text) {
    std::string out = text;
    for (char& c : out)
        if (c != '\n' && (c < 32 || c > 126)) c = '?';
    return out;
}

std::string describe(const corpus& c) {
    std::string out = "training text  " + grouped(static_cast<long>(size(c.training))) + " bytes: " + names(c.training) + "\nheld out       " +
                      grouped(static_cast<long>(size(c.held_out))) + " bytes: " + names(c.held_out) + '\n';
    for (const auto& d : c.left_out) out += "left out       " + d.name + ": " + number(100 * d.share, 0) + " % of it is in " + d.of + '\n';
    return out;
}

std::string table(const std::vector<result>& all) {
    constexpr std::size_t first = 40, width = 16;
    std::string out;
    const auto row = [&](const std::string& what, const std::function<std::string(const outcome&)>& value) {
        out += what + std::string(first - what.size(), ' ');
        for (const auto& r : all) {
            const std::string v = value(r.measured);
            out += std::string(width > v.size() ? width - v.size() : 1, ' ') + v;
        }
        out += '\n';
    };
    row("", [](const outcome& o) { return o.name; });
    row("parameters", [](const outcome& o) { return grouped(o.parameters); });
    row("  of experts", [](const outcome& o) { return grouped(o.expert_parameters); });
    row("  of experts, active for one byte", [](const outcome& o) { return grouped(o.active_expert_parameters); });
    row("steps", [](const outcome& o) { return grouped(o.steps); });
    row("bytes read", [](const outcome& o) { return grouped(o.tokens); });
    row("seconds", [](const outcome& o) { return number(o.seconds, 1); });
    row("bytes per second", [](const outcome& o) { return grouped(static_cast<long>(o.tokens_per_second())); });
    row("training text, bits per byte", [](const outcome& o) { return number(o.training, 3); });
    row("held-out text, bits per byte", [](const outcome& o) { return number(o.held_out, 3); });
    row("busiest expert, times the mean", [](const outcome& o) { return number(o.busiest(), 2); });
    return out;
}

std::string json(const options& o, const corpus& c, const std::vector<result>& all) {
    auto left_out = nlohmann::ordered_json::array();
    for (const auto& d : c.left_out) left_out.push_back({{"name", d.name}, {"of", d.of}, {"share", d.share}});
    nlohmann::ordered_json j{{"seed", o.seed},
                             {"threads", o.threads},
                             {"tied", o.tied},
                             {"training_text", to_json(c.training)},
                             {"held_out_text", to_json(c.held_out)},
                             {"left_out", left_out},
                             {"prompt", printable(o.prompt)},
                             {"temperature", o.temperature},
                             {"models", nlohmann::ordered_json::array()}};
    for (const auto& r : all) j["models"].push_back(to_json(r));
    return j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';  // a file name may be no UTF-8
}

}  // namespace language_model
