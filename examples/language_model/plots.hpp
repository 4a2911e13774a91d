#pragma once
#include "outcome.hpp"

namespace language_model {

/// The loss curves of all models as an SVG picture: training and held-out text, bits per byte over bytes read.
std::string loss_plot(const std::vector<outcome>& all);

/// How much of the held-out text each expert received, as an SVG picture: one panel per model, a row per layer, a column per expert.
std::string load_plot(const std::vector<outcome>& all);

}  // namespace language_model
