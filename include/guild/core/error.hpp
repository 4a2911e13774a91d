#pragma once
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#if !defined(__cpp_exceptions)
#include <atomic>
#include <cstdio>
#include <cstdlib>
#endif

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

#if !defined(__cpp_exceptions)
/// Called with the sentence of an error where the program is compiled without exceptions (-fno-exceptions). If it returns, the program ends by
/// std::abort.
using error_handler = void (*)(const char* sentence);

namespace detail {
inline std::atomic<error_handler> handler{nullptr};
[[noreturn, gnu::cold]] inline void end_program(const char* sentence) {
    if (const error_handler told = handler.load()) told(sentence);
    else std::fprintf(stderr, "%s\n", sentence);
    std::abort();
}
}  // namespace detail

/// Sets the handler and returns the one before; null, as at first: the sentence goes to standard error. From any thread.
inline error_handler set_error_handler(error_handler h) { return detail::handler.exchange(h); }
#endif

namespace detail {
/// "guild::layer: x has 3 columns, expected 4 (config.hidden)". Out of line of the checks, so that they stay small.
template <class Error = shape_error, class... Parts> [[noreturn, gnu::cold, gnu::noinline]] void raise(const Parts&... parts) {
    std::string text;
    const auto add = [&](const auto& part) {
        if constexpr (requires { std::to_string(part); }) text += std::to_string(part);
        else text += part;
    };
    (add(parts), ...);
#if defined(__cpp_exceptions)
    throw Error(text);
#else
    end_program(Error(text).what());
#endif
}
[[noreturn, gnu::cold]] inline void out_of_memory() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc{};
#else
    end_program("guild: out of memory");
#endif
}
/// What f() throws, or null.
template <class F> std::exception_ptr thrown_by(const F& f) {
#if defined(__cpp_exceptions)
    try {
        f();
    } catch (...) { return std::current_exception(); }
#else
    f();
#endif
    return nullptr;
}
/// Throws it; one of type Known goes to f instead.
template <class Known, class F> void rethrow(const std::exception_ptr& failure, const F& f) {
#if defined(__cpp_exceptions)
    try {
        std::rethrow_exception(failure);
    } catch (const Known& e) { f(e); }
#else
    static_cast<void>(failure), static_cast<void>(f);
#endif
}
}  // namespace detail

}  // namespace guild::inline v0
