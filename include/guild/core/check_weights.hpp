#pragma once
#include <guild/core/weights.hpp>

#include <string>

namespace guild::inline v0::check {

/// A weight that the model has is there.
inline void present(const char* name, const void* data, bool needed) {
    if (needed && !data) detail::raise<argument_error>("guild::layer: weights ", name, " are null, which this model needs");
}
template <class Model, class Format, class S> void weights(const Model& m, const weights_view<Format, S>& w) {
    m.check();
    const auto matrix = [&](const std::string& name, const auto& held, bool needed) {
        present(name.c_str(), held.data, needed);
        if constexpr (requires { held.scale; }) present((name + ".scale").c_str(), held.scale, needed);
    };
    const auto network = [&](const char* name, const auto& n, bool used, bool bias) {
        const std::string of(name);
        const bool gated = m.activation.inputs == 2;
        matrix(of + ".gate", n.gate, used && gated);
        matrix(of + ".up", n.up, used);
        matrix(of + ".down", n.down, used);
        present((of + ".gate_bias").c_str(), n.gate_bias.data, used && gated && bias);
        present((of + ".up_bias").c_str(), n.up_bias.data, used && bias);
        present((of + ".down_bias").c_str(), n.down_bias.data, used && bias);
    };
    present("router", w.router.data, true);
    present("gate.learned", w.gate.learned, m.stages().learned(m.experts()) > 0);
    present("gate.state", w.gate.state, m.stages().state(m.experts()) > 0);
    present("shared_gate", w.shared_gate, m.shared.learned);
    present("constant", w.constant, m.passive.vectors() > 0);
    present("input", w.input, input_numbers(m) > 0);
    network("experts", w.experts, true, m.config.expert_bias);
    network("shared", w.shared, m.config.shared_width() > 0, m.config.shared_bias);
}

}  // namespace guild::inline v0::check
