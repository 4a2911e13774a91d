#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <guild/guild.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

// Values under -ffast-math: right to rounding. What is told by bits is told so here too; what NaN, infinities and denormals become, and the same
// bits for other threads, rows and alignments, are left to builds without it.

namespace {
using namespace guild;
#if !defined(__FAST_MATH__)
#error "compile with -ffast-math"
#endif

/// Numbers that the compiler cannot know.
float hidden(std::uint32_t bits) {
    static volatile std::uint32_t place;
    place = bits;
    return std::bit_cast<float>(static_cast<std::uint32_t>(place));
}
double hidden(std::uint64_t bits) {
    static volatile std::uint64_t place;
    place = bits;
    return std::bit_cast<double>(static_cast<std::uint64_t>(place));
}
double share(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
double silu_slope(double x) { return share(x) + x * share(x) * share(-x); }
constexpr double eps = 0x1p-23;

/// Every hundredth of [-120, 120], and both ends of the range.
std::vector<float> points() {
    std::vector<float> x{-3e38f, -1e30f, -1e10f, 1e10f, 1e30f, 3e38f};
    for (int i = -12000; i <= 12000; ++i) x.push_back(static_cast<float>(i) / 100);
    return x;
}
bool near(double found, double exact, double by, double least = 1) { return std::abs(found - exact) <= by * (std::abs(exact) + least); }
}  // namespace

TEST_CASE("fast_math: left out") { MESSAGE("left out under -ffast-math: NaN, infinities, denormals and tests of the same bits"); }

TEST_CASE("fast_math: e^x and what is made of it, in a loop and alone") {
    const auto x = points();
    std::vector<float> e(x.size()), s(x.size()), t(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) e[i] = exp(x[i]), s[i] = logistic(x[i]), t[i] = softplus(x[i]);
    for (std::size_t i = 0; i < x.size(); ++i) {
        CAPTURE(x[i]);
        const double v = static_cast<double>(x[i]);
        if (v > -87.3 && v < 88.7) CHECK(near(static_cast<double>(e[i]), std::exp(v), 2 * eps, 0));
        if (v <= -88) CHECK(e[i] < 2e-38f);
        CHECK(near(static_cast<double>(s[i]), share(v), 4 * eps, 1e-30));
        CHECK(near(static_cast<double>(t[i]), v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v)), 4 * eps, 1e-30));
        if (v < 88.7) CHECK(exp(hidden(std::bit_cast<std::uint32_t>(x[i]))) == doctest::Approx(static_cast<double>(e[i])).epsilon(1e-6));
    }
}

TEST_CASE("fast_math: activations and their derivatives, by dual numbers and by the kernels of each instruction set") {
    const auto x = points();
    const long n = static_cast<long>(x.size());
    const std::vector<float> one(x.size(), 1.f);
    std::vector<float> y(x.size()), dg(x.size()), du(x.size());
    const auto check = [&] {
        for (std::size_t i = 0; i < x.size(); ++i) {
            CAPTURE(x[i]);
            const double v = static_cast<double>(x[i]);
            CHECK(near(static_cast<double>(y[i]), v * share(v), 4 * eps, 1e-6));
            CHECK(near(static_cast<double>(dg[i]), silu_slope(v), 32 * eps));
            CHECK(near(static_cast<double>(du[i]), v * share(v), 4 * eps, 1e-6));
        }
    };
    for (std::size_t i = 0; i < x.size(); ++i) {
        using D = dual<float>;
        y[i] = silu{}(x[i]), dg[i] = swiglu{}(D(x[i], 1), D(1)).d, du[i] = swiglu{}(D(x[i]), D(1, 1)).d;
    }
    check();
    const auto kernels = [&](auto forward, auto backward) {
        forward(x.data(), one.data(), 1, n, n, y.data(), n);
        backward(x.data(), one.data(), one.data(), n, dg.data(), du.data());
        check();
    };
    kernels(cpu::generic::swiglu, cpu::generic::swiglu_gradient);
#if defined(__x86_64__)
    if (cpu::detected() >= cpu::isa::avx2) kernels(cpu::avx2::swiglu, cpu::avx2::swiglu_gradient);
    if (cpu::detected() >= cpu::isa::avx512) kernels(cpu::avx512::swiglu, cpu::avx512::swiglu_gradient);
#endif
    for (const float v : x) {
        using D = dual<float>;
        const double at = std::fmin(7, static_cast<double>(v)), s = share(1.702 * at);
        if (v > -1e38f) CHECK(near(static_cast<double>(clamped_swiglu{}(v, 2.f)), 3 * at * s, 8 * eps, 1e-6));  // 3 v may come first
        const double slope = v > 7 ? 0 : 3 * (s + 1.702 * at * s * share(-1.702 * at));
        CHECK(near(static_cast<double>(clamped_swiglu{}(D(v, 1), D(2)).d), slope, 64 * eps));
        const double phi = std::erfc(-static_cast<double>(v) / std::sqrt(2.)) / 2;
        CHECK(near(static_cast<double>(gelu{}(v)), static_cast<double>(v) * phi, 4 * eps, 8));
        CHECK(is_finite(gelu{}(D(v, 1)).d));
        if (std::abs(v) > 8) CHECK(near(static_cast<double>(gelu_tanh{}(D(v, 1)).d), static_cast<double>(v > 0), 4 * eps));
    }
}

