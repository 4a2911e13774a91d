#include "files.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <unistd.h>

namespace language_model {

namespace {

std::filesystem::path temporary(const std::filesystem::path& file) {
    std::string name = file.filename().string();
    name += ".part" + std::to_string(::getpid());
    return file.parent_path() / name;
}
std::string reason() { return errno != 0 ? std::strerror(errno) : "unknown reason"; }

}  // namespace

void require_writable(const std::filesystem::path& folder) {
    const auto probe = temporary(folder / "probe");
    errno = 0;
    const bool made = std::ofstream(probe).is_open();
    const std::string why = reason();
    std::error_code ignored;
    std::filesystem::remove(probe, ignored);
    if (!made) throw usage_error("cannot write into the folder " + folder.string() + ": " + why);
}

void require_folder(const std::filesystem::path& folder) {
    std::error_code error, ignored;
    std::filesystem::create_directories(folder, error);
    if (!std::filesystem::is_directory(folder, ignored))
        throw usage_error("cannot make the folder " + folder.string() + ": " + (error ? error.message() : std::string("a file has that name")));
    require_writable(folder);
}

void replace_file(const std::filesystem::path& file, const std::function<void(const std::filesystem::path&)>& write) {
    const auto draft = temporary(file);
    std::error_code error;
    try {
        write(draft);
        std::filesystem::rename(draft, file, error);
        if (error) throw usage_error("cannot write " + file.string() + ": " + error.message());
    } catch (...) {
        std::filesystem::remove(draft, error);
        throw;
    }
}

void replace_file(const std::filesystem::path& file, const std::string& text) {
    replace_file(file, [&](const std::filesystem::path& draft) {
        errno = 0;
        std::ofstream out(draft, std::ios::binary);
        out << text << std::flush;
        if (!out) throw usage_error("cannot write " + file.string() + ": " + reason());
    });
}

}  // namespace language_model
