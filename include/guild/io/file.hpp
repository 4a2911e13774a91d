#pragma once
#include <guild/core/error.hpp>

#include <algorithm>
#include <atomic>
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

/// An open file, closed at the end.
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
    explicit input_file(std::filesystem::path path) : path_(std::move(path)) {
        fd_ = descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe without a writer would block
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

/// A file that appears under its name complete, or not at all: written under another name in the same folder, then renamed.
/// Until commit() returns, an older file of that name is left as it was. A symbolic link is followed.
class output_file {
public:
    explicit output_file(const std::filesystem::path& path) : given_(path) {
        std::error_code code;
        path_ = std::filesystem::weakly_canonical(path, code);
        if (code) fail_call(given_, "find its folder", code.value());
        const auto status = std::filesystem::status(path_, code);
        if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
            fail(given_, "is a directory, pipe or device, expected a regular file or none");
        }
        static std::atomic<unsigned> counter{0};
        do {
            temporary_ = path_;
            temporary_ += "." + std::to_string(::getpid()) + "." + std::to_string(counter++) + ".tmp";
            fd_ = descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        } while (fd_.get() < 0 && errno == EEXIST);
        if (fd_.get() < 0) {
            const int reason = errno;
            temporary_.clear();
            fail_call(given_, "create a temporary file beside it", reason);
        }
    }
    output_file(const output_file&) = delete;
    output_file& operator=(const output_file&) = delete;
    ~output_file() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
    }
    void write(std::span<const std::byte> from) {
        while (!from.empty()) {
            const auto n = ::write(fd_.get(), from.data(), from.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_call(given_, "write it");
            from = from.subspan(static_cast<std::size_t>(n));
        }
    }
    /// Brings the bytes to the disk, then the name.
    void commit() {
        if (::fsync(fd_.get()) != 0) fail_call(given_, "bring it to the disk");
        if (!fd_.close()) fail_call(given_, "close it");
        if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_call(given_, "rename its temporary file");
        temporary_.clear();
        const descriptor folder(::open(path_.parent_path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
        if (folder.get() >= 0) ::fsync(folder.get());  // the new file is complete; some file systems cannot flush a folder
    }

private:
    std::filesystem::path given_, path_, temporary_;
    descriptor fd_;
};

}  // namespace detail
}  // namespace guild::inline v0::io
