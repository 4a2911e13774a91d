#include <golden/report.hpp>

#include <iomanip>
#include <iostream>
#include <map>

namespace golden {

std::vector<entry>& entries() {
    static std::vector<entry> all;
    return all;
}

void run_nothing(const file&, report& r) { r.notes.push_back("belongs to a checkpoint, which is no case of a layer, of routing or of a format"); }

}  // namespace golden

/// golden [NAME...]: runs the cases, or those of these names, prints a line each, the worst deviation of each router, and 'N passed, N failed'.
int main(int count, char** argument) {
    const std::vector<std::string> only(argument + 1, argument + count);
    std::map<std::string, golden::report> routers;
    int passed = 0, failed = 0;
    std::cout << std::setprecision(2);
    for (const golden::entry& e : golden::entries()) {
        std::string name = e.path;
        name = name.substr(name.rfind('/') + 1);
        name = name.substr(0, name.rfind(".safetensors"));
        if (!only.empty() && std::find(only.begin(), only.end(), name) == only.end()) continue;
        golden::report r;
        try {
            if (!e.run) throw guild::error(e.reason);
            const golden::file f(e.path);
            e.run(f, r);
            if (f.metadata_has("router")) {
                golden::report& all = routers[f.text("router")];
                all.worst_float = std::max(all.worst_float, r.worst_float), all.worst_double = std::max(all.worst_double, r.worst_double);
            }
        } catch (const std::exception& problem) { r.failures.push_back(problem.what()); }
        if (r.failures.empty() && !r.notes.empty()) {
            std::cout << "note    " << name << ": " << r.notes[0] << '\n';
            continue;
        }
        ++(r.failures.empty() ? passed : failed);
        std::cout << (r.failures.empty() ? "passed  " : "FAILED  ") << name;
        if (r.worst_double > 0) std::cout << "   double " << r.worst_double << "  float " << r.worst_float;
        std::cout << '\n';
        for (std::size_t i = 0; i < r.failures.size() && i < 10; ++i) std::cout << "        " << r.failures[i] << '\n';
    }
    std::cout << "\nlargest deviation of a tensor, by router\n";
    for (const auto& [router, r] : routers)
        std::cout << "  " << std::left << std::setw(26) << router << " double " << r.worst_double << "  float " << r.worst_float << '\n';
    std::cout << '\n' << passed << " passed, " << failed << " failed\n";
    return failed > 0 || passed == 0 || (!only.empty() && passed < static_cast<int>(only.size()));
}
