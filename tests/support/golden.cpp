#include <guild/io/safetensors.hpp>

#include <support/golden.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <sstream>

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
file::file(const std::string& path) : name_(std::filesystem::path(path).stem()), in_(new contents{io::safetensors(path)}) {
    if (metadata_has("null_experts")) order_passive();
}
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
void file::order_passive() {
    const std::string known[] = {"zero", "identity", "constant"};  // as guild::passive counts them
    std::vector<std::string> kinds;
    std::stringstream list(text("null_experts"));
    for (std::string kind; std::getline(list, kind, ',');) kinds.push_back(kind);
    const long routed = integer("routed_experts");
    std::vector<long> order;
    for (long e = 0; e < routed; ++e) order.push_back(e);
    for (const std::string& kind : known)
        for (std::size_t i = 0; i < kinds.size(); ++i)
            if (kinds[i] == kind) order.push_back(routed + static_cast<long>(i));
    if (order.size() != static_cast<std::size_t>(routed) + kinds.size())
        fail("null experts '" + text("null_experts") + "' hold one of an unknown kind");
    if (std::is_sorted(order.begin(), order.end())) return;
    const auto split = [&](const char* key) { return metadata_has(key) && !text(key).empty() && integer(key) > 1; };
    if (split("groups") || split("devices"))
        fail("null experts '" + text("null_experts") + "' are not in the order zero, identity, constant, among groups or devices of experts");
    order_ = order;
}
template <class T> std::vector<T> file::in_order(const std::string& tensor, std::vector<T> read) const {
    if (order_.empty()) return read;
    std::string name = tensor;
    if (name.starts_with("dloss.")) name = name.substr(name.find('.', 6) + 1);
    else if (name.starts_with("d.")) name = name.substr(2);
    if (name.ends_with(".float32")) name.resize(name.size() - 8);
    const auto is = [&](auto... names) { return ((name == names) || ...); };
    const long all = static_cast<long>(order_.size()), routed = integer("routed_experts"), size = static_cast<long>(read.size());
    if (is("expert", "given.expert", "trajectory.expert")) {
        for (std::size_t i = 0; i < read.size(); ++i)
            if (const auto at = std::find(order_.begin(), order_.end(), static_cast<long>(read[i])); at != order_.end())
                read[i] = static_cast<T>(at - order_.begin());
        return read;
    }
    const bool rows = is("router.weight", "router.bias", "router.selection_bias", "router.expert_scale", "noise.weight");
    const bool columns = is("logits", "scores", "clean_logits", "mask", "gates", "noise", "trajectory.bias", "trajectory.count");
    const long first = is("experts.constant") ? routed : 0, experts = all - first;
    if (!rows && !columns && first == 0) return read;
    const auto shape = in_->tensors.at(tensor).shape;
    if (shape.empty() || (columns ? shape.back() : shape.front()) != experts) fail("tensor '" + tensor + "' has no entry for each of its experts");
    const long inner = columns ? 1 : size / experts;
    std::vector<T> ordered;
    for (long i = 0; i < size; ++i) {
        const long e = i / inner % experts, begin = (i / inner - e) * inner;
        ordered.push_back(read[static_cast<std::size_t>(begin + (order_[static_cast<std::size_t>(e + first)] - first) * inner + i % inner)]);
    }
    return ordered;
}
std::vector<double> file::numbers(const std::string& tensor) const { return in_order(tensor, in_->tensors.read_as<double>(tensor)); }
std::vector<int> file::integers(const std::string& tensor) const {
    const auto wide = raw<std::int64_t>(*this, in_->tensors, tensor, io::dtype::i64);
    std::vector<int> list;
    for (const std::int64_t v : wide) list.push_back(static_cast<int>(v));
    return in_order(tensor, list);
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
    return in_order(tensor, std::vector<bool>(bytes.begin(), bytes.end()));
}

}  // namespace golden
