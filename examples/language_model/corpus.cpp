#include "corpus.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <system_error>

namespace language_model {

namespace {

constexpr std::size_t largest_file = std::size_t(1) << 30;

std::vector<std::string> words(const std::string& text) {
    std::vector<std::string> out(1);
    for (const char c : text) {
        if (std::isspace(static_cast<unsigned char>(c)) == 0) out.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        else if (!out.back().empty()) out.emplace_back();
    }
    if (out.back().empty()) out.pop_back();
    return out;
}

std::set<std::string> sequences(const std::string& text) {
    constexpr std::size_t length = 8;
    const auto w = words(text);
    std::set<std::string> out;
    for (std::size_t i = 0; i + length <= w.size(); ++i) {
        std::string s;
        for (std::size_t k = i; k < i + length; ++k) s += w[k] + ' ';
        out.insert(std::move(s));
    }
    return out;
}

std::vector<document> read_all(const std::vector<std::string>& files) {
    std::vector<document> out;
    for (const auto& f : files) out.push_back(read_document(f));
    return out;
}

}  // namespace

document read_document(const std::filesystem::path& file) {
    const auto fail = [&](const std::string& why) { throw usage_error("cannot read the text " + file.string() + ": " + why); };
    std::error_code ignored;
    if (std::filesystem::is_directory(file, ignored)) fail("it is a directory");
    errno = 0;
    std::ifstream in(file, std::ios::binary);
    if (!in) fail(errno != 0 ? std::strerror(errno) : "it cannot be opened");
    document d{file.filename().string(), {}};
    char buffer[1 << 16];
    while (in.read(buffer, sizeof buffer), in.gcount() > 0) {
        d.text.append(buffer, static_cast<std::size_t>(in.gcount()));
        if (d.text.size() > largest_file) fail("it is larger than 1 GiB");
    }
    if (in.bad()) fail("reading it failed");
    if (d.text.empty()) fail("it is empty");
    return d;
}

double overlap(const document& a, const document& b) {
    const auto mine = sequences(a.text), theirs = sequences(b.text);
    std::size_t shared = 0;
    for (const auto& s : mine) shared += theirs.count(s);
    return mine.empty() ? 0 : static_cast<double>(shared) / static_cast<double>(mine.size());
}

corpus licences(const std::filesystem::path& folder) {
    std::error_code error;
    std::vector<document> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
        if (entry.is_regular_file(error) && !entry.is_symlink(error)) all.push_back(read_document(entry.path()));
    if (all.empty()) throw usage_error("there are no licence texts in " + folder.string() + ": give a text of your own with --text FILE");
    std::sort(all.begin(), all.end(),
              [](const document& a, const document& b) { return a.text.size() != b.text.size() ? a.text.size() > b.text.size() : a.name < b.name; });
    corpus c;
    std::vector<document> kept;
    for (auto& d : all) {
        duplicate worst{d.name, {}, 0};
        for (const auto& k : kept)
            if (const double share = overlap(d, k); share > worst.share) worst = {d.name, k.name, share};
        if (worst.share > 0.5) c.left_out.push_back(worst);
        else kept.push_back(std::move(d));
    }
    std::sort(kept.begin(), kept.end(), [](const document& a, const document& b) { return a.name < b.name; });
    for (auto& d : kept) (d.name == "Apache-2.0" || d.name == "Artistic" ? c.held_out : c.training).push_back(std::move(d));
    if (c.training.empty() || c.held_out.empty())
        throw usage_error(folder.string() + " holds none of Apache-2.0 and Artistic, or nothing else: give a text of your own with --text FILE");
    return c;
}

corpus from_files(const std::vector<std::string>& text, const std::vector<std::string>& held_out) {
    corpus c{read_all(text), read_all(held_out), {}};
    if (!held_out.empty()) return c;
    for (auto& d : c.training) {
        const std::size_t cut = d.text.size() - d.text.size() / 10;
        c.held_out.push_back({"the last tenth of " + d.name, d.text.substr(cut)});
        d.text.resize(cut);
    }
    return c;
}

std::size_t size(const std::vector<document>& all) {
    std::size_t n = 0;
    for (const auto& d : all) n += d.text.size();
    return n;
}

windows::windows(const std::vector<document>& all, int length, const std::string& what) : all_(&all), length_(length) {
    std::size_t longest = 0;
    for (const auto& d : all) {
        longest = std::max(longest, d.text.size());
        count_ += std::max(0L, static_cast<long>(d.text.size()) - length);
    }
    if (count_ == 0)
        throw usage_error("the " + what + " text is too short: its longest part has " + std::to_string(longest) + " bytes, at least " +
                          std::to_string(length + 1) + " are needed");
}

std::span<const std::uint8_t> windows::at(long i) const {
    for (const auto& d : *all_) {
        const long here = std::max(0L, static_cast<long>(d.text.size()) - length_);
        if (i < here) return {reinterpret_cast<const std::uint8_t*>(d.text.data()) + i, static_cast<std::size_t>(length_) + 1};
        i -= here;
    }
    return {};
}

std::vector<std::span<const std::uint8_t>> windows::consecutive() const {
    std::vector<std::span<const std::uint8_t>> out;
    for (const auto& d : *all_)
        for (long i = 0; i + length_ < static_cast<long>(d.text.size()); i += length_)
            out.emplace_back(reinterpret_cast<const std::uint8_t*>(d.text.data()) + i, static_cast<std::size_t>(length_) + 1);
    return out;
}

}  // namespace language_model