TEST_CASE("fast_math: what is no number is told by its bits") {
    const float inf = hidden(0x7f800000u), nan = hidden(0x7fc00000u);
    const double wide_inf = hidden(std::uint64_t{0x7ff0} << 48), wide_nan = hidden(std::uint64_t{0x7ff8} << 48);
    CHECK((!is_finite(inf) && !is_nan(inf) && is_nan(nan) && !is_finite(nan) && is_finite(3.f)));
    CHECK((!is_finite(wide_inf) && !is_nan(wide_inf) && is_nan(wide_nan) && !is_finite(wide_nan)));
    CHECK(half(nan).bits == 0x7e00);
    CHECK(half(inf).bits == 0x7c00);
    CHECK(fp8_e4m3(nan).bits == 0x7f);
    CHECK(fp8_e4m3(inf).bits == 0x7e);
    CHECK(bf16(nan).bits == 0x7fc0);
    CHECK(bf16(inf).bits == 0x7f80);
    for (const double bad : {wide_inf, wide_nan}) {
        CHECK(!capacity{bad}.fits(4, 2));
        CHECK(!unit_sum{bad}.valid());
        CHECK(!times{bad}.valid());
        CHECK(!unit_norm{bad}.valid());
        CHECK(!clamped_swiglu{.limit = bad}.valid());
        CHECK(!bias_balance{.rate = bad}.valid());
        CHECK(!rms_input{bad}.valid());
        CHECK(!load_penalty{bad}.fits(4, 2));
        CHECK(!learned_noise{bad}.fits(4, 2));
        CHECK(!joint_shared{1, bad}.fits(4, 2));
        CHECK(!sparse_mixer{bad}.fits(4, 2));
        CHECK(!detail::valid(z_loss{bad}));
    }
    CHECK(ranking_key(nan) < -3e38f);
}

TEST_CASE("fast_math: stored numbers") {
    for (int i = -2000; i < 2000; ++i) {
        const float x = static_cast<float>(i) * 0.113f;
        CAPTURE(x);
        CHECK(near(static_cast<double>(decode(bf16(x))), static_cast<double>(x), 0x1p-8, 1e-30));
        CHECK(near(static_cast<double>(decode(half(x))), static_cast<double>(x), 0x1p-11, 1e-4));
        CHECK(near(static_cast<double>(decode(fp8_e4m3(x))), static_cast<double>(x), 0x1p-4, 0x1p-6));
    }
}

namespace {
constexpr config numbers{.hidden = 40, .expert_hidden = 24, .routed_experts = 8, .top_k = 2, .shared_experts = 1};
struct sigmoids : model<numbers, deepseek_v3_gate{.groups = 2, .keep = 1}, expert_loss{}, z_loss{}> {};
struct softmaxes : model<numbers, mixtral_gate{}, clamped_swiglu{}, top_k_balance_loss{}> {};

template <class Model, class S, class Backend> struct result {
    std::vector<S> y, dx, router;
    explicit result(const Backend& b) {
        auto w = convert<S>(random_weights<Model, float>(3));
        for (S& r : w.router) r = r * S(30);  // some sigmoids saturate
        weights<Model, S> grad;
        const long T = 37, H = numbers.hidden;
        std::vector<S> x, dy;
        for (long i = 0; i < T * H; ++i)
            x.push_back(S(static_cast<float>(normal(1, 0, 0, i)))), dy.push_back(S(static_cast<float>(normal(1, 1, 0, i))));
        y.resize(x.size()), dx.resize(x.size());
        tape<S> tp;
        const layer<Model, S, Backend> l(w, b);
        l.forward({x.data(), T, H}, {y.data(), T, H}, tp);
        l.backward({dy.data(), T, H}, {dx.data(), T, H}, grad, tp);
        router = grad.router;
    }
};
template <class A, class B> bool alike(const A& a, const B& b) {
    double size = 0;
    for (auto x : b) size = std::fmax(size, std::abs(static_cast<double>(x)));
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!is_finite(a[i]) || std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) > 1e-4 * size) return false;
    return a.size() == b.size();
}
template <class Model> void layers() {
    const result<Model, double, backend::reference> exact{{}};
    const result<Model, float, backend::reference> plain{{}};
    const result<Model, float, backend::eigen<>> fast{{}};
    CHECK((alike(plain.y, exact.y) && alike(plain.dx, exact.dx) && alike(plain.router, exact.router)));
    CHECK((alike(fast.y, exact.y) && alike(fast.dx, exact.dx) && alike(fast.router, exact.router)));
}
}  // namespace

TEST_CASE("fast_math: layers, forward and backward") {
    layers<sigmoids>();
    layers<softmaxes>();
}
