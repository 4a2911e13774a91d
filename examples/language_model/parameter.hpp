#pragma once
#include "linear.hpp"

#include <string>

namespace language_model {

/// One tensor under the name that DeepSeek's checkpoints give it: a matrix [rows, cols], or a vector [cols] where rows is 0.
template <class S> struct parameter {
    std::string name;
    S* data;
    long rows, cols;
    long size() const { return std::max(rows, 1L) * cols; }
};

/// All tensors of a model in a fixed order. Weights and gradients are listed by the same functions, so that number i of one list
/// belongs to number i of the other.
template <class S> struct parameters : std::vector<parameter<S>> {
    void add(std::string name, S* data, long rows, long cols) { this->push_back({std::move(name), data, rows, cols}); }
    long count() const {
        long n = 0;
        for (const auto& p : *this) n += p.size();
        return n;
    }
};

}  // namespace language_model
