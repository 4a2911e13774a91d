#pragma once
#include <guild/io/safetensors.hpp>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <unistd.h>

/// A folder of its own, removed with all that is in it.
struct temporary_folder {
    std::filesystem::path path;
    temporary_folder() {
        static std::atomic<int> counter{0};
        path = std::filesystem::temp_directory_path() / ("guild_io_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
        std::filesystem::create_directories(path);
    }
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    ~temporary_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::filesystem::path operator/(std::string_view name) const { return path / name; }
};

inline std::size_t files_in(const std::filesystem::path& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}
inline std::string contents(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}
inline std::filesystem::path put(const std::filesystem::path& path, std::string_view bytes) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);  // a file that is cut off and written anew is brought to the disk by some file systems
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
}
/// Any length, then the text, then `data` zero bytes.
inline std::string file_bytes(std::uint64_t length, std::string_view header, std::size_t data) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes.append(header).append(data, '\0');
}
inline std::string file_bytes(std::string_view header, std::size_t data) { return file_bytes(header.size(), header, data); }

/// The text of the E that f throws, after its prefix; "no error" if it throws none.
template <class E, class F> std::string error_of(F&& f, const std::string& prefix) {
    try {
        f();
    } catch (const E& e) {
        const std::string text = e.what();
        return text.starts_with(prefix) ? text.substr(prefix.size()) : "without the prefix: " + text;
    }
    return "no error";
}
template <class F> std::string file_error_of(const std::filesystem::path& path, F&& f) {
    return error_of<guild::io::file_error>(f, "guild::io: '" + path.string() + "': ");
}
inline std::string open_error(const std::filesystem::path& path) {
    return file_error_of(path, [&] { guild::io::safetensors{path}; });
}
