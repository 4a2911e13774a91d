#pragma once
#include "checkpoint.hpp"
#include "options.hpp"
#include "report.hpp"
#include "sampling.hpp"
#include "training.hpp"

#include <guild/cost/layer.hpp>

#include <cstring>

namespace language_model {

/// The two mixtures: 16 experts of width 256 of which each byte passes 2 (GShard), and the same numbers cut into four, so that
/// there are 64 of width 64, of which each byte passes 8, one of them always (DeepSeekMoE, arXiv:2401.06066, section 3).
/// Router and balance loss of the second are those of DeepSeek-V2, arXiv:2405.04434: raw probabilities times a tenth of the
/// number of routed experts (there 16 for 160), weight 0.003.
constexpr guild::segmented whole{.hidden = 128, .ffn_hidden = 256, .experts = 16, .top_k = 2};
constexpr guild::segmented cut{.hidden = 128, .ffn_hidden = 256, .experts = 16, .top_k = 2, .segments = 4, .shared = 1};
struct deepseek_moe : guild::model<cut, guild::deepseek_v2_lite_gate{.scale = 6.3}, guild::expert_loss{.weight = 3e-3}> {};
struct gshard : guild::model<whole, guild::gshard_gate{}, guild::switch_loss{.weight = 1e-2}> {};

/// Trains one model, writes it into a file, reads it back, compares the logits of the held-out text bit for bit, and lets it write.
/// Throws std::runtime_error if a bit differs.
template <class Model>
result experiment(const char* name, const char* file, const options& o, const settings& how, const threads& team, const windows& text,
                  const std::vector<std::span<const std::uint8_t>>& held_out, progress& line) {
    using network = transformer<Model, float>;
    const network model({.tied = o.tied}, team);
    auto weights = model.zero(), again = model.zero();
    result out{.measured = train(name, model, weights, text, held_out, how, line)};

    constexpr guild::config c = Model::config;
    constexpr auto cost = guild::cost::of<Model>();
    constexpr long outside = cost.gate_parameters();
    const long mixtures = model.form().layers - 1;
    out.measured.expert_parameters = mixtures * (cost.parameters() - outside);
    out.measured.active_expert_parameters = mixtures * (cost.active_parameters() - outside);
    out.measured.router = std::to_string(c.routed_experts) + " routed experts of width " + std::to_string(c.expert_hidden) + ", " +
                          std::to_string(c.top_k) + " chosen" + (c.shared_experts > 0 ? ", " + std::to_string(c.shared_experts) + " shared" : "");

    const std::filesystem::path path = std::filesystem::path(o.out) / file;
    save(path, network::list(weights), {{"format", "pt"}, {"model", name}, {"num_attention_heads", std::to_string(model.form().heads)}});
    load(path, network::list(again));
    out.file = path.string();
    out.file_bytes = static_cast<long>(std::filesystem::file_size(path));

    typename network::state st, st_again;
    examples batch;
    for (std::size_t i = 0; i < held_out.size(); ++i) {
        batch.add(held_out[i]);
        if (batch.bytes.size() < static_cast<std::size_t>(how.sequences * text.length()) && i + 1 < held_out.size()) continue;
        model.forward(weights, batch.bytes, text.length(), st);
        model.forward(again, batch.bytes, text.length(), st_again);
        if (std::memcmp(st.logits.data(), st_again.logits.data(), static_cast<std::size_t>(st.logits.size()) * sizeof(float)) != 0)
            throw std::runtime_error("the model read back from " + out.file + " gives other logits than the one that was written");
        out.compared_logits += st.logits.size();
        batch.clear();
    }
    out.text = continuation(model, again, o.prompt, o.length, {.temperature = o.temperature}, o.seed);
    return out;
}

}  // namespace language_model
