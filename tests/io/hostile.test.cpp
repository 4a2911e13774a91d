#include "files.hpp"

#include <support/child.hpp>
#include <support/watchdog.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <malloc.h>
#include <sys/stat.h>

namespace {
std::atomic<long> live_bytes{0}, peak_bytes{0};
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    void* p = std::malloc(bytes == 0 ? 1 : bytes);
    const long live = live_bytes += static_cast<long>(malloc_usable_size(p));
    if (live > peak_bytes) peak_bytes = live;
    return p;
}
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    if (void* p = operator new(bytes, std::nothrow)) return p;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    live_bytes -= static_cast<long>(malloc_usable_size(p));
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { operator delete(p); }

namespace {
struct hostile {
    std::string bytes;
    std::string error;
};
std::string tensor(std::string_view name, std::string_view type, std::string_view shape, std::string_view offsets) {
    std::ostringstream text;
    text << '"' << name << R"(":{"dtype":")" << type << R"(","shape":)" << shape << R"(,"data_offsets":)" << offsets << '}';
    return text.str();
}
/// One tensor 'w'.
hostile one(std::string_view type, std::string_view shape, std::string_view offsets, std::size_t data, std::string error) {
    return {file_bytes("{" + tensor("w", type, shape, offsets) + "}", data), std::move(error)};
}
hostile header(const std::string& text, std::size_t data, std::string error) { return {file_bytes(text, data), std::move(error)}; }

const std::string w = tensor("w", "F32", "[2]", "[0,8]");
constexpr auto json = [](const std::string& at) { return "the header stops being JSON at its byte " + at + ", expected JSON in UTF-8"; };

constexpr auto nul = [](const std::string& at) { return "the header has a NUL byte, its byte " + at + ", expected JSON in UTF-8"; };

const std::vector<hostile> hostiles{
    // length of the header
    {"", "has 0 bytes, expected at least 8 for the length of the header"},
    {"1234567", "has 7 bytes, expected at least 8 for the length of the header"},
    {file_bytes(0, "", 0), "the header begins with nothing, expected '{'"},
    {file_bytes(1, "{", 0), json("2, after '{'")},
    {file_bytes(3, "{}", 0), "the header is said to have 3 bytes, expected at most the 2 that follow"},
    {file_bytes(100'000'000, "{}", 1000), "the header is said to have 100000000 bytes, expected at most the 1002 that follow"},
    {file_bytes(100'000'001, "{}", 1000), "the header is said to have 100000001 bytes, expected at most 100000000"},
    {file_bytes(1ULL << 63, "{}", 1000), "the header is said to have 9223372036854775808 bytes, expected at most 100000000"},
    {file_bytes(~0ULL, "{}", 0), "the header is said to have 18446744073709551615 bytes, expected at most 100000000"},
    // JSON
    header("    ", 0, "the header begins with nothing, expected '{'"),
    header("[]", 0, "the header begins with '[', expected '{'"),
    header("\xEF\xBB\xBF{}", 0, "the header begins with '\\xef', expected '{'"),
    header("{" + w, 8, json("54, after '8]}'")),
    header("{}x", 0, json("3, after '{}x'")),
    header("{} {}", 0, json("4, after '{} {'")),
    header("{\"\xff\":1}", 0, json("3, after '\"\\xff'")),
    header("{\"\xc0\xaf\":1}", 0, json("3, after '\"\\xc0'")),
    header(std::string("{\"a\0b\":1}", 9), 0, nul("4")),
    header(std::string("\0{}", 3), 0, nul("1")),
    header(std::string("{\0}", 3), 0, nul("2")),
    header(std::string("{}\0", 3), 0, nul("3")),
    header(std::string("{}\0\0\0", 5), 0, nul("3")),
    header(std::string("{}  \0{}", 7), 0, nul("5")),
    header("{" + w + "}" + std::string(1, '\0') + "{" + w + "}", 8, nul("55")),
    header(std::string(1000, '\0'), 0, nul("1")),
    header("{'w':1}", 0, json("2, after '{''")),
    header("{/**/}", 0, json("2, after '{/'")),
    header("{\"a\":" + std::string(100'000, '['), 0, "tensor 'a' is an array, expected an object"),
    header("{\"a\":{\"shape\":" + std::string(100'000, '['), 0, "tensor 'a': shape holds an array, expected whole numbers"),
    header("{\"a\":{\"b\":{\"c\":{}}}}", 0, "tensor 'a': found 'b', expected dtype, shape and data_offsets"),
    // names and metadata
    header("{" + w + "," + w + "}", 8, "tensor 'w' is there twice, expected once"),
    header("{" + tensor("w", "F32", "[0]", "[0,0]") + "," + tensor("v", "F32", "[0]", "[0,0]") + "," + tensor("\\u0077", "F32", "[0]", "[0,0]") + "}",
           0, "tensor 'w' is there twice, expected once"),
    header("{\"" + std::string(1'000'000, 'n') + "\":1}", 0, "tensor '" + std::string(80, 'n') + "'... is 1, expected an object"),
    header("{\"\\u001b[2J\":null}", 0, "tensor '\\x1b[2J' is null, expected an object"),
    header("{\"w\":true}", 0, "tensor 'w' is true, expected an object"),
    header("{\"w\":false}", 0, "tensor 'w' is false, expected an object"),
    header("{\"w\":\"F32\"}", 0, "tensor 'w' is a string, expected an object"),
    header("{\"__metadata__\":1}", 0, "tensor '__metadata__' is 1, expected an object"),
    header("{\"__metadata__\":{\"a\":1}}", 0, "metadata 'a' is 1, expected a string"),
    header("{\"__metadata__\":{\"a\":{}}}", 0, "metadata 'a' is an object, expected a string"),
    header("{\"__metadata__\":{\"a\":[]}}", 0, "metadata 'a' is an array, expected a string"),
    header("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "metadata 'a' is there twice, expected once"),
    header("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice, expected once"),
    // fields of a tensor
    header("{\"w\":{}}", 0, "tensor 'w': dtype is missing, expected dtype, shape and data_offsets"),
    header("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}", 0, "tensor 'w': shape is missing, expected dtype, shape and data_offsets"),
    header("{\"w\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, "tensor 'w': data_offsets is missing, expected dtype, shape and data_offsets"),
    header("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F64\"}}", 0, "tensor 'w': dtype is there twice, expected once"),
    header("{\"w\":{\"shape\":[1],\"shape\":[2]}}", 0, "tensor 'w': shape is there twice, expected once"),
    header("{\"w\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 0, "tensor 'w': data_offsets is there twice, expected once"),
    header("{\"w\":{\"dtype\":\"F32\",\"strides\":[1]}}", 0, "tensor 'w': found 'strides', expected dtype, shape and data_offsets"),
    header("{\"w\":{\"dtype\":7}}", 0, "tensor 'w': dtype is 7, expected a string"),
    header("{\"w\":{\"dtype\":[\"F32\"]}}", 0, "tensor 'w': dtype is an array, expected a string"),
    header("{\"w\":{\"shape\":2}}", 0, "tensor 'w': shape is 2, expected an array of whole numbers"),
    header("{\"w\":{\"shape\":{}}}", 0, "tensor 'w': shape is an object, expected an array of whole numbers"),
    header("{\"w\":{\"data_offsets\":null}}", 0, "tensor 'w': data_offsets is null, expected an array of whole numbers"),
    one("F31", "[2]", "[0,8]", 8, "tensor 'w': dtype is 'F31', expected a published one such as F32 or BF16"),
    one("f32", "[2]", "[0,8]", 8, "tensor 'w': dtype is 'f32', expected a published one such as F32 or BF16"),
    // shape
    one("F32", "[-2]", "[0,8]", 8, "tensor 'w': shape holds -2, expected whole numbers"),
    one("F32", "[-0]", "[0,0]", 0, "tensor 'w': shape holds -0, expected whole numbers"),
    one("F32", "[2.0]", "[0,8]", 8, "tensor 'w': shape holds '2.0', expected whole numbers"),
    one("F32", "[1e3]", "[0,4000]", 4000, "tensor 'w': shape holds '1e3', expected whole numbers"),
    one("F32", "[1e400]", "[0,8]", 8, "tensor 'w': shape holds '1e400', expected whole numbers"),
    one("F32", "[\"2\"]", "[0,8]", 8, "tensor 'w': shape holds a string, expected whole numbers"),
    one("F32", "[{}]", "[0,8]", 8, "tensor 'w': shape holds an object, expected whole numbers"),
    one("F32", "[9223372036854775808,0]", "[0,0]", 0, "tensor 'w': shape holds 9223372036854775808, expected whole numbers below 2^63"),
    one("F32", "[18446744073709551616]", "[0,0]", 0, "tensor 'w': shape holds '18446744073709551616', expected whole numbers"),
    one("F32", "[4294967296,4294967296]", "[0,0]", 0,
        "tensor 'w': shape makes F32 [4294967296, 4294967296], expected a whole number of bytes below 2^60"),
    one("F32", "[4611686018427387904]", "[0,0]", 0, "tensor 'w': shape makes F32 [4611686018427387904], expected a whole number of bytes below 2^60"),
    one("U8", "[4611686018427387904,4,0]", "[0,0]", 0,
        "tensor 'w': shape makes U8 [4611686018427387904, 4, 0], expected a whole number of bytes below 2^60"),
    one("F4", "[3]", "[0,1]", 1, "tensor 'w': shape makes F4 [3], expected a whole number of bytes below 2^60"),
    one("F6_E2M3", "[2]", "[0,2]", 2, "tensor 'w': shape makes F6_E2M3 [2], expected a whole number of bytes below 2^60"),
    // offsets
    one("F32", "[2]", "[]", 8, "tensor 'w': data_offsets is [], expected [begin, end]"),
    one("F32", "[2]", "[8]", 8, "tensor 'w': data_offsets is [8], expected [begin, end]"),
    one("F32", "[2]", "[0,8,8]", 8, "tensor 'w': data_offsets is [0, 8, 8], expected [begin, end]"),
    one("F32", "[2]", "[8,0]", 8, "tensor 'w': data_offsets is [8, 0], expected [begin, end]"),
    one("F32", "[2]", "[0,1,2,3,4,5,6,7]", 8, "tensor 'w': data_offsets is [0, 1, 2, 3, 4, 5, 6, 7], expected [begin, end]"),
    one("F32", "[2]", "[0,9,0,0,0,0,0,0,0,0]", 8, "tensor 'w': data_offsets is [0, 9, 0, 0, 0, 0, 0, 0, ...] (10 numbers), expected [begin, end]"),
    one("F32", "[2]", "[-8,0]", 8, "tensor 'w': data_offsets holds -8, expected whole numbers"),
    one("F32", "[2]", "[0,12]", 12, "tensor 'w': data_offsets is [0, 12], 12 bytes, expected 8 for F32 [2]"),
    one("F32", "[3]", "[0,8]", 8, "tensor 'w': data_offsets is [0, 8], 8 bytes, expected 12 for F32 [3]"),
    one("BF16", "[2]", "[0,8]", 8, "tensor 'w': data_offsets is [0, 8], 8 bytes, expected 4 for BF16 [2]"),
    one("F8_E4M3", "[2]", "[0,8]", 8, "tensor 'w': data_offsets is [0, 8], 8 bytes, expected 2 for F8_E4M3 [2]"),
    one("F32", "[0,9223372036854775807]", "[0,4]", 4, "tensor 'w': data_offsets is [0, 4], 4 bytes, expected 0 for F32 [0, 9223372036854775807]"),
    one("F32", "[2]", "[0,8]", 7, "tensor 'w': data_offsets is [0, 8], expected to end within the 7 bytes of data"),
    one("F32", "[2]", "[9223372036854775799,9223372036854775807]", 8,
        "tensor 'w': data_offsets is [9223372036854775799, 9223372036854775807], expected to end within the 8 bytes of data"),
    one("F32", "[2]", "[18446744073709551608,18446744073709551615]", 8,
        "tensor 'w': data_offsets holds 18446744073709551608, expected whole numbers below 2^63"),
    one("F32", "[2]", "[4,12]", 12, "tensor 'w' begins at byte 4 of the data, expected 0, where the one before it ends"),
    one("F32", "[2]", "[0,8]", 9, "has 9 bytes of data, expected 8, where the last tensor ends"),
    header("{}", 1, "has 1 bytes of data, expected 0, where the last tensor ends"),
    header("{" + w + "," + tensor("v", "F32", "[2]", "[4,12]") + "}", 12,
           "tensor 'v' begins at byte 4 of the data, expected 8, where the one before it ends"),
    header("{" + w + "," + tensor("v", "F32", "[2]", "[12,20]") + "}", 20,
           "tensor 'v' begins at byte 12 of the data, expected 8, where the one before it ends"),
    header("{" + w + "," + tensor("v", "F32", "[2]", "[0,8]") + "}", 8,
           "tensor 'v' begins at byte 0 of the data, expected 8, where the one before it ends"),
    header("{" + w + "," + tensor("v", "F32", "[0]", "[4,4]") + "}", 8,
           "tensor 'v' begins at byte 4 of the data, expected 8, where the one before it ends"),
};

/// Opens the file and reads every tensor; false if it is refused. Whatever opens must lie inside the file.
bool reads(const std::filesystem::path& path, long size) {
    try {
        const guild::io::safetensors file(path);
        for (const auto& t : file.tensors()) {
            CHECK(t.begin >= 0);
            CHECK(t.end >= t.begin);
            CHECK(t.end <= size);
            std::vector<std::byte> data(static_cast<std::size_t>(t.end - t.begin));
            file.read_bytes(t.name, data);
        }
        return true;
    } catch (const guild::io::file_error&) { return false; }
}
}  // namespace

TEST_CASE("safetensors: every hostile file is refused with what was found and what was expected") {
    const temporary_folder folder;
    for (const hostile& h : hostiles) {
        const auto path = put(folder / "hostile.safetensors", h.bytes);
        CHECK(open_error(path) == h.error);
    }
}

TEST_CASE("safetensors: what is no regular file is refused") {
    const temporary_folder folder;
    CHECK(open_error(folder / "missing") == "cannot open it: No such file or directory");
    CHECK(open_error(folder.path) == "is a directory, pipe or device, expected a regular file");
    CHECK(open_error("/dev/zero") == "is a directory, pipe or device, expected a regular file");
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(of_a_child([&](int) { return open_error(folder / "pipe"); }, 5) == "is a directory, pipe or device, expected a regular file");  // or waits
    const std::string name = (folder / "file").string() + std::string("\0.safetensors", 13);
    put(folder / "file", file_bytes("{}", 0));
    CHECK(open_error(folder / "file") == "no error");
    CHECK(error_of<guild::io::file_error>([&] { guild::io::safetensors{name}; }, "guild::io: '" + (folder / "file").string()) ==
          "\\x00.safetensors': has a NUL byte in its name, expected none");
}

TEST_CASE("safetensors: a NUL byte at any place of a header is refused, in the place of another byte and before it") {
    const temporary_folder folder;
    const std::string text = "{\"__metadata__\":{\"a\":\"b\"}," + w + "," + tensor("v", "BF16", "[2,3]", "[8,20]") + "}   ";
    REQUIRE(open_error(put(folder / "whole", file_bytes(text, 20))) == "no error");
    for (std::size_t at = 0; at <= text.size(); ++at) {
        CAPTURE(at);
        std::string in_place = text, before = text;
        before.insert(at, 1, '\0');
        CHECK(open_error(put(folder / "nul", file_bytes(before, 20))) == nul(std::to_string(at + 1)));
        if (at == text.size()) break;
        in_place[at] = '\0';
        CHECK(open_error(put(folder / "nul", file_bytes(in_place, 20))) == nul(std::to_string(at + 1)));
    }
    CHECK(open_error(put(folder / "escaped", file_bytes("{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0))) == "no error");  // a character of a text
}

TEST_CASE("safetensors: tensors without numbers may stand before or after the one that begins where they do") {
    const temporary_folder folder;
    const std::string v = tensor("v", "F32", "[0]", "[0,0]"), u = tensor("u", "F32", "[0,3]", "[8,8]");
    for (const std::string& text : {v + "," + w + "," + u, w + "," + v + "," + u, u + "," + w + "," + v, w + "," + u + "," + v})
        CHECK(open_error(put(folder / "empty", file_bytes("{" + text + "}", 8))) == "no error");
}

TEST_CASE("safetensors: every beginning of a file is refused") {
    const temporary_folder folder;
    const std::string whole = file_bytes("{\"__metadata__\":{\"a\":\"b\"}," + w + "," + tensor("v", "BF16", "[2,3]", "[8,20]") + "}", 20);
    CHECK(reads(put(folder / "whole", whole), 20));
    for (std::size_t n = 0; n < whole.size(); ++n) {
        CAPTURE(n);
        CHECK_FALSE(reads(put(folder / "beginning", whole.substr(0, n)), 20));
    }
}

TEST_CASE("safetensors: every flipped bit of length and header is refused or harmless") {
    const temporary_folder folder;
    const std::string whole = file_bytes("{\"__metadata__\":{\"a\":\"b\"}," + w + "," + tensor("v", "BF16", "[2,3]", "[8,20]") + "}  ", 20);
    int refused = 0, harmless = 0;
    for (std::size_t bit = 0; bit < 8 * (whole.size() - 20); ++bit) {
        std::string flipped = whole;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        (reads(put(folder / "flipped", flipped), 20) ? harmless : refused) += 1;
    }
    CHECK(refused > 800);
    CHECK(harmless > 10);  // another letter in a name
}

TEST_CASE("safetensors: random changes of a header are refused or harmless") {
    const temporary_folder folder;
    const std::string text = "{\"__metadata__\":{\"a\":\"b\"}," + w + "," + tensor("v", "BF16", "[2,3]", "[8,20]") + "}";
    std::istringstream list(R"({ } [ ] , : " 0 8 - 1e9 null [] {} "w" "shape":[2], 9223372036854775807 18446744073709551615 \u0000 \xff F64 U8)");
    const std::vector<std::string> words{std::istream_iterator<std::string>(list), {}};
    std::mt19937 random(1);
    for (int repeat = 0; repeat < 3000; ++repeat) {
        std::string changed = text;
        for (auto edits = 1 + random() % 3; edits > 0; --edits) {
            const auto at = random() % changed.size(), length = random() % 6;
            changed.replace(at, length, words[random() % words.size()]);
        }
        reads(put(folder / "changed", file_bytes(changed, 20)), 20);
    }
}

TEST_CASE("safetensors: a header that claims 100 MB takes no memory") {
    const temporary_folder folder;
    const auto path = put(folder / "claim", file_bytes(100'000'000, "{}", 1000));
    peak_bytes = live_bytes.load();
    const long before = live_bytes;
    CHECK_THROWS_AS(guild::io::safetensors{path}, guild::io::file_error);
    CHECK(peak_bytes - before < 1 << 16);
    CHECK(peak_bytes > before);
}

TEST_CASE("safetensors: tensors that claim much take no memory") {
    const temporary_folder folder;
    const auto path = put(folder / "claim", one("U8", "[1000000000000]", "[0,1000000000000]", 8, "").bytes);
    peak_bytes = live_bytes.load();
    const long before = live_bytes;
    CHECK_THROWS_AS(guild::io::safetensors{path}, guild::io::file_error);
    CHECK(peak_bytes - before < 1 << 16);
}

TEST_CASE("safetensors: opening takes a small multiple of the header") {
    const temporary_folder folder;
    std::string many = "{", dimensions = "0", shared = "{";
    for (int i = 0; i < 20'000; ++i) {
        many += (i == 0 ? "" : ",") + tensor("t" + std::to_string(i), "U8", "[0]", "[0,0]");
        shared += (i == 0 ? "" : ",") + tensor("t" + std::to_string(i), "U8", "[8]", "[0,8]");
        dimensions += ",0";
    }
    for (const std::string& text : {many + "}", "{" + tensor("w", "U8", "[" + dimensions + "]", "[0,0]") + "}", shared + "}"}) {
        const bool refused = text.find("[0,8]") != text.npos;
        const auto path = put(folder / "large", file_bytes(text, refused ? 8 : 0));
        peak_bytes = live_bytes.load();
        const long before = live_bytes;
        CHECK(reads(path, 8) == !refused);
        CHECK(peak_bytes - before < 16 * static_cast<long>(text.size()) + (1 << 16));
    }
}
