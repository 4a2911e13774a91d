#pragma once
#include <guild/core/error.hpp>
#include <guild/core/rank.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// Reference files, tests/golden: a case is a map of text and tensors by name. What is missing or malformed is an error that names file
/// and entry, so that a test cannot pass by comparing nothing. Passive experts may stand in any order in a file (`null_experts`): ids and whatever
/// has an entry for each expert are read in the order of guild::passive.
namespace golden {

class file {
public:
    explicit file(const std::string& path);
    file(file&&) noexcept;
    ~file();

    const std::string& name() const { return name_; }
    std::vector<std::string> tensors() const;
    bool has(const std::string& tensor) const;
    std::vector<long> shape(const std::string& tensor) const;

    // ---- metadata ----
    bool metadata_has(const std::string& key) const;
    const std::string& text(const std::string& key) const;
    double number(const std::string& key) const;
    int integer(const std::string& key) const;
    bool flag(const std::string& key) const;
    /// Between blanks.
    std::vector<std::string> words(const std::string& key) const;

    // ---- tensors ----
    /// F32 or F64, exact.
    std::vector<double> numbers(const std::string& tensor) const;
    /// The same in S: exact in double, rounded to float.
    template <class S> std::vector<S> numbers_as(const std::string& tensor) const {
        std::vector<S> list;
        for (const double v : numbers(tensor)) list.push_back(static_cast<S>(v));
        return list;
    }
    /// I64.
    std::vector<int> integers(const std::string& tensor) const;
    /// BF16 or F16, as they are stored.
    std::vector<std::uint16_t> bits16(const std::string& tensor) const;
    /// Of any type, as they are stored.
    std::vector<std::uint8_t> bytes(const std::string& tensor) const;
    /// BOOL, or U8 that is 0 or 1.
    std::vector<bool> flags(const std::string& tensor) const;

    [[noreturn]] void fail(const std::string& what) const { throw guild::error("golden: " + name_ + ": " + what); }

private:
    struct contents;
    void order_passive();
    /// What is read of a tensor, its experts in their order.
    template <class T> std::vector<T> in_order(const std::string& tensor, std::vector<T> read) const;
    std::string name_;
    std::vector<long> order_;  ///< [E] the file's id of each expert, routed and passive; empty where they are the same
    std::unique_ptr<contents> in_;
};

/// max |a - b| / max |b|, the measure of all stated tolerances; infinite where one is not finite or lengths differ, 0 for equal zeros.
template <class S> double deviation(const S* a, std::size_t size, const std::vector<double>& b) {
    double most = 0, scale = 0;
    for (std::size_t i = 0; i < b.size() && i < size; ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
        most = difference <= most ? most : difference;  // NaN stays
        scale = std::max(scale, std::abs(b[i]));
    }
    if (size != b.size() || !std::isfinite(most)) return guild::infinity<double>;
    return most == 0 ? 0 : most / scale;
}

}  // namespace golden
