#pragma once
#include "parameter.hpp"

#include <guild/io/safetensors.hpp>

#include <filesystem>
#include <map>

namespace language_model {

namespace detail {
template <class S> std::vector<long> dimensions(const parameter<S>& p) {
    return p.rows > 0 ? std::vector<long>{p.rows, p.cols} : std::vector<long>{p.cols};
}
}  // namespace detail

/// Writes all tensors into one safetensors file, which appears whole or not at all. Throws guild::io::file_error.
template <class S> void save(const std::filesystem::path& file, const parameters<S>& weights, const std::map<std::string, std::string>& notes) {
    guild::io::safetensors_writer out;
    for (const auto& p : weights) out.add(p.name, detail::dimensions(p), std::span<const S>(p.data, static_cast<std::size_t>(p.size())));
    for (const auto& [key, text] : notes) out.metadata(key, text);
    out.write(file);
}

/// weights = those of the file, each found by its name. Throws guild::io::file_error if one is missing or has another shape.
template <class S> void load(const std::filesystem::path& file, const parameters<S>& weights) {
    const guild::io::safetensors in(file);
    for (const auto& p : weights) in.read(p.name, std::span<S>(p.data, static_cast<std::size_t>(p.size())), detail::dimensions(p));
}

}  // namespace language_model
