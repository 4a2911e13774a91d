#pragma once
#include <support/golden.hpp>

#include <sstream>
#include <string>
#include <vector>

namespace golden {

/// What the comparison of a case found: the largest deviation of each scalar, and a sentence for whatever does not hold.
class report {
public:
    template <class... Parts> void check(bool holds, const Parts&... what) {
        if (holds) return;
        std::ostringstream s;
        s << in_;
        (s << ... << what);
        failures.push_back(s.str());
    }
    template <class S>
    void compare(const std::string& tensor, const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
        const double d = deviation(found.data(), found.size(), expected);
        double& most = std::is_same_v<S, float> ? worst_float : worst_double;
        most = std::max(most, d);
        check(d <= tolerance, tensor, " is off by ", d, ", expected at most ", tolerance);
    }
    /// What is compared from here on, named in front of every sentence.
    void in(std::string what) { in_ = std::move(what) + ": "; }

    double worst_float = 0, worst_double = 0;
    std::vector<std::string> failures, notes;

private:
    std::string in_;
};

/// A case file with the function that compares it; without one, `reason` says why there is none.
struct entry {
    const char* path;
    void (*run)(const file&, report&);
    const char* reason;
};
/// Every case that was compiled in.
std::vector<entry>& entries();
inline bool enter(entry e) {
    entries().push_back(e);
    return true;
}

/// The tables of number formats: those of formats that the library has.
void run_format(const file& f, report& r);
/// Another file that lies among the cases.
void run_nothing(const file& f, report& r);

}  // namespace golden
