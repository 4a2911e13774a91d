#pragma once
#include <guild/io/dtype.hpp>
#include <guild/io/file.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The header of a safetensors file: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key": "text"}}
namespace guild::inline v0::io {

/// One tensor of a file, row-major.
struct tensor_info {
    std::string name;         ///< as the file writes it
    dtype type{};             ///< of its numbers
    std::vector<long> shape;  ///< [] for a single number
    long begin = 0, end = 0;  ///< its bytes [begin, end), counted from the end of the header
};

namespace detail {

/// The largest header of the published format, in bytes.
inline constexpr long most_header_bytes = 100'000'000;

struct header {
    std::vector<tensor_info> tensors;  ///< in the order of their bytes
    std::vector<std::size_t> by_name;  ///< their indices in ascending order of the names
    std::map<std::string, std::string> metadata;
};

/// Reads a header event by event, so that nothing is built that is not kept, and a name that comes twice is seen.
/// Every event answers true; what does not belong is thrown as a file_error.
class header_reader {
public:
    header_reader(const std::filesystem::path& path, long data_bytes) : path_(path), data_bytes_(data_bytes) {}
    header take() && { return (std::move)(header_); }

    bool null() { return refuse("null"); }
    bool boolean(bool b) { return refuse(b ? "true" : "false"); }
    bool number_integer(std::int64_t n) { return refuse(n == 0 ? "-0" : std::to_string(n)); }
    bool number_float(double, const std::string& text) { return refuse(in_quotes(text)); }
    bool binary(nlohmann::json::binary_t&) { return refuse("binary data"); }
    bool number_unsigned(std::uint64_t n) {
        if (place_ != place::list) return refuse(std::to_string(n));
        if (n > static_cast<std::uint64_t>((std::numeric_limits<long>::max)())) fail_entry(" holds ", n, ", expected whole numbers below 2^63");
        list().push_back(static_cast<long>(n));
        return true;
    }
    bool string(std::string& text) {
        if (place_ == place::metadata) {
            if (!header_.metadata.emplace(key_, (std::move)(text)).second)
                fail(path_, "metadata ", in_quotes(key_), " is there twice, expected once");
            return true;
        }
        if (place_ != place::entry || field_ != 0) return refuse("a string");
        const auto type = dtype_named(text);
        if (!type) fail_entry(" is ", in_quotes(text), ", expected a published one such as F32 or BF16");
        entry_.type = *type;
        return true;
    }
    bool start_object(std::size_t) {
        if (place_ == place::outside) place_ = place::root;
        else if (place_ == place::root && key_ == "__metadata__") {
            if (std::exchange(has_metadata_, true)) fail(path_, "__metadata__ is there twice, expected once");
            place_ = place::metadata;
        } else if (place_ == place::root) {
            place_ = place::entry;
            entry_ = {.name = key_, .type = {}, .shape = {}};
            (offsets_.clear)();
            seen_ = {};
        } else return refuse("an object");
        return true;
    }
    bool key(std::string& text) {
        if (place_ == place::entry) {
            for (field_ = 0; field_ < fields.size() && fields[field_] != text; ++field_) {}
            if (field_ == fields.size()) fail(path_, "tensor ", in_quotes(entry_.name), ": found ", in_quotes(text), ", expected ", expected_fields);
            if (std::exchange(seen_[field_], true)) fail_entry(" is there twice, expected once");
        } else key_ = (std::move)(text);
        return true;
    }
    bool start_array(std::size_t) {
        if (place_ != place::entry || field_ == 0) return refuse("an array");
        place_ = place::list;
        return true;
    }
    bool end_array() {
        place_ = place::entry;
        return true;
    }
    bool end_object() {
        if (place_ == place::root) return finish();
        if (place_ == place::entry) finish_entry();
        place_ = place::root;
        return true;
    }
    bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& e) {
        if (e.id == number_too_large) return refuse(in_quotes(token));
        fail(path_, "the header stops being JSON at its byte ", position, ", after ", in_quotes(token), ", expected JSON in UTF-8");
    }

private:
    enum class place { outside, root, metadata, entry, list };
    static constexpr std::array<std::string_view, 3> fields{"dtype", "shape", "data_offsets"};
    static constexpr int number_too_large = 406;  ///< the number of this error in nlohmann::json
    static constexpr std::string_view expected_fields = "dtype, shape and data_offsets";

