#pragma once
#include "corpus.hpp"
#include "options.hpp"
#include "outcome.hpp"

namespace language_model {

/// A model's results and the text it wrote.
struct result {
    outcome measured;
    std::string text{};  ///< what follows the prompt
    std::string file{};  ///< the model
    long file_bytes = 0;
    long compared_logits = 0;  ///< computed by the model and by the one read back from the file, bit for bit the same
};

/// Which texts are for training, which are held out, which are left out and why.
std::string describe(const corpus& c);

/// The results side by side.
std::string table(const std::vector<result>& all);

/// Everything that was measured, as JSON.
std::string json(const options& o, const corpus& c, const std::vector<result>& all);

/// Text as it can be shown: printable characters and line ends; everything else as '?'.
std::string printable(const std::string& text);

}  // namespace language_model
