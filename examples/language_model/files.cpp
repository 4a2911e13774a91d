#include "files.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <unistd.h>

namespace language_model {

namespace {

/// A name beside the file's, short however long that is.
std::filesystem::path temporary(const std::filesystem::path& file) {
    return file.parent_path() / (".language_model.part" + std::to_string(::getpid()));
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

void replace_file(const std::filesystem::path& link, const std::string& text) {
    std::error_code error;
    const auto real = std::filesystem::canonical(link, error);
    const auto file = error ? link : real;  // a symbolic link stays, the file that it names is replaced
    const auto draft = temporary(file);
    errno = 0;
    std::ofstream out(draft, std::ios::binary);
    out << text << std::flush;
    std::string why = out ? "" : reason();
    out.close();
    if (const auto old = std::filesystem::status(file, error); why.empty() && std::filesystem::exists(old)) {
        std::filesystem::permissions(draft, old.permissions(), error);
        if (error) why = error.message();
    }
    if (why.empty()) {
        std::filesystem::rename(draft, file, error);
        if (error) why = error.message();
    }
    if (why.empty()) return;
    std::filesystem::remove(draft, error);
    throw usage_error("cannot write " + link.string() + ": " + why);
}

}  // namespace language_model
