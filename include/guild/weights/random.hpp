#pragma once
#include <guild/core/random.hpp>
#include <guild/weights/convert.hpp>

#include <cmath>
#include <string_view>

namespace guild::inline v0 {

/// Normal numbers of variance 1 / H in every tensor, 1 / F in down, biases and state too, so that nothing is zero by accident.
/// The same numbers for the same seed, whatever the format, but for its rounding.
template <moe_model Model, class Format = float> weights<Model, Format> random_weights(unsigned long long seed, const Model& m = {}) {
    if constexpr (has_scales<Format>) return convert<Format>(random_weights<Model, scalar_of<Format>>(seed, m));
    else {
        weights<Model, Format> w(m);
        int stream = 0;
        const auto fill = [&](auto& t, long fan_in) {
            using T = typename std::remove_cvref_t<decltype(t)>::value_type;
            const double scale = 1 / std::sqrt(static_cast<double>(fan_in));
            for (std::size_t i = 0; i < t.size(); ++i)
                t[i] = T(static_cast<real_t<scalar_of<T>>>(scale * normal(seed, stream, 0, static_cast<long>(i))));
            ++stream;
        };
        each_tensor(
            [&](std::string_view name, auto& t) {
                fill(t, name == "experts.down" ? m.config.expert_hidden : name == "shared.down" ? m.config.shared_width() : m.config.hidden);
            },
            w);
        fill(w.state, m.config.hidden);
        return w;
    }
}

}  // namespace guild::inline v0
