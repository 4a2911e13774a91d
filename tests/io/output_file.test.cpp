#include "files.hpp"

#include <support/child.hpp>

#include <doctest/doctest.h>

#include <span>
#include <vector>

#include <sys/mount.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sched.h>

using guild::io::safetensors;
using guild::io::safetensors_writer;

namespace {
::mode_t mode_of(const std::filesystem::path& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : static_cast<::mode_t>(-1);
}
struct umask_for_now {
    ::mode_t before;
    explicit umask_for_now(::mode_t mask) : before(::umask(mask)) {}
    ~umask_for_now() { ::umask(before); }
};
constexpr ::mode_t masks[] = {0, 022, 077};

const std::vector<float> numbers(5000, 1.5F);
safetensors_writer one_tensor(std::size_t count = 5000) {
    safetensors_writer writer;
    writer.add("w", {static_cast<long>(count)}, std::span(numbers).first(count));
    return writer;
}
const std::string in_full = [] {
    const temporary_folder folder;
    one_tensor().write(folder / "w");
    return contents(folder / "w");
}();
std::string error(const std::filesystem::path& path) {
    return file_error_of(path, [&] { one_tensor().write(path); });
}
}  // namespace

TEST_CASE("safetensors_writer: a new file has the mode of new files, by umask") {
    const temporary_folder folder;
    for (const ::mode_t mask : masks) {
        const umask_for_now now(mask);
        CAPTURE(mask);
        const auto path = folder / std::to_string(mask);
        CHECK(error(path) == "no error");
        CHECK(mode_of(path) == (0666 & ~mask));
    }
    CHECK(files_in(folder.path) == std::size(masks));
}

TEST_CASE("safetensors_writer: the mode of a file that is replaced is kept, whatever the umask") {
    const temporary_folder folder;
    for (const ::mode_t mask : masks)
        for (const ::mode_t mode : {0600U, 0640U, 0664U, 0444U, 0755U, 0000U, 0200U, 0400U, 0666U, 0777U, 01644U, 02755U, 06711U}) {
            CAPTURE(mask);
            CAPTURE(mode);
            const auto path = put(folder / "w", "an older file");
            REQUIRE(::chmod(path.c_str(), mode) == 0);
            {
                const umask_for_now now(mask);
                CHECK(error(path) == "no error");
            }
            CHECK(mode_of(path) == mode);
            CHECK(files_in(folder.path) == 1);
            REQUIRE(::chmod(path.c_str(), 0600) == 0);
            CHECK(contents(path) == in_full);
            std::filesystem::remove(path);
        }
}

