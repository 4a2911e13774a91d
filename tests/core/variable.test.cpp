#include <guild/core/random.hpp>
#include <guild/core/variable.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

using guild::dual, guild::recording, guild::scratch, guild::variable;

namespace {
using numbers = std::vector<double>;

/// n operations on random earlier numbers, most of which stay in [-2, 2].
template <class S> S program(const std::vector<S>& x, int n, int seed) {
    std::vector<S> all(x);
    const auto draw = [&](int stream, int i) { return guild::uniform(static_cast<unsigned long long>(seed), stream, 0, i); };
    for (int i = 0; i < n; ++i) {
        const S a = all[static_cast<std::size_t>(draw(0, i) * static_cast<double>(all.size()))];
        const S b = all[static_cast<std::size_t>(draw(1, i) * static_cast<double>(all.size()))];
        switch (static_cast<int>(draw(2, i) * 8)) {
            case 0: all.push_back((a + b) / 2); break;
            case 1: all.push_back(a - 0.5 * b); break;
            case 2: all.push_back(guild::tanh(a * b)); break;
            case 3: all.push_back(a / (1 + b * b)); break;
            case 4: all.push_back(guild::sin(a) + S(0.1)); break;
            case 5: all.push_back(a < b ? guild::exp(-a * a) : -b); break;
            case 6: all.push_back((guild::max)(a, b) * 0.9); break;
            default: all.push_back(a), all.back() *= 0.7, all.back() += b, all.back() -= a * a / 8;
        }
    }
    S sum(0);
    for (const S& s : all) sum += s;
    return sum;
}
numbers gradient(const numbers& x, int n, int seed, scratch& memory) {
    memory.reset();
    recording<double> notes(memory);
    std::vector<variable<double>> leaves;
    for (const double v : x) leaves.push_back(notes.leaf(v));
    const auto y = program(leaves, n, seed);
    notes.gradients();
    notes.by(y) = 1;
    notes.sweep();
    numbers g;
    for (const auto& l : leaves) g.push_back(notes.gradient(l));
    return g;
}
numbers some(int n, int seed) {
    numbers x;
    for (int i = 0; i < n; ++i) x.push_back(guild::normal(static_cast<unsigned long long>(seed), 9, 0, i));
    return x;
}
void check(int leaves, int operations, int seed, scratch& memory) {
    const numbers x = some(leaves, seed), g = gradient(x, operations, seed, memory);
    std::vector<dual<double>> d(x.begin(), x.end());
    double scale = 1;
    for (const double v : g) scale = std::max(scale, std::abs(v));
    for (std::size_t i = 0; i < x.size(); ++i) {
        d[i].d = 1;
        CHECK(std::abs(g[i] - program(d, operations, seed).d) <= 1e-12 * scale);
        d[i].d = 0;
    }
}
}  // namespace

TEST_CASE("recording: one sweep has the gradient that dual numbers have one by one, over many blocks and with memory that was used before") {
    scratch memory;
    for (int seed = 1; seed <= 20; ++seed)
        for (const int operations : {0, 1, 7, 100, 255, 256, 257, 3000}) check(5, operations, seed, memory);
    check(3, 300000, 1, memory);
    check(1, 1, 2, memory);
}
TEST_CASE("recording: constants are not noted, and what is not on the way has no part, whatever its slopes") {
    scratch memory;
    recording<double> notes(memory);
    const auto x = notes.leaf(3), y = notes.leaf(-1);
    const variable<double> c = 2, f = guild::exp(c) * 3 - c / 7;
    CHECK(f.at == 0);
    CHECK(f.v == std::exp(2.) * 3 - 2. / 7);
    CHECK((x + 2).at == x.at);
    CHECK((2 + x - c).at == x.at);
    const auto nothing = guild::log(y) + 1 / (y + 1);  // NaN + infinity
    const auto z = (guild::max)(x * x, nothing * 0 < 1 ? nothing : x);
    notes.gradients();
    notes.by(z) = 1;
    notes.sweep();
    CHECK(notes.by(x) == 6);
    CHECK(notes.by(y) == 0);
}
TEST_CASE("recording: of the thread's own, the one made last; an exception leaves the outer one") {
    scratch a, b;
    recording<double> outer(a);
    const auto x = outer.leaf(2);
    try {
        recording<double> inner(b);
        const auto y = inner.leaf(5);
        CHECK((y * y).at == 2);
        throw std::runtime_error("from inside");
    } catch (const std::runtime_error&) {}
    const auto z = x * x * x;
    std::vector<numbers> seen(4);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            scratch own;
            seen[static_cast<std::size_t>(i)] = gradient(some(4, 1), 2000, 1, own);
        });
    for (auto& t : threads) t.join();
    scratch own;
    const numbers alone = gradient(some(4, 1), 2000, 1, own);
    for (const numbers& s : seen) CHECK(s == alone);
    outer.gradients();
    outer.by(z) = 1;
    outer.sweep();
    CHECK(outer.by(x) == 12);
}
TEST_CASE("recording: second derivatives by variables of dual numbers") {
    using D = dual<double>;
    scratch memory;
    recording<D> notes(memory);
    const auto x = notes.leaf(D(0.3, 1));
    const auto y = exp(x * x);  // y'' = (2 + 4 x^2) y
    notes.gradients();
    notes.by(y) = D(1);
    notes.sweep();
    CHECK(notes.gradient(x).v == doctest::Approx(0.6 * std::exp(0.09)));
    CHECK(notes.gradient(x).d == doctest::Approx((2 + 4 * 0.09) * std::exp(0.09)));
    static_assert(std::is_same_v<guild::real_t<variable<D>>, double>);
}
TEST_CASE("recording: a gradient in float is finite where that in double is") {
    scratch memory;
    recording<float> notes(memory);
    const auto x = notes.leaf(1e-45f);
    const auto y = guild::log(x);
    notes.gradients();
    notes.by(y) = -1;
    notes.sweep();
    CHECK(notes.gradient(x) == -std::numeric_limits<float>::max());
}