    std::vector<long>& list() { return field_ == 1 ? entry_.shape : offsets_; }
    template <class... Parts> [[noreturn]] void fail_entry(const Parts&... parts) const {
        fail(path_, "tensor ", in_quotes(entry_.name), ": ", fields[field_], parts...);
    }
    /// A value that has no business where it stands.
    bool refuse(std::string_view found) const {
        switch (place_) {
            case place::outside: fail(path_, "the header is ", found, ", expected an object");
            case place::root: fail(path_, "tensor ", in_quotes(key_), " is ", found, ", expected an object");
            case place::metadata: fail(path_, "metadata ", in_quotes(key_), " is ", found, ", expected a string");
            case place::entry: fail_entry(" is ", found, ", expected ", field_ == 0 ? "a string" : "an array of whole numbers");
            case place::list: break;
        }
        fail_entry(" holds ", found, ", expected whole numbers");
    }
    void finish_entry() {
        for (field_ = 0; field_ < fields.size(); ++field_) {
            if (!seen_[field_]) fail_entry(" is missing, expected ", expected_fields);
        }
        const auto size = bytes(entry_.type, entry_.shape);
        const std::string what = std::string(name(entry_.type)) + " " + listed(entry_.shape);
        field_ = 1;
        if (!size) fail_entry(" makes ", what, ", expected a whole number of bytes below 2^60");
        field_ = 2;
        if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) fail_entry(" is ", listed(offsets_), ", expected [begin, end]");
        if (offsets_[1] > data_bytes_) fail_entry(" is ", listed(offsets_), ", expected to end within the ", data_bytes_, " bytes of data");
        if (offsets_[1] - offsets_[0] != *size) {
            fail_entry(" is ", listed(offsets_), ", ", offsets_[1] - offsets_[0], " bytes, expected ", *size, " for ", what);
        }
        entry_.begin = offsets_[0];
        entry_.end = offsets_[1];
        header_.tensors.push_back((std::move)(entry_));
    }
    /// Every name once, and the tensors side by side from the first byte of data to the last.
    bool finish() {
        auto& tensors = header_.tensors;
        std::stable_sort(tensors.begin(), tensors.end(),
                         [](const tensor_info& a, const tensor_info& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
        auto& order = header_.by_name;
        order.resize(tensors.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return tensors[a].name < tensors[b].name; });
        for (std::size_t i = 1; i < order.size(); ++i) {
            const std::string& name = tensors[order[i]].name;
            if (name == tensors[order[i - 1]].name) fail(path_, "tensor ", in_quotes(name), " is there twice, expected once");
        }
        long next = 0;
        for (const tensor_info& t : tensors) {
            if (t.begin != next) {
                fail(path_, "tensor ", in_quotes(t.name), " begins at byte ", t.begin, " of the data, expected ", next,
                     ", where the one before it ends");
            }
            next = t.end;
        }
        if (next != data_bytes_) fail(path_, "has ", data_bytes_, " bytes of data, expected ", next, ", where the last tensor ends");
        place_ = place::outside;
        return true;
    }

    const std::filesystem::path& path_;
    long data_bytes_;
    header header_;
    place place_ = place::outside;
    std::string key_;
    std::size_t field_ = 0;
    tensor_info entry_;
    std::vector<long> offsets_;
    std::array<bool, 3> seen_{};
    bool has_metadata_ = false;
};

/// The header of a file with that many bytes of data behind it, every number in it checked. file_error for anything wrong.
/// Memory: a small multiple of the text.
inline header parse_header(std::string_view text, long data_bytes, const std::filesystem::path& path) {
    if (const auto nul = text.find('\0'); nul != text.npos) {  // where the parser would stop reading
        fail(path, "the header has a NUL byte, its byte ", nul + 1, ", expected JSON in UTF-8");
    }
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == text.npos || text[first] != '{') {
        fail(path, "the header begins with ", first == text.npos ? "nothing" : in_quotes(text.substr(first, 1)), ", expected '{'");
    }
    header_reader reader(path, data_bytes);
    nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
    return (std::move)(reader).take();
}

}  // namespace detail
}  // namespace guild::inline v0::io
