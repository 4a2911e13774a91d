#pragma once
#include <guild/core/error.hpp>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace guild::inline v0::io {

static_assert(std::endian::native == std::endian::little, "guild::io: files are little-endian and read as they are");

/// A file is missing, broken or not what was expected. The text names file, tensor, what was found and what was expected.
struct file_error : error {
    using error::error;
};

namespace detail {

/// 'text' for a message: bytes that do not print as \xNN, at most `most` bytes of it.
inline std::string in_quotes(std::string_view text, std::size_t most = 80) {
    constexpr std::string_view hex = "0123456789abcdef";
    std::string out = "'";
    for (const char c : text.substr(0, most)) {
        const auto u = static_cast<unsigned char>(c);
        if (u >= 0x20 && u < 0x7f) out += c;
        else out.append("\\x").append(1, hex[u >> 4]).append(1, hex[u & 15]);
    }
    return out + (text.size() > most ? "'..." : "'");
}
/// [2, 3], or the first eight numbers of a longer list.
inline std::string listed(std::span<const long> list) {
    std::string out = "[";
    for (std::size_t i = 0; i < list.size() && i < 8; ++i) out += (i == 0 ? "" : ", ") + std::to_string(list[i]);
    return out + (list.size() > 8 ? ", ...] (" + std::to_string(list.size()) + " numbers)" : "]");
}
/// "guild::io: '/tmp/a.safetensors': ..."
template <class... Parts> [[noreturn]] void fail(const std::filesystem::path& path, const Parts&... parts) {
    guild::detail::raise<file_error>("guild::io: ", in_quotes(path.native(), 4096), ": ", parts...);
}
/// The same for a system call that has just failed: "...: cannot open it: No such file or directory".
[[noreturn]] inline void fail_call(const std::filesystem::path& path, std::string_view what, int code = errno) {
    fail(path, "cannot ", what, ": ", std::generic_category().message(code));
}

/// The name for a system call, which would end at a NUL byte.
inline const char* system_name(const std::filesystem::path& path) {
    if (path.native().find('\0') != std::string::npos) fail(path, "has a NUL byte in its name, expected none");
    return path.c_str();
}

/// An open file or folder, closed at the end.
class descriptor {
public:
    explicit descriptor(int fd = -1) : fd_(fd) {}
    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor& operator=(descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~descriptor() { close(); }
    int get() const { return fd_; }
    /// False if the system reports a failure (the file is closed then, too).
    bool close() { return fd_ < 0 || ::close(std::exchange(fd_, -1)) == 0; }

private:
    int fd_;
};

/// A regular file to read, from any number of threads.
class input_file {
public:
    explicit input_file(std::filesystem::path path) : path_((std::move)(path)) {
        fd_ = descriptor(::open(system_name(path_), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe without a writer would block
        if (fd_.get() < 0) fail_call(path_, "open it");
        size_ = size_now();
    }
    const std::filesystem::path& path() const { return path_; }
    /// In bytes, when it was opened.
    long size() const { return size_; }
    /// Reads to.size() bytes from `offset` on. file_error if there are fewer; `to` is then partly written.
    void read(long offset, std::span<std::byte> to) const {
        std::size_t done = 0;
        while (done < to.size()) {
            const auto n = ::pread(fd_.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset) + static_cast<off_t>(done));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_call(path_, "read it");
            if (n == 0) fail(path_, "has shrunk to ", size_now(), " bytes, expected ", size_, " as when it was opened");
            done += static_cast<std::size_t>(n);
        }
    }

private:
    long size_now() const {
        struct stat status {};
        if (::fstat(fd_.get(), &status) != 0) fail_call(path_, "ask for its size");
        if (!S_ISREG(status.st_mode)) fail(path_, "is a directory, pipe or device, expected a regular file");
        return static_cast<long>(status.st_size);
    }

    std::filesystem::path path_;
    descriptor fd_;
    long size_ = 0;
};

}  // namespace detail
}  // namespace guild::inline v0::io
