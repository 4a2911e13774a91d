#include "../corpus.hpp"
#include "../files.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <unistd.h>

using namespace language_model;

namespace {

/// A folder of its own, gone afterwards.
struct scratch {
    std::filesystem::path folder = std::filesystem::temp_directory_path() / ("language_model_test_" + std::to_string(::getpid()));
    scratch() { std::filesystem::create_directories(folder); }
    ~scratch() { std::filesystem::remove_all(folder); }
    std::filesystem::path file(const std::string& name, const std::string& text) const {
        std::ofstream(folder / name, std::ios::binary) << text;
        return folder / name;
    }
    std::string read(const std::string& name) const {
        std::ifstream in(folder / name, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

std::string words(int first, int count) {
    std::string s;
    for (int i = 0; i < count; ++i) s += "word" + std::to_string(first + i) + (i % 7 == 0 ? "\n " : " ");
    return s;
}

}  // namespace

TEST_CASE("a text is read whole; a missing, empty or impossible one is a usage error that names it") {
    const scratch s;
    const std::string bytes("a\0\xff\r\n", 5);
    CHECK(read_document(s.file("t", bytes)).text == bytes);
    CHECK(read_document(s.folder / "t").name == "t");
    CHECK_THROWS_WITH_AS(read_document(s.folder / "none"),
                         ("cannot read the text " + (s.folder / "none").string() + ": No such file or directory").c_str(), usage_error);
    CHECK_THROWS_AS(read_document(s.file("empty", "")), usage_error);
    CHECK_THROWS_AS(read_document(s.folder), usage_error);
}

TEST_CASE("overlap counts sequences of eight words, whatever the case and the spaces") {
    const document a{"a", words(0, 27)}, b{"b", "WORD0   " + words(1, 26).substr(0)}, c{"c", words(10, 27)}, d{"d", "one two"};
    CHECK(overlap(a, a) == 1);
    CHECK(overlap(a, b) == 1);
    CHECK(overlap(a, c) == doctest::Approx(0.5));  // sequences 10 to 19 of 20
    CHECK(overlap(d, a) == 0);
}

TEST_CASE("licences: links and near-duplicates are left out, two names are held out") {
    const scratch s;
    s.file("Apache-2.0", words(0, 50)), s.file("A-1", words(100, 60)), s.file("A-2", words(100, 70)), s.file("B", words(300, 50));
    std::filesystem::create_symlink("A-2", s.folder / "A");
    const corpus c = licences(s.folder);
    REQUIRE(c.training.size() == 2);
    CHECK(c.training[0].name == "A-2");
    CHECK(c.training[1].name == "B");
    REQUIRE(c.held_out.size() == 1);
    CHECK(c.held_out[0].name == "Apache-2.0");
    REQUIRE(c.left_out.size() == 1);
    CHECK(c.left_out[0].name == "A-1");
    CHECK(c.left_out[0].of == "A-2");
    CHECK_THROWS_AS(licences(s.folder / "none"), usage_error);
}

TEST_CASE("files of the user: the last tenth is held out, unless there is a text for that") {
    const scratch s;
    const std::string a = s.file("a", "0123456789abcdefghij").string(), b = s.file("b", "xyz").string();
    const corpus tenth = from_files({a}, {}), other = from_files({a}, {b});
    CHECK(tenth.training[0].text == "0123456789abcdefgh");
    CHECK(tenth.held_out[0].text == "ij");
    CHECK(other.training[0].text.size() == 20);
    CHECK(other.held_out[0].text == "xyz");
}

TEST_CASE("windows lie inside one document") {
    const std::vector<document> all{{"a", "abcdef"}, {"b", "xy"}, {"c", "ghij"}};
    const windows w(all, 3, "training");
    const auto text = [](std::span<const std::uint8_t> s) { return std::string(s.begin(), s.end()); };
    REQUIRE(w.count() == 4);
    CHECK(text(w.at(0)) == "abcd");
    CHECK(text(w.at(2)) == "cdef");
    CHECK(text(w.at(3)) == "ghij");
    REQUIRE(w.consecutive().size() == 2);
    CHECK(text(w.consecutive()[0]) == "abcd");
    CHECK(text(w.consecutive()[1]) == "ghij");
    CHECK_THROWS_WITH_AS(windows(all, 6, "training"), "the training text is too short: its longest part has 6 bytes, at least 7 are needed",
                         usage_error);

    examples e;
    e.add(w.at(2));
    CHECK(std::string(e.bytes.begin(), e.bytes.end()) == "cde");
    CHECK(std::string(e.target.begin(), e.target.end()) == "def");
}

TEST_CASE("a file is replaced whole or not at all") {
    const scratch s;
    replace_file(s.folder / "f", "first");
    replace_file(s.folder / "f", "second");
    CHECK(s.read("f") == "second");
    using std::filesystem::perms;
    for (const perms mode : {perms(0600), perms(0640), perms(0444), perms(0755)}) {
        std::filesystem::permissions(s.folder / "f", mode);
        replace_file(s.folder / "f", "third");
        CHECK(std::filesystem::status(s.folder / "f").permissions() == mode);
    }
    CHECK(s.read("f") == "third");
    CHECK(std::distance(std::filesystem::directory_iterator(s.folder), {}) == 1);
    const std::string longest(255, 'n');
    replace_file(s.folder / longest, "text");
    CHECK(s.read(longest) == "text");
    std::filesystem::remove(s.folder / longest);
    CHECK_THROWS_AS(replace_file(s.folder / (longest + "n"), "text"), usage_error);
    std::filesystem::create_directory(s.folder / "d");
    CHECK_THROWS_AS(replace_file(s.folder / "d", "text"), usage_error);
    std::filesystem::remove(s.folder / "d");
    std::filesystem::create_symlink("f", s.folder / "link");
    replace_file(s.folder / "link", "fourth");
    CHECK(std::filesystem::is_symlink(s.folder / "link"));
    CHECK(s.read("f") == "fourth");
    std::filesystem::remove(s.folder / "link");
    CHECK(std::distance(std::filesystem::directory_iterator(s.folder), {}) == 1);
    CHECK_THROWS_AS(replace_file(s.folder / "none" / "f", "text"), usage_error);
    CHECK_NOTHROW(require_folder(s.folder / "new" / "folder"));
    CHECK(std::filesystem::is_directory(s.folder / "new" / "folder"));
    CHECK_THROWS_AS(require_folder(s.folder / "f"), usage_error);
    CHECK_THROWS_AS(require_folder(s.folder / "f" / "g"), usage_error);
}
