#pragma once
#include <stdexcept>
#include <string>

namespace guild::inline v0 {

/// Base of everything this library throws. The text names the argument, what was expected and what was found.
struct error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// A matrix, workspace or list has the wrong size.
struct shape_error : error {
    using error::error;
};
/// A value is out of its range, or an argument that this call needs is missing.
struct argument_error : error {
    using error::error;
};

namespace detail {
/// "guild::layer: x has 3 columns, expected 4 (config.hidden)". Out of line of the checks, so that they stay small.
template <class Error = shape_error, class... Parts> [[noreturn, gnu::cold, gnu::noinline]] void raise(const Parts&... parts) {
    std::string text;
    const auto add = [&](const auto& part) {
        if constexpr (requires { std::to_string(part); }) text += std::to_string(part);
        else text += part;
    };
    (add(parts), ...);
    throw Error(text);
}
}  // namespace detail

}  // namespace guild::inline v0
