#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace language_model {

/// What the command line says.
struct options {
    std::vector<std::string> text, held_out;
    std::string model = "both";  ///< deepseek_moe, gshard or both
    long steps = 640;            ///< of each model
    double minutes = 0;          ///< of the first model, instead of steps; 0: steps
    std::uint64_t seed = 1;
    int threads = 0;  ///< 0: as many as the machine has
    bool tied = false;
    std::string out = "language_model_out";
    std::string json;
    std::string prompt = "The License";
    long length = 400;  ///< bytes to generate
    double temperature = 0.7;
};

/// Reads the command line. Returns true if the program shall go on, false if it was asked for help only (now printed).
/// Throws usage_error with one sentence.
bool parse(int count, char** words, options& o);

}  // namespace language_model
