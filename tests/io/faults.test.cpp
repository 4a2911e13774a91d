#include "files.hpp"

#include <support/child.hpp>
#include <support/watchdog.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The system calls of a writer and of a reader, in their order, any of which can be made to fail, to do half its work or to be the last one of the process:
// defined here, they stand in for those of the C library in this executable.

namespace {
/// What goes wrong.
struct trouble {
    std::size_t fault = 0;               ///< the call to fail, counted from 1
    int code = 0;                        ///< how it fails
    bool ends = false;                   ///< the process ends instead
    std::size_t most = ~std::size_t{0};  ///< bytes that a write or a read moves
    bool all_named = false;              ///< the file system knows no files without a name
    int interruptions = 0;               ///< writes or reads that a signal interrupts before anything is moved
};
trouble now;
bool watching = false;
std::vector<std::string> asked;  ///< "write", "fsync file", "fsync folder", ...
::mode_t widest = 0;             ///< mode of the file while it is written
std::vector<::mode_t> made;      ///< modes that files with a name were made with

/// Whether this call fails.
bool fails(const std::string& call) {
    if (!watching) return false;
    asked.push_back(call);
    if (asked.size() != now.fault) return false;
    if (now.ends) ::_exit(0);
    errno = now.code;
    return true;
}
bool interrupted() {
    if (now.interruptions == 0) return false;
    --now.interruptions;
    errno = EINTR;
    return true;
}
std::string kind(int fd) {
    struct stat status {};
    const bool known = ::syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH) == 0;
    return !known ? "?" : S_ISDIR(status.st_mode) ? "folder" : status.st_nlink == 0 ? "nameless" : "file";
}
}  // namespace

extern "C" {
int fsync(int fd) { return fails("fsync " + kind(fd)) ? -1 : static_cast<int>(::syscall(SYS_fsync, fd)); }
int fchmod(int fd, ::mode_t mode) noexcept { return fails("fchmod") ? -1 : static_cast<int>(::syscall(SYS_fchmod, fd, mode)); }
int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
    return fails("rename") ? -1 : static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, 0));
}
int openat(int folder, const char* name, int how, ...) {
    std::va_list rest;
    va_start(rest, how);
    const auto mode = (how & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, ::mode_t) : 0;
    va_end(rest);
    if (watching && (how & O_CREAT) != 0) made.push_back(mode);
    if (watching && now.all_named && (how & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_openat, folder, name, how, mode));
}
int close(int fd) {
    const bool file = watching && kind(fd) == "file";
    const bool failed = file && fails("close");
    const int code = static_cast<int>(::syscall(SYS_close, fd));  // also when it fails, as Linux does
    if (!failed) return code;
    errno = now.code;
    return -1;
}
::ssize_t write(int fd, const void* from, std::size_t count) {
    if (watching && kind(fd) == "file") {
        struct stat status {};
        if (::syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH) == 0) widest |= status.st_mode & 07777;
        if (interrupted() || fails("write")) return -1;
        count = std::min(count, now.most);
    }
    return ::syscall(SYS_write, fd, from, count);
}
::ssize_t pread(int fd, void* to, std::size_t count, ::off_t offset) {
    if (watching && (interrupted() || fails("pread"))) return -1;
    return ::syscall(SYS_pread64, fd, to, watching ? std::min(count, now.most) : count, offset);
}
}

namespace {
using calls = std::vector<std::string>;

const std::vector<float> numbers(300, 1.5F);
std::string error(const std::filesystem::path& path, std::size_t count = 300, trouble with = {}) {
    guild::io::safetensors_writer writer;
    writer.add("w", {static_cast<long>(count)}, std::span(numbers).first(count));
    now = with;
    asked.clear();
    widest = 0;
    made.clear();
    watching = true;
    const std::string text = file_error_of(path, [&] { writer.write(path); });
    watching = false;
    return text;
}
trouble failing(std::size_t fault, int code) {
    trouble t;
    t.fault = fault;
    t.code = code;
    return t;
}
std::size_t open_files() { return files_in("/proc/self/fd"); }

const calls of_new_file{"write", "write", "write", "fchmod", "fsync file", "close", "rename", "fsync folder"};
}  // namespace