TEST_CASE("safetensors_writer: owner and group are kept where the system allows it, set-user-ID only with these") {
    if (::geteuid() != 0) {
        MESSAGE("left out: only root can give files away");
        return;
    }
    const temporary_folder folder;
    struct stat status {};
    const auto path = put(folder / "w", "an older file");
    for (const auto& [user, group] :
         {std::pair{::geteuid(), ::gid_t{54321}}, std::pair{::uid_t{12345}, ::getegid()}, std::pair{::uid_t{12345}, ::gid_t{54321}}})
        for (const ::mode_t mode : {0600U, 0640U, 06750U}) {
            REQUIRE(::chown(path.c_str(), user, group) == 0);
            REQUIRE(::chmod(path.c_str(), mode) == 0);
            CHECK(error(path) == "no error");
            REQUIRE(::stat(path.c_str(), &status) == 0);
            CHECK(status.st_uid == user);
            CHECK(status.st_gid == group);
            CHECK(mode_of(path) == mode);
        }

    REQUIRE(::chmod(folder.path.c_str(), 0777) == 0);
    CHECK(of_a_child([&](int) -> std::string {
              if (::setgid(65534) != 0 || ::setuid(65534) != 0) return "still root";
              return error(path);
          }) == "no error");
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK(status.st_uid == 65534);
    CHECK(mode_of(path) == 0750);

    REQUIRE(::chown(path.c_str(), 12345, 54321) == 0);  // somebody in the group, who is not the owner
    REQUIRE(::chmod(path.c_str(), 0660) == 0);
    CHECK(of_a_child([&](int) -> std::string {
              const ::gid_t groups[] = {54321};
              if (::setgroups(1, groups) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return "still root";
              return error(path);
          }) == "no error");
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK(status.st_uid == 65534);
    CHECK(status.st_gid == 54321);
    CHECK(mode_of(path) == 0660);
}

TEST_CASE("safetensors_writer: a symbolic link stays, the file that it names is replaced or made") {
    const temporary_folder folder;
    std::filesystem::create_directories(folder / "a" / "b");
    std::filesystem::create_directories(folder / "c");
    const auto file = folder / "c" / "file";
    struct link {
        const char *name, *to, *file;
    };
    for (const link& l :
         {link{"near", "c/file", "c/file"}, link{"a/b/relative", "../../c/file", "c/file"}, link{"a/second", "../near", "c/file"},
          link{"a/through", "../folder/file", "c/file"}, link{"dangling", "c/new", "c/new"}, link{"a/twice", "../dangling2", "c/new2"}}) {
        CAPTURE(l.name);
        if (std::string_view(l.name) == "a/through") std::filesystem::create_directory_symlink("c", folder / "folder");
        if (std::string_view(l.name) == "a/twice") std::filesystem::create_symlink("c/new2", folder / "dangling2");
        std::filesystem::create_symlink(l.to, folder / l.name);
        REQUIRE(::chmod(put(file, "an older file").c_str(), 0640) == 0);
        CHECK(error(folder / l.name) == "no error");
        CHECK(std::filesystem::read_symlink(folder / l.name) == l.to);
        CHECK_FALSE(std::filesystem::is_symlink(folder / l.file));
        CHECK(contents(folder / l.file) == in_full);
    }
    std::filesystem::create_symlink(file, folder / "absolute");
    REQUIRE(::chmod(put(file, "an older file").c_str(), 0640) == 0);
    CHECK(error(folder / "absolute") == "no error");
    CHECK(contents(file) == in_full);
    CHECK(mode_of(file) == 0640);
    CHECK(files_in(folder / "c") == 3);

    std::filesystem::create_symlink("missing/file", folder / "nowhere");
    CHECK(error(folder / "nowhere") == "cannot open its folder: No such file or directory");
    std::filesystem::create_symlink("a", folder / "to_folder");
    CHECK(error(folder / "to_folder") == "is a directory, pipe or device, expected a regular file or none");
    std::filesystem::create_symlink("/dev/full", folder / "to_device");
    CHECK(error(folder / "to_device") == "is a directory, pipe or device, expected a regular file or none");
    for (const char* name : {"nowhere", "to_folder", "to_device"}) CHECK(std::filesystem::is_symlink(folder / name));
    for (int i = 0; i < 41; ++i) std::filesystem::create_symlink(std::to_string(i + 1), folder / std::to_string(i));
    CHECK(error(folder / "0") == "cannot look at it: Too many levels of symbolic links");
}

TEST_CASE("safetensors_writer: other names of the same file keep the older one") {
    const temporary_folder folder;
    const auto path = put(folder / "w", "an older file");
    std::filesystem::create_hard_link(path, folder / "other");
    CHECK(error(path) == "no error");
    CHECK(contents(path) == in_full);
    CHECK(contents(folder / "other") == "an older file");
}

TEST_CASE("safetensors_writer: names and paths as long as the system takes, and no longer") {
    const temporary_folder folder;
    for (const std::size_t length : {1UL, 239UL, 240UL, 241UL, 254UL, 255UL}) {
        CAPTURE(length);
        CHECK(error(folder / std::string(length, 'n')) == "no error");
        CHECK(contents(folder / std::string(length, 'n')) == in_full);
    }
    CHECK(error(folder / std::string(256, 'n')) == "cannot look at it: File name too long");
    CHECK(files_in(folder.path) == 6);

    // A path of 4095 bytes, the most: the temporary file's would be longer.
    std::filesystem::path deep = folder.path;
    while (deep.native().size() + 201 < 4090) deep /= std::string(200, 'd');
    deep /= std::string(4095 - 2 - deep.native().size() - 1, 'e');
    std::filesystem::create_directories(deep);
    const auto longest = deep / "w";
    REQUIRE(longest.native().size() == 4095);
    CHECK(error(longest) == "no error");
    CHECK(safetensors(longest).tensors().size() == 1);
    CHECK(error(deep / "ww") == "cannot look at it: File name too long");
    CHECK(files_in(deep) == 1);
}

TEST_CASE("safetensors_writer: what is no name of a file") {
    const temporary_folder folder;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path);
    put("file", "an older file");
    CHECK(error("") == "is no name of a file");
    CHECK(error("missing/") == "is no name of a file");
    CHECK(error("file/") == "cannot look at it: Not a directory");
    for (const char* name : {".", "..", "./", "/"}) CHECK(error(name) == "is a directory, pipe or device, expected a regular file or none");
    const std::string nul("file\0x", 6);
    CHECK(error_of<guild::io::file_error>([&] { one_tensor().write(nul); }, "guild::io: 'file\\x00x': ") ==
          "has a NUL byte in its name, expected none");
    const bool as_it_was = contents("file") == "an older file" && files_in(".") == 1;
    std::filesystem::current_path(before);
    CHECK(as_it_was);
}

