#pragma once
#include <guild/io/file.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace guild::inline v0::io::detail {

/// A file that appears under its name complete, or not at all: written under another name in the same folder, then renamed.
/// Until commit() returns, an older file of that name is left as it was; its mode is kept, and its owner and group if the system allows it
/// (set-user-ID and set-group-ID only with these), a read-only file's too: what counts is that the folder may be written. Its access control list
/// and other hard links are not. A new file has the mode that the system gives to new ones, by umask. Until all is written only the owner can read it.
/// A symbolic link stays one: the file that it names is replaced, or made.
class output_file {
public:
    explicit output_file(const std::filesystem::path& path) : given_(path) {
        replaces_ = ::stat(system_name(path), &old_) == 0;
        if (!replaces_ && errno != ENOENT) fail_call(given_, "look at it");
        if (replaces_ && !S_ISREG(old_.st_mode)) fail(given_, "is a directory, pipe or device, expected a regular file or none");
        const std::filesystem::path target = without_links();
        name_ = target.filename();
        if (name_.empty()) fail(given_, "is no name of a file");
        const std::filesystem::path parent = target.has_parent_path() ? target.parent_path() : ".";
        folder_ = descriptor(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (folder_.get() < 0) fail_call(given_, "open its folder");
        mode_ = replaces_ ? old_.st_mode & all_modes : mode_of_new_files();
        fd_ = create(O_WRONLY, S_IRUSR | S_IWUSR);
    }
    output_file(const output_file&) = delete;
    output_file& operator=(const output_file&) = delete;
    ~output_file() { remove(); }
    void write(std::span<const std::byte> from) {
        while (!from.empty()) {
            const auto n = ::write(fd_.get(), from.data(), from.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_call(given_, "write it");
            from = from.subspan(static_cast<std::size_t>(n));
        }
    }
    /// Brings the bytes to the disk, then the name. Only the last step can fail with the new file in place.
    void commit() {
        set_mode();
        if (::fsync(fd_.get()) != 0) fail_call(given_, "bring it to the disk");
        if (!fd_.close()) fail_call(given_, "close it");
        if (::renameat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str()) != 0) fail_call(given_, "rename its temporary file");
        (temporary_.clear)();
        const descriptor folder(::openat(folder_.get(), ".", O_RDONLY | O_CLOEXEC | O_DIRECTORY));  // one may write to a folder that one may not read
        if (folder.get() >= 0 && ::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS) {
            fail_call(given_, "bring the folder of the new file, which is complete, to the disk");  // others are file systems that cannot flush one
        }
    }

private:
    static constexpr ::mode_t all_modes = 07777;

    std::filesystem::path without_links() const {
        std::filesystem::path path = given_;
        std::error_code code;
        for (int links = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(path, code)); ++links) {
            if (links == 40) fail_call(given_, "look at it", ELOOP);
            path = path.parent_path() / std::filesystem::read_symlink(path, code);
            if (code) fail_call(given_, "follow its link", code.value());
        }
        return path;
    }
    /// A new file in the folder, with temporary_ for its name, which is short: the other one may be as long as the system takes.
    descriptor create(int how, ::mode_t mode) {
        static std::atomic<unsigned> counter{0};
        for (;;) {
            std::string name = ".guild." + std::to_string(::getpid()) + "." + std::to_string(counter++) + ".tmp";
            descriptor fd(::openat(folder_.get(), name.c_str(), how | O_CREAT | O_EXCL | O_CLOEXEC, mode));
            if (fd.get() >= 0) {
                temporary_ = (std::move)(name);
                return fd;
            }
            if (errno != EEXIST) fail_call(given_, "create a temporary file beside it");
        }
    }
    void remove() {
        if (!temporary_.empty()) ::unlinkat(folder_.get(), temporary_.c_str(), 0);
        (temporary_.clear)();
    }
    struct ::stat status_of(const descriptor& fd) const {
        struct ::stat status {};
        if (::fstat(fd.get(), &status) != 0) fail_call(given_, "ask for its mode");
        return status;
    }
    /// 0666 less the umask, or what the folder's access control list makes of it: found by an empty file, because the umask cannot be asked for
    /// without being set for all threads. The file has no name where the file system knows such.
    ::mode_t mode_of_new_files() {
        constexpr ::mode_t usual = 0666;
        descriptor probe(::openat(folder_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, usual));
        if (probe.get() < 0) probe = create(O_WRONLY, usual);
        remove();
        return status_of(probe).st_mode & all_modes;
    }
    void set_mode() {
        const struct ::stat now = status_of(fd_);
        const bool moves = replaces_ && (now.st_uid != old_.st_uid || now.st_gid != old_.st_gid);
        if (moves && ::fchown(fd_.get(), old_.st_uid, old_.st_gid) != 0) {
            mode_ &= ~static_cast<::mode_t>(S_ISUID | S_ISGID);
            [[maybe_unused]] const int group = ::fchown(fd_.get(), static_cast<::uid_t>(-1), old_.st_gid);  // of a member, if not the owner
        }
        if ((now.st_mode & all_modes) != mode_ && ::fchmod(fd_.get(), mode_) != 0) fail_call(given_, "set its mode");
    }

    std::filesystem::path given_;
    struct ::stat old_ {};  ///< of the file that is replaced
    bool replaces_ = false;
    std::string name_, temporary_;  ///< in the folder
    descriptor folder_, fd_;
    ::mode_t mode_ = 0;
};

}  // namespace guild::inline v0::io::detail
