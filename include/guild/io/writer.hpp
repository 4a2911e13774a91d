#pragma once
#include <guild/io/header.hpp>
#include <guild/io/output_file.hpp>

#include <functional>

namespace guild::inline v0::io {

/// Collects tensors and metadata, then writes them as one safetensors file. Data are borrowed: they must live until the last write.
/// Wider types come first in the file, then names in ascending order, and the data begin at a multiple of 64 bytes: the same
/// bytes for the same contents, in whatever order they were added.
class safetensors_writer {
public:
    /// A row-major tensor. shape_error if data does not have the size of the shape; argument_error for a name that was added
    /// before, is reserved, or is not UTF-8.
    template <number T> void add(const std::string& name, const std::vector<long>& shape, std::span<const T> data) {
        add(name, dtype_of<T>(), shape, std::as_bytes(data));
    }
    /// The same for a tensor of any type, as bytes.
    void add(const std::string& name, dtype type, const std::vector<long>& shape, std::span<const std::byte> data) {
        const std::string who = "guild::io::safetensors_writer: tensor " + detail::in_quotes(name);
        const auto size = bytes(type, shape);
        const std::string expected = size ? std::to_string(*size) : "a whole number below 2^60";
        if (!size || static_cast<std::size_t>(*size) != data.size()) {
            guild::detail::raise<shape_error>(who, " has ", data.size(), " bytes, expected ", expected, " for ", io::name(type), " ",
                                              detail::listed(shape));
        }
        if (name == "__metadata__") guild::detail::raise<argument_error>(who, " has the name of the metadata, expected another name");
        json_text(who, name);
        if (!tensors_.try_emplace(name, type, shape, data).second) {
            guild::detail::raise<argument_error>(who, " was added before, expected another name");
        }
    }
    /// A text beside the tensors; a later one of the same key replaces it. argument_error if either is not UTF-8.
    void metadata(const std::string& key, const std::string& text) {
        const std::string who = "guild::io::safetensors_writer: metadata " + detail::in_quotes(key);
        json_text(who, key);
        json_text(who, text);
        metadata_[key] = text;
    }
    /// Writes the file, which appears complete and on the disk, or not at all: after any error a file that was there before is as
    /// it was, except after the last, which says so: the new file is complete, but the disk failed to take its name. file_error if the system refuses.
    /// Two writers of one name do not mix; the last to end wins. A file that is replaced keeps its mode, and its owner if the system allows it; a new
    /// one has the mode of new files, by umask. A symbolic link stays: the file that it names is written.
    void write(const std::filesystem::path& path) const {
        const auto ordered = in_order();
        const std::string head = header(ordered);
        if (static_cast<long>(head.size()) > detail::most_header_bytes) {
            detail::fail(path, "its header would have ", head.size(), " bytes, expected at most ", detail::most_header_bytes);
        }
        const auto length = static_cast<std::uint64_t>(head.size());
        detail::output_file file(path);
        file.write(std::as_bytes(std::span(&length, 1)));
        file.write(std::as_bytes(std::span(head)));
        for (const auto* item : ordered) file.write(item->second.data);
        file.commit();
    }

private:
    struct tensor {
        tensor(dtype t, const std::vector<long>& s, std::span<const std::byte> d) : type(t), shape(s), data(d) {}
        dtype type;
        std::vector<long> shape;
        std::span<const std::byte> data;
    };
    using entry = std::pair<const std::string, tensor>;

    static std::string json_text(const std::string& who, const std::string& text) {
        const auto json = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);  // leaves out what is not UTF-8
        if (nlohmann::json::parse(json).get_ref<const std::string&>() != text)
            guild::detail::raise<argument_error>(who, ": ", detail::in_quotes(text), " is not UTF-8, expected text");
        return json;
    }
    std::vector<const entry*> in_order() const {
        std::vector<const entry*> ordered;
        for (const entry& item : tensors_) ordered.push_back(&item);
        std::ranges::stable_sort(ordered, std::greater{}, [](const entry* item) { return bits(item->second.type); });
        return ordered;
    }
    /// The header, with blanks at the end that bring 8 + its size to a multiple of 64.
    std::string header(const std::vector<const entry*>& ordered) const {
        std::string text = "{";
        const auto comma = [&] { return text.size() > 1 ? "," : ""; };
        if (!metadata_.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata_).dump();
        std::size_t begin = 0;
        for (const auto* item : ordered) {
            const auto& [type, shape, data] = item->second;
            const std::size_t end = begin + data.size();
            text += comma() + nlohmann::json(item->first).dump() + ":{\"dtype\":\"";
            text.append(io::name(type)).append("\",\"shape\":").append(nlohmann::json(shape).dump());
            text.append(",\"data_offsets\":[").append(std::to_string(begin)).append(",").append(std::to_string(end)).append("]}");
            begin = end;
        }
        text += "}";
        text.append((64 - (8 + text.size()) % 64) % 64, ' ');
        return text;
    }

    std::map<std::string, tensor> tensors_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace guild::inline v0::io
