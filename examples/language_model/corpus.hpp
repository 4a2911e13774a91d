#pragma once
#include "error.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace language_model {

struct document {
    std::string name;
    std::string text;
};
/// A text that was left out because another one says most of it too.
struct duplicate {
    std::string name, of;
    double share;  ///< of its word sequences
};
struct corpus {
    std::vector<document> training, held_out;
    std::vector<duplicate> left_out;
};

/// The whole file. Throws usage_error if it cannot be read or holds nothing.
document read_document(const std::filesystem::path& file);

/// The share of the sequences of eight words of `a` (upper and lower case alike) that occur in `b` too.
double overlap(const document& a, const document& b);

/// The licence texts that every Debian system carries. Links are skipped; of two texts of which one repeats more than half of the
/// other's word sequences only the longer is kept; Apache-2.0 and Artistic are held out whole (no other licence repeats them), the rest
/// is for training. Throws usage_error if there are no such texts.
corpus licences(const std::filesystem::path& folder = "/usr/share/common-licenses");

/// The user's files: for training all of `text`, held out all of `held_out`; if that is empty, the last tenth of every file.
corpus from_files(const std::vector<std::string>& text, const std::vector<std::string>& held_out);

/// Bytes of all documents together.
std::size_t size(const std::vector<document>& all);

/// The stretches of `length` + 1 bytes of some documents: what a model reads and, one byte later, what it has to guess.
class windows {
public:
    /// Borrows the documents. Throws usage_error, with `what` in the sentence, if none of them has length + 1 bytes.
    windows(const std::vector<document>& all, int length, const std::string& what);

    int length() const { return length_; }
    /// All stretches, at every byte; number i < count().
    long count() const { return count_; }
    std::span<const std::uint8_t> at(long i) const;
    /// Stretches that follow each other without overlap, as many as fit in each document.
    std::vector<std::span<const std::uint8_t>> consecutive() const;

private:
    const std::vector<document>* all_;
    int length_;
    long count_ = 0;
};

/// Sequences for one step: read [B N] and the bytes to guess [B N].
struct examples {
    std::vector<std::uint8_t> bytes, target;
    void clear() { bytes.clear(), target.clear(); }
    void add(std::span<const std::uint8_t> window) {
        bytes.insert(bytes.end(), window.begin(), window.end() - 1);
        target.insert(target.end(), window.begin() + 1, window.end());
    }
};

}  // namespace language_model
