#pragma once
#include <chrono>
#include <iostream>
#include <string>

namespace language_model {

/// What the progress line shows. Losses in bits per byte.
struct status {
    const char* model;
    long step, steps;           ///< steps is 0 while it is not known yet
    double training, held_out;  ///< held_out < 0: not measured yet
    double bytes_per_second;
    double busiest;  ///< mean over the layers of the busiest expert's load, as a multiple of the mean load
    bool milestone;  ///< the held-out text was just measured, or the run ends
};

/// One line that renews itself where `out` is a terminal; elsewhere a line per milestone.
class progress {
public:
    explicit progress(std::ostream& out = std::cout);
    void show(const status& s);
    /// Ends the line, so that what follows begins on one of its own.
    void finish();

private:
    std::ostream& out_;
    bool terminal_, open_ = false;
    std::chrono::steady_clock::time_point last_{};
};

/// 12 345 678
std::string grouped(long n);

}  // namespace language_model
