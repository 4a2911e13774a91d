#pragma once
#include <guild/format/bf16.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace guild::inline v0::io {

/// How a number is stored in a safetensors file. All published types; those that are no `number` below are opaque bytes here.
enum class dtype : unsigned char {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64
};

namespace detail {
struct dtype_row {
    std::string_view name;
    int bits;
};
/// In the order of the enumerators.
inline constexpr std::array<dtype_row, 22> dtypes{{
    {"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32},        {"C64", 64},        {"F64", 64},    {"I64", 64}, {"U64", 64},
}};
}  // namespace detail

/// "BF16": the name in a file.
constexpr std::string_view name(dtype type) { return detail::dtypes[static_cast<std::size_t>(type)].name; }
/// Of one number of that type.
constexpr int bits(dtype type) { return detail::dtypes[static_cast<std::size_t>(type)].bits; }
/// The type of that name, if there is one.
constexpr std::optional<dtype> dtype_named(std::string_view name) {
    for (std::size_t i = 0; i < detail::dtypes.size(); ++i) {
        if (detail::dtypes[i].name == name) return static_cast<dtype>(i);
    }
    return std::nullopt;
}

/// The types that are read and written as numbers.
template <class T> concept number = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, guild::bf16>;
/// How numbers of type T are named in a file.
template <number T> constexpr dtype dtype_of() { return std::same_as<T, float> ? dtype::f32 : std::same_as<T, double> ? dtype::f64 : dtype::bf16; }
/// Whether T holds every number of a type exactly.
template <number T> constexpr bool holds(dtype type) {
    return type == dtype_of<T>() || (type == dtype::bf16 && !std::same_as<T, guild::bf16>) || (type == dtype::f32 && std::same_as<T, double>);
}

/// The number of entries of a shape, 1 for []. Nothing if a dimension is negative or the product passes 2^63 - 1.
constexpr std::optional<long> entries(std::span<const long> shape) {
    long product = 1;
    for (const long n : shape) {
        if (n < 0 || __builtin_mul_overflow(product, n, &product)) return std::nullopt;
    }
    return product;
}
/// Their bytes. Nothing if entries() is nothing, the bits pass 2^63 - 1, or they are no whole number of bytes.
constexpr std::optional<long> bytes(dtype type, std::span<const long> shape) {
    const auto count = entries(shape);
    long total = 0;
    if (!count || __builtin_mul_overflow(*count, static_cast<long>(bits(type)), &total) || total % 8 != 0) return std::nullopt;
    return total / 8;
}

}  // namespace guild::inline v0::io
