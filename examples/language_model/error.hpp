#pragma once
#include <stdexcept>

namespace language_model {

/// Something that the user gave cannot be used: the program prints the sentence and ends with exit code 2.
struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace language_model
