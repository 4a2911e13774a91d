#pragma once
#include <guild/weights/weights.hpp>

#include <cstdint>

namespace guild::inline v0::check {

/// A weight that the model has is there, and one that is there can be read.
template <class T> void readable(const char* of, const char* name, const char* suffix, const T* data, bool needed) {
    if (needed && !data) detail::raise<argument_error>("guild::layer: weights ", of, name, suffix, " are null, which this model needs");
    if (reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0)
        detail::raise<argument_error>("guild::layer: weights ", of, name, suffix, " are at an address that is no multiple of ",
                                      static_cast<long>(alignof(T)));
}
/// A view of weights has everything that m needs, at addresses that can be read. Throws argument_error.
template <class Model, class Format, class S> void weights(const Model& m, const weights_view<Format, S>& w) {
    m.check();
    detail::each_expected(m, w, [](const char* of, const char* name, const auto& tensor, long E, long out, long in, auto) {
        const bool needed = E * out * in > 0;
        if constexpr (requires { tensor.data; }) readable(of, name, "", tensor.data, needed);
        else readable(of, name, "", tensor, needed);
        if constexpr (requires { tensor.scale; }) readable(of, name, ".scale", tensor.scale, needed);
    });
    readable("gate.", "table", "", w.gate.table, w.gate.vocabulary > 0);
}

}  // namespace guild::inline v0::check
