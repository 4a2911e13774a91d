#include "files.hpp"

#include <support/few.hpp>

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <csignal>
#include <functional>
#include <limits>
#include <random>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

using guild::bf16;
using guild::io::dtype;
using guild::io::safetensors;
using guild::io::safetensors_writer;

namespace {
template <class T> std::vector<T> random_bits(std::size_t n, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<T> out(n);
    for (T& x : out) {
        const std::uint64_t bits = random();
        std::memcpy(static_cast<void*>(&x), &bits, sizeof(T));
    }
    return out;
}
template <class T> bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class T> std::span<const T> all(const std::vector<T>& v) { return v; }

/// Files may grow to that many bytes, no further, while this lives.
struct file_size_limit {
    rlimit before{};
    explicit file_size_limit(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before);
        const rlimit now{bytes, before.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before);
        std::signal(SIGXFSZ, SIG_DFL);
    }
};
}  // namespace

TEST_CASE("dtype: names and sizes are the published ones") {
    for (const auto& [name, bits] : guild::io::detail::dtypes) {
        const auto type = guild::io::dtype_named(name);
        REQUIRE(type.has_value());
        CHECK(guild::io::name(*type) == name);
        CHECK(guild::io::bits(*type) == bits);
    }
    CHECK(guild::io::name(dtype::boolean) == "BOOL");
    CHECK(guild::io::name(dtype::f8_e5m2fnuz) == "F8_E5M2FNUZ");
    CHECK(guild::io::name(dtype::bf16) == "BF16");
    CHECK(guild::io::name(dtype::u64) == "U64");
    CHECK_FALSE(guild::io::dtype_named("").has_value());
}

TEST_CASE("dtype: sizes are exact up to 2^63 bits and nothing beyond") {
    using guild::io::bytes;
    using shape = std::vector<long>;
    constexpr long largest = std::numeric_limits<long>::max();
    CHECK(bytes(dtype::f32, shape{}) == 4);
    CHECK(bytes(dtype::f32, shape{2, 3, 5}) == 120);
    CHECK(bytes(dtype::f32, shape{largest, 0}) == 0);
    CHECK(bytes(dtype::f4, shape{largest - 1}) == std::nullopt);
    CHECK(bytes(dtype::f4, shape{6}) == 3);
    CHECK(bytes(dtype::f6_e3m2, shape{4}) == 3);
    CHECK(bytes(dtype::u8, shape{largest / 8}) == largest / 8);
    CHECK(bytes(dtype::u8, shape{largest / 8 + 1}) == std::nullopt);
    CHECK(bytes(dtype::f32, shape{-1}) == std::nullopt);
    CHECK(bytes(dtype::f32, shape{1L << 32, 1L << 31}) == std::nullopt);
}

TEST_CASE("safetensors_writer: the bytes of a small file") {
    const temporary_folder folder;
    const std::vector<float> w{1, -2, 0.5F, 3, 4, 5};
    const std::vector<double> d{0.25};
    const std::vector<bf16> h{bf16(1.0F), bf16(-2.0F)};
    safetensors_writer writer;
    writer.add("half", {2, 1}, all(h));
    writer.add("w \"quoted\"", {2, 3}, all(w));
    writer.add("double", {}, all(d));
    writer.add("a", dtype::u8, {3}, std::as_bytes(std::span("xyz", 3)));
    writer.metadata("format", "pt");
    writer.metadata("author", "caf\xc3\xa9\n");
    writer.write(folder / "small");
    const std::string header =
        "{\"__metadata__\":{\"author\":\"caf\xc3\xa9\\n\",\"format\":\"pt\"},"
        R"("double":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"w \"quoted\"":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
        R"("half":{"dtype":"BF16","shape":[2,1],"data_offsets":[32,36]},"a":{"dtype":"U8","shape":[3],"data_offsets":[36,39]}})";
    std::string expected = file_bytes(320 - 8, header + std::string(320 - 8 - header.size(), ' '), 0);
    for (const double x : d) expected.append(reinterpret_cast<const char*>(&x), 8);
    for (const float x : w) expected.append(reinterpret_cast<const char*>(&x), 4);
    expected += std::string("\x80\x3f\x00\xc0xyz", 7);
    CHECK(contents(folder / "small") == expected);
    CHECK(files_in(folder.path) == 1);

    safetensors_writer other_order;
    other_order.metadata("author", "nobody");
    other_order.metadata("author", "caf\xc3\xa9\n");
    other_order.metadata("format", "pt");
    other_order.add("a", dtype::u8, {3}, std::as_bytes(std::span("xyz", 3)));
    other_order.add("double", {}, all(d));
    other_order.add("half", {2, 1}, all(h));
    other_order.add("w \"quoted\"", {2, 3}, all(w));
    other_order.write(folder / "other");
    CHECK(contents(folder / "other") == expected);
}

