#pragma once
#include <guild/core/error.hpp>

#include <string>
#include <type_traits>

/// A sentence that must hold: of constants the compiler checks it and shows it, of run-time numbers it is thrown with what was found.
namespace guild::inline v0::detail {

/// The name of a type, as the compiler writes it.
template <class T> std::string name_of() {
    const std::string text = __PRETTY_FUNCTION__;  // "... [with T = x; ...]" or "... [T = x]"
    const auto begin = text.find("T = ") + 4;
    return text.substr(begin, text.find_first_of(";]", begin) - begin);
}
template <class T> auto found_as(const T& found) {
    if constexpr (std::is_class_v<T>) return name_of<T>();
    else return found;
}
template <class... Found> [[noreturn, gnu::cold, gnu::noinline]] void broken(const char* sentence, const Found&... found) {
    raise<argument_error>(sentence, ", found ", found_as(found)...);
}
/// Sentence first: nvcc shows the line on which a call begins.
template <class... Found> constexpr void rule(const char* sentence, bool holds, const Found&... found) {
    if (!holds) broken(sentence, found...);
}

}  // namespace guild::inline v0::detail
