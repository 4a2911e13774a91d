// Any pool of yours will do: an executor is one function, `run`, and no result depends on it. Here std::async and OpenMP.
#include <guild/guild.hpp>

#include <cstring>
#include <future>
#include <iostream>

/// A new thread for each quarter of [0, n). get() rethrows what f threw; a future that is not asked waits for its thread all the same.
struct futures {
    static constexpr int size() { return 4; }  // may be left out: into how many shares work is cut
    template <class F> void run(long n, F&& f) const {
        std::vector<std::future<void>> quarters;
        for (long i = 0; i < 4; ++i)
            if (const long begin = n * i / 4, end = n * (i + 1) / 4; begin < end)
                quarters.push_back(std::async(std::launch::async, std::ref(f), begin, end));
        for (std::future<void>& quarter : quarters) quarter.get();
    }
};

#ifdef _OPENMP
struct openmp {
    template <class F> void run(long n, F&& f) const {
        std::exception_ptr failure;  // the parallel region lets no exception out
        const long ranges = n < 64 ? n : 64;
#pragma omp parallel for schedule(dynamic)
        for (long i = 0; i < ranges; ++i) {
            try {
                f(n * i / ranges, n * (i + 1) / ranges);
            } catch (...) {
#pragma omp critical
                failure = std::current_exception();
            }
        }
        if (failure) std::rethrow_exception(failure);
    }
};
#endif

struct tiny : guild::model<guild::segmented{.hidden = 256, .ffn_hidden = 512, .experts = 8, .top_k = 2, .segments = 4, .shared = 1}> {};
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main() {
    const auto weights = guild::random_weights<tiny>(/*seed=*/1);
    matrix x = matrix::Random(64, 256), serial(64, 256), y(64, 256);
    guild::workspace<float> workspace;
    guild::layer<tiny>{weights}.forward(x, serial, workspace);
    const auto compare = [&](const char* name, guild::executor auto executor) {
        guild::layer{weights, guild::backend::eigen{executor}}.forward(x, y.setZero(), workspace);
        const bool same = std::memcmp(y.data(), serial.data(), sizeof(float) * 64 * 256) == 0;
        std::cout << name << (same ? "the same bits as serial\n" : "OTHER BITS than serial\n");
        return same;
    };
    bool good = compare("std::async: ", futures{});
#ifdef _OPENMP
    good = compare("OpenMP:     ", openmp{}) && good;
#else
    std::cout << "OpenMP:     left out, this program was compiled without it\n";
#endif
    return good ? 0 : 1;
}
