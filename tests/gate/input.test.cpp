#include <guild/gate/input.hpp>
#include <guild/gate/run.hpp>

#include <doctest/doctest.h>
#include <support/gate_run.hpp>

#include <cmath>
#include <vector>

using namespace guild;

namespace {
using numbers = std::vector<double>;
using duals = std::vector<dual<double>>;
const double* const none = nullptr;

/// `backward` adds what dual numbers say of sum d_out out.
template <class Input> void exact(const Input& input, const token<double>& t, const numbers& x, const numbers& v, const numbers& d_out) {
    const long H = static_cast<long>(x.size());
    numbers dx(x.size(), 1), dv(v.size(), 2);
    input.backward(t, x.data(), H, v.data(), d_out.data(), dx.data(), dv.data());
    const token<dual<double>> td{
        .index = t.index, .position = t.position, .training = t.training, .seed = t.seed, .draws = t.draws, .draw_streams = t.draw_streams};
    duals xd(x.begin(), x.end()), vd(v.begin(), v.end()), out(x.size());
    const auto slope = [&](dual<double>& at) {
        at.d = 1;
        input.forward(td, xd.data(), H, vd.data(), out.data());
        at.d = 0;
        double sum = 0;
        for (std::size_t h = 0; h < out.size(); ++h) sum += d_out[h] * out[h].d;
        return sum;
    };
    for (std::size_t h = 0; h < x.size(); ++h) CHECK(std::abs(dx[h] - 1 - slope(xd[h])) <= 1e-12 * (1 + std::abs(dx[h])));
    for (std::size_t h = 0; h < v.size(); ++h) CHECK(std::abs(dv[h] - 2 - slope(vd[h])) <= 1e-12 * (1 + std::abs(dv[h])));
}
}  // namespace

TEST_CASE("rms_input: Gemma 4's norm and learned scale, over sqrt(H)") {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const long H = d.number(0, 1, 12);
        numbers x = d.normals(1, H, std::exp(3 * d.normal(4, 0))), out(x.size());
        if (seed % 20 == 0) x.assign(x.size(), 0.0);
        const numbers v = d.normals(2, H), d_out = d.normals(3, H);
        const rms_input input{seed % 3 == 0 ? 0.1 : 1e-6};
        CHECK(rms_input::learned(static_cast<int>(H)) == H);
        input.forward(token<double>{}, x.data(), H, v.data(), out.data());
        double square = 0;
        for (const double a : x) square += a * a;
        const double size = static_cast<double>(H), rms = std::sqrt(square / size + input.epsilon);
        for (std::size_t h = 0; h < x.size(); ++h) CHECK(out[h] == doctest::Approx(x[h] / rms * v[h] * std::pow(size, -0.5)).epsilon(1e-14));
        exact(input, {}, x, v, d_out);
    }
}
TEST_CASE("jitter_input: times uniform numbers around 1 in training, as it is in evaluation. Switch Transformer, section 2.4") {
    for (unsigned long long seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const test::dice d{seed};
        const long H = d.number(0, 1, 12), T = 3;
        const jitter_input input{seed % 4 == 0 ? 0 : d.uniform(5, 0)};
        numbers u, out(static_cast<std::size_t>(H));
        for (long i = 0; i < T * H; ++i) u.push_back(d.uniform(6, i));
        const given_draws given{jitter_input::stream, static_cast<int>(H), u.data()};
        for (const bool training : {false, true})
            for (long t = 0; t < T; ++t) {
                const numbers x = d.normals(1, H), d_out = d.normals(3, H);
                const token<double> at{.index = t, .training = training, .draws = &given, .draw_streams = 1};
                input.forward(at, x.data(), H, none, out.data());
                for (long h = 0; h < H; ++h) {
                    const double by = training ? (1 - input.size) + 2 * input.size * u[static_cast<std::size_t>(t * H + h)] : 1;
                    CHECK(out[static_cast<std::size_t>(h)] == doctest::Approx(x[static_cast<std::size_t>(h)] * by).epsilon(1e-14));
                }
                exact(input, at, x, {}, d_out);
            }
    }
}
TEST_CASE("jitter_input: draws depend on the position and fill their interval") {
    const numbers x(1000, 1);
    numbers a(1000), b(1000), c(1000);
    const jitter_input input{0.25};
    input.forward(token<double>{.index = 0, .position = 5, .training = true, .seed = 1}, x.data(), 1000, none, a.data());
    input.forward(token<double>{.index = 3, .position = 5, .training = true, .seed = 1}, x.data(), 1000, none, b.data());
    input.forward(token<double>{.index = 0, .position = 6, .training = true, .seed = 1}, x.data(), 1000, none, c.data());
    CHECK(a == b);
    CHECK(a != c);
    double mean = 0, least = 2, most = 0;
    for (const double f : a) {
        mean += f / 1000;
        least = std::min(least, f);
        most = std::max(most, f);
    }
    CHECK(std::abs(mean - 1) < 0.03);
    CHECK((least >= 0.75 && least < 0.76));
    CHECK((most < 1.25 && most > 1.24));
}
