#include <guild/io/safetensors.hpp>

#include <support/golden.hpp>

#include <cstdint>
#include <filesystem>
#include <span>

namespace golden {

namespace {
namespace io = guild::io;

template <class T> std::vector<T> raw(const file& f, const io::safetensors& in, const std::string& tensor, io::dtype type) {
    const io::tensor_info& t = in.at(tensor);
    if (t.type != type) f.fail("tensor '" + tensor + "' is " + std::string(io::name(t.type)) + ", expected " + std::string(io::name(type)));
    std::vector<T> list(static_cast<std::size_t>(t.end - t.begin) / sizeof(T));
    in.read_bytes(tensor, std::as_writable_bytes(std::span(list)));
    return list;
}
}  // namespace

struct file::contents {
    io::safetensors tensors;
};
file::file(const std::string& path) : name_(std::filesystem::path(path).stem()), in_(new contents{io::safetensors(path)}) {}
file::file(file&&) noexcept = default;
file::~file() = default;

std::vector<std::string> file::tensors() const {
    std::vector<std::string> names;
    for (const auto& t : in_->tensors.tensors()) names.push_back(t.name);
    return names;
}
bool file::has(const std::string& tensor) const { return in_->tensors.find(tensor) != nullptr; }
std::vector<long> file::shape(const std::string& tensor) const { return in_->tensors.at(tensor).shape; }

bool file::metadata_has(const std::string& key) const { return in_->tensors.metadata().contains(key); }
const std::string& file::text(const std::string& key) const {
    const auto found = in_->tensors.metadata().find(key);
    if (found == in_->tensors.metadata().end()) fail("metadata '" + key + "' is missing");
    return found->second;
}
double file::number(const std::string& key) const {
    const std::string& t = text(key);
    std::size_t used = 0;
    double value = 0;
    try {
        value = std::stod(t, &used);
    } catch (const std::logic_error&) { used = 0; }
    if (used == 0 || used != t.size()) fail("metadata '" + key + "' is '" + t + "', expected a number");
    return value;
}
int file::integer(const std::string& key) const {
    const double n = number(key);
    if (n != std::floor(n) || std::abs(n) > 1e9) fail("metadata '" + key + "' is '" + text(key) + "', expected an integer");
    return static_cast<int>(n);
}
bool file::flag(const std::string& key) const {
    const std::string& t = text(key);
    if (t != "True" && t != "False") fail("metadata '" + key + "' is '" + t + "', expected True or False");
    return t == "True";
}
std::vector<std::string> file::words(const std::string& key) const {
    std::vector<std::string> list(1);
    for (const char c : text(key))
        if (c != ' ') list.back() += c;
        else list.emplace_back();
    std::erase(list, "");
    return list;
}
std::vector<double> file::numbers(const std::string& tensor) const { return in_->tensors.read_as<double>(tensor); }
std::vector<int> file::integers(const std::string& tensor) const {
    const auto wide = raw<std::int64_t>(*this, in_->tensors, tensor, io::dtype::i64);
    std::vector<int> list;
    for (const std::int64_t v : wide) list.push_back(static_cast<int>(v));
    return list;
}
std::vector<std::uint16_t> file::bits16(const std::string& tensor) const {
    return raw<std::uint16_t>(*this, in_->tensors, tensor, in_->tensors.at(tensor).type);
}
std::vector<std::uint8_t> file::bytes(const std::string& tensor) const {
    return raw<std::uint8_t>(*this, in_->tensors, tensor, in_->tensors.at(tensor).type);
}
std::vector<bool> file::flags(const std::string& tensor) const {
    const bool truth = in_->tensors.at(tensor).type == io::dtype::boolean;
    const auto bytes = raw<std::uint8_t>(*this, in_->tensors, tensor, truth ? io::dtype::boolean : io::dtype::u8);
    return {bytes.begin(), bytes.end()};
}

}  // namespace golden
