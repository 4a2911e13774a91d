#pragma once
#include "parameter.hpp"
#include "random.hpp"

#include <cmath>

namespace language_model {

/// First weights: gains 1, matrices uniform with variance 1 / in, those that write into the residual stream of L blocks divided by
/// sqrt(2 L) (GPT-2), the embedding with variance 1, the head with a tenth of its width's, so that the first guess is close to uniform.
template <class S> void initialise(const parameters<S>& all, int layers, bool tied, unsigned long long seed) {
    for (std::size_t i = 0; i < all.size(); ++i) {
        const parameter<S>& p = all[i];
        double deviation = 1 / std::sqrt(static_cast<double>(p.cols));
        if (p.name.ends_with("o_proj.weight") || p.name.ends_with("down_proj.weight")) deviation /= std::sqrt(2.0 * layers);
        if (p.name.ends_with("embed_tokens.weight") && !tied) deviation = 1;
        if (p.name == "lm_head.weight") deviation /= 4;
        const double width = std::sqrt(12.0) * deviation;
        for (long j = 0; j < p.size(); ++j)
            p.data[j] = p.rows == 0 ? S(1) : static_cast<S>(width * (uniform(seed, purpose::weights, static_cast<long>(i), j) - 0.5));
    }
}

}  // namespace language_model