TEST_CASE("safetensors: an empty file of tensors is 64 bytes and opens") {
    const temporary_folder folder;
    safetensors_writer{}.write(folder / "empty");
    CHECK(contents(folder / "empty") == file_bytes(56, "{}" + std::string(54, ' '), 0));
    const safetensors file(folder / "empty");
    CHECK(file.tensors().empty());
    CHECK(file.metadata().empty());
    CHECK(file.find("w") == nullptr);
}

TEST_CASE("safetensors: round trips keep every bit") {
    const temporary_folder folder;
    for (const long n : {0L, 1L, 7L, 4095L, 4096L, 4097L, 10'000L}) {
        CAPTURE(n);
        const auto size = static_cast<std::size_t>(n);
        auto f = random_bits<float>(size, 1);
        auto d = random_bits<double>(size, 2);
        auto b = random_bits<bf16>(size, 3);
        if (n > 5) {
            f[0] = std::numeric_limits<float>::infinity();
            f[1] = -0.0F;
            f[2] = std::numeric_limits<float>::denorm_min();
            f[3] = std::bit_cast<float>(0x7fa12345U);  // a signalling NaN
            b[4] = bf16::from_bits(0x7f81);
        }
        safetensors_writer writer;
        writer.add("f", {n}, all(f));
        writer.add("d", {1, n, 1}, all(d));
        writer.add("b", {n, 1}, all(b));
        writer.write(folder / "bits");
        const safetensors file(folder / "bits");
        CHECK(same_bits(file.read_as<float>("f"), f));
        CHECK(same_bits(file.read_as<double>("d", {1, n, 1}), d));
        CHECK(same_bits(file.read_as<bf16>("b", {n, 1}), b));
        std::vector<float> into(size);
        file.read("f", std::span(into), {n});
        CHECK(same_bits(into, f));
    }
}

TEST_CASE("safetensors: narrower numbers are widened exactly") {
    const temporary_folder folder;
    std::vector<float> f;
    std::vector<bf16> b;
    for (int i = 0; i < 10'000; ++i) {
        f.push_back(static_cast<float>(i - 5000) * 0.37F);
        b.push_back(bf16(f.back()));
    }
    safetensors_writer writer;
    writer.add("f", {100, 100}, all(f));
    writer.add("b", {100, 100}, all(b));
    writer.write(folder / "wide");
    const safetensors file(folder / "wide");
    const auto float_of_b = file.read_as<float>("b");
    const auto double_of_b = file.read_as<double>("b");
    const auto double_of_f = file.read_as<double>("f");
    REQUIRE(float_of_b.size() == 10'000);
    REQUIRE(double_of_b.size() == 10'000);
    REQUIRE(double_of_f.size() == 10'000);
    for (std::size_t i = 0; i < 10'000; ++i) {
        CHECK(float_of_b[i] == decode(b[i]));
        CHECK(double_of_b[i] == static_cast<double>(decode(b[i])));
        CHECK(double_of_f[i] == static_cast<double>(f[i]));
    }
}

TEST_CASE("safetensors: what is listed is what was written, in the order of the bytes") {
    const temporary_folder folder;
    const std::vector<float> none, three{1, 2, 3}, five{5};
    const std::vector<double> one{4};
    safetensors_writer writer;
    writer.add("b", {3}, all(three));
    writer.add("a", {0, 7}, all(none));
    writer.add("z", {1, 1}, all(one));
    writer.add("", {}, all(five));
    writer.metadata("k", "v");
    writer.metadata("", "");
    writer.write(folder / "listed");
    const safetensors file(folder / "listed");
    CHECK(file.path() == folder / "listed");
    CHECK(file.metadata() == std::map<std::string, std::string>{{"", ""}, {"k", "v"}});
    REQUIRE(file.tensors().size() == 4);
    CHECK(file.tensors()[0].name == "z");
    CHECK(file.tensors()[1].name == "");
    CHECK(file.tensors()[2].name == "a");
    CHECK(file.tensors()[3].name == "b");
    CHECK(file.at("z").type == dtype::f64);
    CHECK(file.at("a").shape == std::vector<long>{0, 7});
    CHECK(file.at("b").begin == 12);
    CHECK(file.at("b").end == 24);
    CHECK(file.find("c") == nullptr);
    CHECK(file.find("b") == &file.tensors()[3]);
}

TEST_CASE("safetensors: what the format allows opens") {
    const temporary_folder folder;
    const auto path = [&](std::string_view header, std::size_t data) { return put(folder / "allowed", file_bytes(header, data)); };
    CHECK(open_error(path("{}", 0)) == "no error");
    CHECK(open_error(path(" \n\t\r{} \n", 0)) == "no error");
    CHECK(open_error(path(R"({"w":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}})", 4)) == "no error");
    CHECK(open_error(path(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5)) ==
          "no error");
    CHECK(open_error(path(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"b":{"dtype":"C64","shape":[1],"data_offsets":[1,9]}})", 9)) ==
          "no error");
    CHECK(open_error(path(R"({"nul\u0000":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]},"__metadata__":{}})", 0)) ==
          "no error");
    std::string rank = "1";
    for (int i = 1; i < 65; ++i) rank += ",1";
    CHECK(open_error(path("{\"w\":{\"dtype\":\"U8\",\"shape\":[" + rank + "],\"data_offsets\":[0,1]}}", 1)) == "no error");
}

TEST_CASE("safetensors: data may begin anywhere") {
    const temporary_folder folder;
    const std::array<double, 3> numbers{1.5, -2.25, 1e300};
    for (std::size_t blanks = 0; blanks < 64; ++blanks) {
        std::string bytes = file_bytes(R"({"w":{"dtype":"F64","shape":[3],"data_offsets":[0,24]}})" + std::string(blanks, ' '), 0);
        bytes.append(reinterpret_cast<const char*>(numbers.data()), 24);
        CHECK(safetensors(put(folder / "anywhere", bytes)).read_as<double>("w") == std::vector<double>(numbers.begin(), numbers.end()));
    }
}

TEST_CASE("safetensors: bytes of every type can be read, numbers only where nothing is lost") {
    const temporary_folder folder;
    const std::vector<long> ids{3, -1, 7};
    const std::vector<double> d{1};
    const std::vector<float> f{1};
    const std::vector<bf16> b{bf16(1.0F)};
    safetensors_writer writer;
    writer.add("ids", dtype::i64, {3}, std::as_bytes(std::span(ids)));
    writer.add("d", {1}, all(d));
    writer.add("f", {1}, all(f));
    writer.add("b", {1}, all(b));
    writer.write(folder / "types");
    const safetensors file(folder / "types");
    std::vector<long> read(3);
    file.read_bytes("ids", std::as_writable_bytes(std::span(read)));
    CHECK(read == ids);

    const auto error = [&](auto zero, const std::string& name) {
        return file_error_of(folder / "types", [&] { file.read_as<decltype(zero)>(name); });
    };
    CHECK(error(0.0F, "ids") == "tensor 'ids' is I64, expected F32 or BF16");
    CHECK(error(0.0, "ids") == "tensor 'ids' is I64, expected F64, F32 or BF16");
    CHECK(error(bf16{}, "ids") == "tensor 'ids' is I64, expected BF16");
    CHECK(error(0.0F, "d") == "tensor 'd' is F64, expected F32 or BF16");
    CHECK(error(bf16{}, "f") == "tensor 'f' is F32, expected BF16");
    CHECK(error(bf16{}, "d") == "tensor 'd' is F64, expected BF16");
    CHECK(error(0.0, "d") == "no error");
    CHECK(error(0.0, "f") == "no error");
    CHECK(error(0.0F, "b") == "no error");
}

TEST_CASE("safetensors: a missing tensor, another shape or size is named, and nothing is written") {
    const temporary_folder folder;
    const std::vector<float> numbers{1, 2, 3, 4, 5, 6};
    safetensors_writer writer;
    writer.add("w", {2, 3}, all(numbers));
    writer.write(folder / "w");
    const safetensors file(folder / "w");
    std::vector<float> to(5, -1.0F);
    const auto error = [&](auto f) { return file_error_of(folder / "w", f); };
    CHECK(error([&] { file.read("v", std::span(to)); }) == "tensor 'v' is missing, expected among its 1 tensors");
    CHECK(error([&] { file.read("w", std::span(to)); }) == "tensor 'w' has 6 numbers, expected 5");
    CHECK(error([&] { file.read("w", std::span(to), {5}); }) == "tensor 'w' has shape [2, 3], expected [5]");
    CHECK(error([&] { file.read_as<float>("w", {3, 2}); }) == "tensor 'w' has shape [2, 3], expected [3, 2]");
    CHECK(error([&] { file.read_as<float>("w", {2, 3, 1}); }) == "tensor 'w' has shape [2, 3], expected [2, 3, 1]");
    CHECK(error([&] { file.read_as<float>("w", {6}); }) == "tensor 'w' has shape [2, 3], expected [6]");
    CHECK(error([&] { file.read_bytes("w", std::as_writable_bytes(std::span(to))); }) == "tensor 'w' has 24 bytes, expected 20");
    CHECK(to == std::vector<float>(5, -1.0F));
}

TEST_CASE("safetensors: a file that shrinks after it was opened is an error") {
    const temporary_folder folder;
    const std::vector<float> numbers(1000, 1.0F);
    const std::vector<bf16> halves(1000);
    safetensors_writer writer;
    writer.add("f", {1000}, all(numbers));
    writer.add("b", {1000}, all(halves));
    writer.write(folder / "f");
    const safetensors file(folder / "f");
    std::filesystem::resize_file(folder / "f", 4192);
    const auto error = [&](const char* name) { return file_error_of(folder / "f", [&] { file.read_as<float>(name); }); };
    CHECK(error("f") == "no error");
    CHECK(error("b") == "has shrunk to 4192 bytes, expected 6192 as when it was opened");
    std::filesystem::resize_file(folder / "f", 1000);
    CHECK(error("f") == "has shrunk to 1000 bytes, expected 6192 as when it was opened");
}

TEST_CASE("safetensors: offsets beyond 4 GiB") {
    const temporary_folder folder;
    const auto path = put(folder / "sparse", file_bytes(R"({"big":{"dtype":"U8","shape":[5000000000],"data_offsets":[0,5000000000]},)"
                                                        R"("w":{"dtype":"F32","shape":[2],"data_offsets":[5000000000,5000000008]}})",
                                                        0));
    const auto header = std::filesystem::file_size(path);
    std::filesystem::resize_file(path, header + 5'000'000'008);
    {
        std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
        const std::array<float, 2> numbers{1.5F, -3.0F};
        file.seekp(static_cast<std::streamoff>(header + 5'000'000'000));
        file.write(reinterpret_cast<const char*>(numbers.data()), 8);
    }
    CHECK(safetensors(path).read_as<float>("w", {2}) == std::vector<float>{1.5F, -3.0F});
    CHECK(safetensors(path).at("big").shape == std::vector<long>{5'000'000'000});
}

TEST_CASE("safetensors: one file may be read from several threads") {
    const temporary_folder folder;
    const auto numbers = random_bits<double>(20'000, 1);
    safetensors_writer writer;
    writer.add("d", {20'000}, all(numbers));
    writer.write(folder / "d");
    const safetensors file(folder / "d");
    std::vector<int> same(4, 0);
    std::vector<std::thread> readers;
    const auto reader_of = [&](int& s) {
        for (int i = 0; i < 20; ++i) s += same_bits(file.read_as<double>("d"), numbers) ? 1 : 0;
    };
    for (int& s : same) readers.emplace_back(reader_of, std::ref(s));
    for (auto& reader : readers) reader.join();
    CHECK(same == std::vector<int>(4, 20));
}

TEST_CASE("safetensors_writer: what cannot be a tensor is refused and not kept") {
    const temporary_folder folder;
    const std::vector<float> five(5, 1.0F);
    safetensors_writer writer;
    const std::string prefix = "guild::io::safetensors_writer: ";
    const auto shape_error = [&](const std::vector<long>& shape) {
        return error_of<guild::shape_error>([&] { writer.add("w", shape, all(five)); }, prefix);
    };
    const auto argument_error = [&](auto f) { return error_of<guild::argument_error>(f, prefix); };
    CHECK(shape_error({2, 3}) == "tensor 'w' has 20 bytes, expected 24 for F32 [2, 3]");
    CHECK(shape_error({-5}) == "tensor 'w' has 20 bytes, expected a whole number below 2^60 for F32 [-5]");
    CHECK(shape_error({1L << 62, 4}) == "tensor 'w' has 20 bytes, expected a whole number below 2^60 for F32 [4611686018427387904, 4]");
    CHECK(shape_error({5}) == "no error");
    CHECK(argument_error([&] { writer.add("w", {5}, all(five)); }) == "tensor 'w' was added before, expected another name");
    CHECK(argument_error([&] { writer.add("__metadata__", {5}, all(five)); }) ==
          "tensor '__metadata__' has the name of the metadata, expected another name");
    CHECK(argument_error([&] { writer.add("\xff", {5}, all(five)); }) == "tensor '\\xff': '\\xff' is not UTF-8, expected text");
    CHECK(argument_error([&] { writer.metadata("\xff", ""); }) == "metadata '\\xff': '\\xff' is not UTF-8, expected text");
    CHECK(argument_error([&] { writer.metadata("k", "\xc0\xaf"); }) == "metadata 'k': '\\xc0\\xaf' is not UTF-8, expected text");
    writer.write(folder / "w");
    CHECK(safetensors(folder / "w").tensors().size() == 1);
    CHECK(safetensors(folder / "w").metadata().empty());
}

TEST_CASE("safetensors_writer: an older file is replaced, through a link too, and left as it was by every failure") {
    const temporary_folder folder;
    const std::vector<float> numbers(100'000, 1.0F);
    safetensors_writer small, large;
    small.add("w", {5}, all(numbers).first(5));
    large.add("w", {100'000}, all(numbers));
    small.write(folder / "w");
    const std::string old = contents(folder / "w");

    for (const rlim_t limit : {0UL, 8UL, 100UL, 4096UL, 399'999UL}) {
        std::string error;
        {
            const file_size_limit full(limit);
            error = file_error_of(folder / "w", [&] { large.write(folder / "w"); });
        }
        CHECK(error == "cannot write it: File too large");
        CHECK(contents(folder / "w") == old);
        CHECK(files_in(folder.path) == 1);
    }
    std::filesystem::create_symlink("w", folder / "link");
    large.write(folder / "link");
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(safetensors(folder / "w").read_as<float>("w") == numbers);
    CHECK(files_in(folder.path) == 2);
}

TEST_CASE("safetensors_writer: data begin at the first multiple of 64 bytes behind the header, however long that is") {
    const temporary_folder folder;
    const std::string around = R"({"__metadata__":{"k":""}})";
    for (std::size_t n = 0; n < 66; ++n) {
        CAPTURE(n);
        safetensors_writer writer;
        writer.metadata("k", std::string(n, 'x'));
        writer.write(folder / "w");
        CHECK(std::filesystem::file_size(folder / "w") == (8 + around.size() + n + 63) / 64 * 64);
    }
}

TEST_CASE("safetensors_writer: no header that a reader would refuse for its length") {
    if (test::few) return;  // 100 million characters to look at, twice
    const temporary_folder folder;
    safetensors_writer writer;
    const std::string around = R"({"__metadata__":{"k":""}})";  // blanks behind it bring the whole to 56 beyond a multiple of 64: 99 999 992 would do
    writer.metadata("k", std::string(99'999'992 + 1 - around.size(), 'x'));
    CHECK(file_error_of(folder / "w", [&] { writer.write(folder / "w"); }) == "its header would have 100000056 bytes, expected at most 100000000");
    CHECK(files_in(folder.path) == 0);
}

TEST_CASE("safetensors_writer: places that cannot be written") {
    const temporary_folder folder;
    safetensors_writer writer;
    const auto error = [&](const std::filesystem::path& path) { return file_error_of(path, [&] { writer.write(path); }); };
    put(folder / "file", "x");
    CHECK(error(folder / "missing" / "w") == "cannot open its folder: No such file or directory");
    CHECK(error(folder / "file" / "w") == "cannot look at it: Not a directory");
    std::filesystem::create_symlink("loop", folder / "loop");
    CHECK(error(folder / "loop") == "cannot look at it: Too many levels of symbolic links");
    std::filesystem::remove(folder / "loop");
    CHECK(error(folder.path) == "is a directory, pipe or device, expected a regular file or none");
    // Copies of /dev/full and of a pipe, in the folder: the real one would be lost if it were not refused.
    const bool device = ::mknod((folder / "full").c_str(), S_IFCHR | 0666, ::makedev(1, 7)) == 0;
    if (device) {
        CHECK(error(folder / "full") == "is a directory, pipe or device, expected a regular file or none");
        CHECK(std::filesystem::is_character_file(folder / "full"));
        std::filesystem::remove(folder / "full");
    }
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(error(folder / "pipe") == "is a directory, pipe or device, expected a regular file or none");
    CHECK(std::filesystem::is_fifo(folder / "pipe"));
    std::filesystem::remove(folder / "pipe");
    CHECK(contents(folder / "file") == "x");
    CHECK(files_in(folder.path) == 1);

    std::filesystem::create_directory(folder / "closed");
    REQUIRE(::chmod((folder / "closed").c_str(), 0555) == 0);
    const bool root = ::geteuid() == 0;
    if (!root || ::seteuid(65534) == 0) {  // root may write anywhere
        const std::string refused = error(folder / "closed" / "w");
        if (root) REQUIRE(::seteuid(0) == 0);
        CHECK(refused == "cannot create a temporary file beside it: Permission denied");
    }
    CHECK(files_in(folder / "closed") == 0);
}

TEST_CASE("safetensors_writer: a file in the working folder") {
    const temporary_folder folder;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path);
    safetensors_writer{}.write("here");
    const bool opens = open_error("here") == "no error";
    std::filesystem::current_path(before);
    CHECK(opens);
    CHECK(files_in(folder.path) == 1);
}

static_assert(std::is_nothrow_move_constructible_v<safetensors> && !std::is_copy_constructible_v<safetensors>);
static_assert(guild::io::holds<double>(dtype::f32) && !guild::io::holds<float>(dtype::f64) && !guild::io::holds<float>(dtype::f16));
