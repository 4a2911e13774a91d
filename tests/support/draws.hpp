#pragma once
#include <guild/core/random.hpp>
#include <support/few.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

namespace test {

/// Random numbers of a case: a function of its seed alone.
class draws {
public:
    explicit draws(unsigned long long seed) : seed_(guild::mix(seed)) {}

    unsigned long long seed() const { return seed_; }
    double real() { return guild::uniform(seed_, 100, 0, next_++); }
    double normal() { return guild::normal(seed_, 101, 0, next_++); }
    bool chance(double p) { return real() < p; }
    /// One of least .. most.
    int integer(int least, int most) { return least + static_cast<int>(real() * (most - least + 1)); }
    int integer(std::pair<int, int> range) { return integer(range.first, range.second); }
    std::vector<int> permutation(int n) {
        std::vector<int> order(static_cast<std::size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        for (int i = n - 1; i > 0; --i) std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(integer(0, i))]);
        return order;
    }
    /// T names of tokens, distinct.
    std::vector<long> tokens(int T) {
        std::vector<long> token;
        for (int t = 0; t < T; ++t) token.push_back(long{integer(0, 99'999'999)} * 16 + t);
        return token;
    }
    /// Each of them true with probability p.
    std::array<bool, 16> flags(double p) {
        std::array<bool, 16> f{};
        for (bool& one : f) one = chance(p);
        return f;
    }
    std::vector<double> normals(long n, double scale = 1) {
        std::vector<double> v;
        for (long i = 0; i < n; ++i) v.push_back(scale * normal());
        return v;
    }

private:
    unsigned long long seed_;
    long next_ = 0;
};

/// Seed of a sample: the environment variable GUILD_TEST_SEED, else 1. Printed once, and whether the sample is cut.
inline unsigned long long first_seed() {
    static const unsigned long long seed = [] {
        const char* const given = std::getenv("GUILD_TEST_SEED");
        const unsigned long long s = given ? std::strtoull(given, nullptr, 10) : 1;
        std::printf("GUILD_TEST_SEED=%llu%s\n", s, few ? ", GUILD_TEST_FEW" : "");
        return s;
    }();
    return seed;
}

}  // namespace test
