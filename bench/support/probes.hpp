#pragma once
#include <guild/config.hpp>

#include <vector>

#include <support/limits.hpp>
#include <support/support.hpp>

namespace bench {

/// What the machine can do, asked once in every round of a benchmark: medians.
class probes {
public:
    probes(int threads, const char* multiplies) : threads_(threads), multiplies_(multiplies) {}
    void sample() {
        peak_.push_back(limits::flops(threads_, multiplies_));
        bandwidth_.push_back(limits::bandwidth(threads_));
    }
    double peak() const { return median(peak_); }            ///< operations a second
    double bandwidth() const { return median(bandwidth_); }  ///< bytes a second

private:
    int threads_;
    const char* multiplies_;
    std::vector<double> peak_, bandwidth_;
};

/// The work of a layer's experts, of which those that are routed get `count` rows; shared experts count as S that get all T. `bytes`: of one weight.
inline std::vector<limits::work> work_of(const guild::config& c, const std::vector<long>& count, long T, double bytes) {
    std::vector<limits::work> all;
    for (const long rows : count) all.push_back(limits::expert_work(rows, c.hidden, c.expert_hidden, bytes));
    const int S = c.shared_hidden > 0 ? 1 : c.shared_experts;
    for (int s = 0; s < S; ++s) all.push_back(limits::expert_work(T, c.hidden, c.shared_width() / S, bytes));
    return all;
}

}  // namespace bench
