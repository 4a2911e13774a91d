#pragma once
#include <guild/core/view.hpp>

#include <cstddef>
#include <vector>

namespace guild::inline v0 {

/// Memory for a matrix whose size changes from call to call: it grows and never shrinks, so asking for no more than before
/// does not allocate. Growing does not keep the contents.
template <class T> class buffer {
public:
    /// [rows, cols], contents unspecified.
    view<T> shape(long rows, long cols) {
        const auto size = static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols);
        if (data_.size() < size) {
            (data_.clear)();
            data_.resize(size);
        }
        rows_ = rows, cols_ = cols;
        return {data_.data(), rows, cols};
    }
    /// The matrix of the last shape.
    view<T> all() { return {data_.data(), rows_, cols_}; }
    /// The same, to read.
    view<const T> all() const { return {data_.data(), rows_, cols_}; }
    /// The numbers; valid until shape asks for more.
    T* data() { return data_.data(); }
    /// The same, to read.
    const T* data() const { return data_.data(); }
    /// Number i in memory.
    T& operator[](long i) { return data_[static_cast<std::size_t>(i)]; }
    /// The same, to read.
    const T& operator[](long i) const { return data_[static_cast<std::size_t>(i)]; }

private:
    std::vector<T> data_;
    long rows_ = 0, cols_ = 0;
};

}  // namespace guild::inline v0
