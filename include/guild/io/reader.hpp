#pragma once
#include <guild/io/header.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace guild::inline v0::io {

/// A safetensors file to read. Opening it reads and checks the header alone; data are read when asked for, into memory of the
/// caller, never mapped. A const object may be used from any number of threads.
///
/// Every error is a file_error. A file that opens is sound: each tensor has the bytes that its type and shape need, all of
/// them inside the file, none shared, none left over.
class safetensors {
public:
    /// Opens and reads the header; throws file_error if the file cannot be read or is not what the format says.
    explicit safetensors(const std::filesystem::path& path) : file_(path) {
        if (file_.size() < 8) detail::fail(path, "has ", file_.size(), " bytes, expected at least 8 for the length of the header");
        std::uint64_t length = 0;
        file_.read(0, std::as_writable_bytes(std::span(&length, 1)));
        if (length > static_cast<std::uint64_t>(detail::most_header_bytes)) {
            detail::fail(path, "the header is said to have ", length, " bytes, expected at most ", detail::most_header_bytes);
        }
        data_ = 8 + static_cast<long>(length);
        if (data_ > file_.size()) {
            detail::fail(path, "the header is said to have ", length, " bytes, expected at most the ", file_.size() - 8, " that follow");
        }
        std::string text(length, ' ');
        file_.read(8, std::as_writable_bytes(std::span(text)));
        header_ = detail::parse_header(text, file_.size() - data_, path);
    }
    /// As it was given.
    const std::filesystem::path& path() const { return file_.path(); }
    /// In the order of their bytes.
    const std::vector<tensor_info>& tensors() const { return header_.tensors; }
    /// What the header holds beside the tensors, text by name.
    const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
    /// nullptr if there is none of that name. O(log n).
    const tensor_info* find(std::string_view name) const {
        const auto found = std::lower_bound(header_.by_name.begin(), header_.by_name.end(), name,
                                            [&](std::size_t i, std::string_view n) { return header_.tensors[i].name < n; });
        return found != header_.by_name.end() && header_.tensors[*found].name == name ? &header_.tensors[*found] : nullptr;
    }
    /// file_error if there is none of that name.
    const tensor_info& at(std::string_view name) const {
        const tensor_info* t = find(name);
        if (t == nullptr) detail::fail(path(), "tensor ", detail::in_quotes(name), " is missing, expected among its ", tensors().size(), " tensors");
        return *t;
    }
    /// The same, and of that shape.
    const tensor_info& at(std::string_view name, std::span<const long> shape) const {
        const tensor_info& t = at(name);
        if (!std::ranges::equal(t.shape, shape)) {
            detail::fail(path(), "tensor ", detail::in_quotes(name), " has shape ", detail::listed(t.shape), ", expected ", detail::listed(shape));
        }
        return t;
    }

    /// to = the numbers of a tensor, row-major, converted only where T holds every one exactly: F32 and BF16 to float, these and
    /// F64 to double, BF16 to bf16. Nothing is written if name, type or number of entries is wrong; if the disk fails, part of it is.
    template <number T> void read(std::string_view name, std::span<T> to) const { read(at(name), to); }
    /// The same, for a tensor of that shape.
    template <number T> void read(std::string_view name, std::span<T> to, const std::vector<long>& shape) const { read(at(name, shape), to); }
    /// The numbers of a tensor of any shape.
    template <number T> std::vector<T> read_as(std::string_view name) const { return read_as<T>(at(name)); }
    /// The numbers of a tensor of that shape.
    template <number T> std::vector<T> read_as(std::string_view name, const std::vector<long>& shape) const { return read_as<T>(at(name, shape)); }

    /// to = the bytes of a tensor of any type, as they are in the file.
    void read_bytes(std::string_view name, std::span<std::byte> to) const {
        const tensor_info& t = at(name);
        check_size(t, t.end - t.begin, "bytes", to.size());
        file_.read(data_ + t.begin, to);
    }

private:
    void check_size(const tensor_info& t, long size, std::string_view unit, std::size_t expected) const {
        if (static_cast<std::size_t>(size) != expected) {
            detail::fail(path(), "tensor ", detail::in_quotes(t.name), " has ", size, " ", unit, ", expected ", expected);
        }
    }
    template <number T> void check_type(const tensor_info& t) const {
        constexpr std::string_view expected = std::same_as<T, bf16> ? "BF16" : std::same_as<T, float> ? "F32 or BF16" : "F64, F32 or BF16";
        if (!holds<T>(t.type)) detail::fail(path(), "tensor ", detail::in_quotes(t.name), " is ", name(t.type), ", expected ", expected);
    }
    template <number T> std::vector<T> read_as(const tensor_info& t) const {
        check_type<T>(t);
        std::vector<T> numbers(static_cast<std::size_t>((t.end - t.begin) / (bits(t.type) / 8)));
        read(t, std::span(numbers));
        return numbers;
    }
    template <number T> void read(const tensor_info& t, std::span<T> to) const {
        check_type<T>(t);
        check_size(t, (t.end - t.begin) / (bits(t.type) / 8), "numbers", to.size());
        if (t.type == dtype_of<T>()) file_.read(data_ + t.begin, std::as_writable_bytes(to));
        else if (t.type == dtype::f32) convert<float>(t, to);
        else convert<bf16>(t, to);
    }
    template <class From, class T> void convert(const tensor_info& t, std::span<T> to) const {
        std::array<From, 4096> piece{};
        for (std::size_t done = 0; done < to.size(); done += piece.size()) {
            const std::span part(piece.data(), (std::min)(piece.size(), to.size() - done));
            file_.read(data_ + t.begin + static_cast<long>(done * sizeof(From)), std::as_writable_bytes(part));
            std::transform(part.begin(), part.end(), to.begin() + static_cast<std::ptrdiff_t>(done), [](From x) {
                if constexpr (std::same_as<From, bf16>) return static_cast<T>(decode(x));
                else return static_cast<T>(x);
            });
        }
    }

    detail::input_file file_;
    detail::header header_;
    long data_ = 0;  ///< the first byte of data
};

}  // namespace guild::inline v0::io