TEST_CASE("safetensors_writer: into a folder that may be written, but not read") {
    const temporary_folder folder;
    REQUIRE(::chmod(folder.path.c_str(), 0777) == 0);
    std::filesystem::create_directory(folder / "blind");
    const bool root = ::geteuid() == 0;
    if (root) REQUIRE(::chown((folder / "blind").c_str(), 65534, 65534) == 0);
    REQUIRE(::chmod((folder / "blind").c_str(), 0300) == 0);
    CHECK(of_a_child([&](int) -> std::string {
              if (root && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return "still root";
              return error(folder / "blind" / "w");
          }) == "no error");
    REQUIRE(::chmod((folder / "blind").c_str(), 0700) == 0);
    CHECK(contents(folder / "blind" / "w") == in_full);
}

TEST_CASE("safetensors_writer: a full disk is an error, the older file is as it was and nothing is left") {
    const temporary_folder folder;
    const std::string said = of_a_child([&](int) -> std::string {
        if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("none", folder.path.c_str(), "tmpfs", 0, "size=16k") != 0)
            return "no disk";
        one_tensor(100).write(folder / "w");
        const std::string old = contents(folder / "w");
        for (int attempt = 0; attempt < 3; ++attempt)
            if (const std::string e = error(folder / "w"); e != "cannot write it: No space left on device") return e;
        if (contents(folder / "w") != old || files_in(folder.path) != 1) return "not as it was";
        one_tensor(200).write(folder / "w");  // what was left behind would have filled it
        return "as it was";
    });
    if (said == "no disk") MESSAGE("left out: this process may not mount a small file system");
    else CHECK(said == "as it was");
}

TEST_CASE("safetensors_writer: two writers of one name, and a file made in between, do not mix") {
    const temporary_folder folder;
    guild::io::detail::output_file first(folder / "w"), second(folder / "w");
    CHECK(files_in(folder.path) == 2);
    put(folder / "w", "made in between");
    first.write(std::as_bytes(std::span("first", 5)));
    second.write(std::as_bytes(std::span("second", 6)));
    CHECK(contents(folder / "w") == "made in between");
    second.commit();
    CHECK(contents(folder / "w") == "second");
    first.commit();
    CHECK(contents(folder / "w") == "first");
    CHECK(files_in(folder.path) == 1);
}
