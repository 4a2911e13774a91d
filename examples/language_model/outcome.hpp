#pragma once
#include <string>
#include <vector>

namespace language_model {

struct curve_point {
    long step, tokens;
    double training, held_out;  ///< bits per byte; training: mean since the point before, held_out: a fixed part of the text
};

/// What training one model measured.
struct outcome {
    std::string name;      ///< "DeepSeekMoE", "GShard"
    std::string router{};  ///< in words
    long parameters = 0, expert_parameters = 0, active_expert_parameters = 0;
    long steps = 0, tokens = 0;
    double seconds = 0;                 ///< of training, evaluations not counted
    double training = 0, held_out = 0;  ///< bits per byte at the end; held_out: the whole held-out text
    std::vector<curve_point> curve{};
    std::vector<std::vector<long>> load{};  ///< [mixture][expert]: bytes of the held-out text that each expert received
    double tokens_per_second() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
    /// Load of an expert as a multiple of the mean of its layer.
    double relative_load(std::size_t layer, std::size_t expert) const {
        double sum = 0;
        for (const long n : load[layer]) sum += static_cast<double>(n);
        return sum > 0 ? static_cast<double>(load[layer][expert]) * static_cast<double>(load[layer].size()) / sum : 0;
    }
    /// The busiest expert of any layer, as a multiple of the mean.
    double busiest() const {
        double top = 0;
        for (std::size_t l = 0; l < load.size(); ++l)
            for (std::size_t e = 0; e < load[l].size(); ++e) top = relative_load(l, e) > top ? relative_load(l, e) : top;
        return top;
    }
};

}  // namespace language_model