TEST_CASE("safetensors_writer: bytes, mode, disk, name and the disk again, in this order; narrow until then") {
    const temporary_folder folder;
    const ::mode_t mask = ::umask(022);
    CHECK(error(folder / "w") == "no error");
    CHECK(asked == of_new_file);
    CHECK(widest == 0600);
    CHECK(error(folder / "w") == "no error");
    CHECK(asked == of_new_file);
    CHECK(widest == 0600);
    REQUIRE(::chmod((folder / "w").c_str(), 0600) == 0);  // as it is made: nothing to set
    CHECK(error(folder / "w") == "no error");
    CHECK(asked == calls{"write", "write", "write", "fsync file", "close", "rename", "fsync folder"});
    ::umask(mask);
}

TEST_CASE("safetensors_writer: a new file has no name while it is written, where the file system knows such files, and ends with umask's mode") {
    const temporary_folder folder;
    const int nameless = ::open(folder.path.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    const bool known = nameless >= 0;
    if (known) ::close(nameless);
    else MESSAGE("this file system knows no files without a name");
    const ::mode_t before = ::umask(0);
    for (const ::mode_t mask : {0U, 022U, 077U, 0177U}) {
        CAPTURE(mask);
        ::umask(mask);
        for (const bool all_named : {false, true}) {
            trouble t;
            t.all_named = all_named;
            const auto path = folder / (all_named ? "named" : "nameless");
            CHECK(error(path, 300, t) == "no error");
            if (known && !all_named) CHECK(made == std::vector<::mode_t>{0600});
            struct stat status {};
            CHECK(::stat(path.c_str(), &status) == 0);
            CHECK((status.st_mode & 07777) == (0666 & ~mask));
            CHECK(files_in(folder.path) == 1);
            CHECK(error(path, 300, t) == "no error");  // replaced: its mode is known
            CHECK(made == std::vector<::mode_t>{0600});
            std::filesystem::remove(path);
        }
    }
    ::umask(before);
}

TEST_CASE("safetensors_writer: whatever call fails, the error says so, the older file is as it was, and nothing is left behind or open") {
    const std::vector<std::string> texts{"cannot write it",
                                         "cannot write it",
                                         "cannot write it",
                                         "cannot set its mode",
                                         "cannot bring it to the disk",
                                         "cannot close it",
                                         "cannot rename its temporary file",
                                         "cannot bring the folder of the new file, which is complete, to the disk"};
    const ::mode_t mask = ::umask(022);
    for (const bool older : {false, true})
        for (const auto& [code, reason] : {std::pair{EIO, "Input/output error"}, std::pair{ENOSPC, "No space left on device"},
                                           std::pair{EDQUOT, "Disk quota exceeded"}, std::pair{EPERM, "Operation not permitted"}})
            for (std::size_t fault = 1; fault <= of_new_file.size(); ++fault) {
                CAPTURE(older);
                CAPTURE(of_new_file[fault - 1]);
                const temporary_folder folder;
                if (older) REQUIRE(error(folder / "w", 7) == "no error");
                const std::string before = contents(folder / "w");
                const std::size_t open_before = open_files();
                CHECK(error(folder / "w", 300, failing(fault, code)) == texts[fault - 1] + ": " + reason);
                CHECK(open_files() == open_before);
                const bool in_place = fault == of_new_file.size();  // the last one alone
                CHECK(files_in(folder.path) == (older || in_place ? 1 : 0));
                if (in_place) CHECK(guild::io::safetensors(folder / "w").read_as<float>("w") == numbers);
                else CHECK(contents(folder / "w") == before);
                CHECK(error(folder / "w") == "no error");
                CHECK(guild::io::safetensors(folder / "w").read_as<float>("w") == numbers);
            }
    ::umask(mask);
}

TEST_CASE("safetensors_writer: a file system that cannot flush a folder is none of its errors") {
    const temporary_folder folder;
    for (const int code : {EINVAL, ENOTSUP, EROFS}) CHECK(error(folder / "w", 300, failing(of_new_file.size(), code)) == "no error");
}

TEST_CASE("safetensors_writer: short and interrupted writes are continued") {
    const temporary_folder folder;
    REQUIRE(error(folder / "whole") == "no error");
    for (const std::size_t most : {1UL, 3UL, 8UL, 1000UL}) {
        CAPTURE(most);
        trouble slow;
        slow.most = most;
        slow.interruptions = 5;
        CHECK(error(folder / "w", 300, slow) == "no error");
        CHECK(std::count(asked.begin(), asked.end(), "write") >= static_cast<long>(1328 / most));
        CHECK(contents(folder / "w") == contents(folder / "whole"));
    }
    trouble full = failing(40, ENOSPC);
    full.most = 8;
    CHECK(error(folder / "w", 300, full) == "cannot write it: No space left on device");  // some of it is written
    CHECK(contents(folder / "w") == contents(folder / "whole"));
    CHECK(files_in(folder.path) == 2);
}

TEST_CASE("safetensors: short and interrupted reads are continued, a failing one is an error") {
    const temporary_folder folder;
    std::vector<float> counted(300);
    for (std::size_t i = 0; i < counted.size(); ++i) counted[i] = static_cast<float>(i);
    guild::io::safetensors_writer writer;
    writer.add("w", {300}, std::span<const float>(counted));
    writer.write(folder / "w");
    const auto read = [&](trouble with) {
        now = with;
        asked.clear();
        watching = true;
        std::string text = file_error_of(folder / "w", [&] {
            if (guild::io::safetensors(folder / "w").read_as<float>("w") != counted) throw guild::io::file_error("other numbers");
        });
        watching = false;
        return text;
    };
    for (const std::size_t most : {1UL, 3UL, 8UL, 1000UL}) {
        trouble slow;
        slow.most = most;
        slow.interruptions = 5;
        CHECK(read(slow) == "no error");
        CHECK(std::count(asked.begin(), asked.end(), "pread") >= static_cast<long>(1328 / most));
    }
    for (std::size_t fault = 1; fault <= 3; ++fault) CHECK(read(failing(fault, EIO)) == "cannot read it: Input/output error");
}

TEST_CASE("safetensors: files are not left open in a program that this one becomes") {
    const temporary_folder folder;
    REQUIRE(error(folder / "w") == "no error");
    const std::size_t before = open_files();
    const guild::io::safetensors reader(folder / "w");
    const guild::io::detail::output_file writer(folder / "w");
    int opened = 0;
    for (int fd = 3; fd < 1000; ++fd) {
        const int flags = ::fcntl(fd, F_GETFD);
        char name[64], target[4096];
        std::snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        const ::ssize_t length = flags < 0 ? -1 : ::readlink(name, target, sizeof target);
        if (length < 0 || !std::string_view(target, static_cast<std::size_t>(length)).starts_with(folder.path.native())) continue;
        ++opened;
        CHECK((flags & FD_CLOEXEC) != 0);
    }
    CHECK(opened == 3);  // the file to read, the folder and the file to write
    CHECK(open_files() == before + 3);
}

TEST_CASE("safetensors_writer: names of temporary files that are taken are passed over, whatever they name") {
    const temporary_folder folder, elsewhere;
    REQUIRE(error(folder / "whole") == "no error");
    const auto temporary_name = [&] {  // of the next
        const guild::io::detail::output_file one(folder / "w");
        for (const auto& entry : std::filesystem::directory_iterator(folder.path))
            if (entry.path().filename() != "whole") return entry.path().filename().string();
        return std::string();
    };
    const std::string name = temporary_name(), stem = ".guild." + std::to_string(::getpid()) + ".";
    REQUIRE(name.starts_with(stem));
    const long next = std::stol(name.substr(stem.size())) + 1;
    const auto plant = [&](long i) { return folder / (stem + std::to_string(i) + ".tmp"); };
    const auto other = put(elsewhere / "other", "somebody's");
    for (long i = 0; i < 4; ++i) put(plant(next + i), "somebody's");
    for (long i = 4; i < 8; ++i) std::filesystem::create_symlink(other, plant(next + i));
    std::filesystem::create_directory(plant(next + 8));
    CHECK(error(folder / "w") == "no error");
    CHECK(contents(folder / "w") == contents(folder / "whole"));
    for (long i = 0; i < 8; ++i) CHECK(contents(plant(next + i)) == "somebody's");
    CHECK(files_in(folder.path) == 11);
}

TEST_CASE("safetensors_writer: a process that ends before any of its calls leaves the older file or the new one, whole") {
    const temporary_folder folder;
    REQUIRE(error(folder / "old", 7) == "no error");
    REQUIRE(error(folder / "new") == "no error");
    const std::string old_bytes = contents(folder / "old"), new_bytes = contents(folder / "new");
    const ::mode_t mask = ::umask(022);
    for (std::size_t fault = 1; fault <= of_new_file.size(); ++fault) {
        CAPTURE(fault);
        REQUIRE(error(folder / "w", 7) == "no error");
        trouble last;
        last.fault = fault;
        last.ends = true;
        CHECK(of_a_child([&](int) { return error(folder / "w", 300, last); }) == "");
        CHECK(contents(folder / "w") == (fault < of_new_file.size() ? old_bytes : new_bytes));
        CHECK(error(folder / "w") == "no error");  // beside whatever was left
        CHECK(contents(folder / "w") == new_bytes);
    }
    ::umask(mask);
}
