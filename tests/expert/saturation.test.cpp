#include <guild/expert/clamped.hpp>
#include <guild/expert/passive.hpp>
#include <guild/expert/shared.hpp>

#include <doctest/doctest.h>
#include <support/magnitudes.hpp>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>

// Derivatives of what experts do between and around their matrices, over the whole range of numbers, against formulas in long double.

using namespace guild;

namespace {
using wide = long double;
wide share(wide x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
wide silu_slope(wide x) { return share(x) + x * share(x) * share(-x); }
wide gelu_slope(wide x) { return std::erfc(-x / std::sqrt(2.L)) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.L)); }
wide gelu_tanh_slope(wide x) {
    if (std::abs(x) > 30) return x > 0;
    const wide c = 0.7978845608028654L, t = std::tanh(c * (x + 0.044715L * x * x * x));
    return (1 + t) / 2 +
           x / 2 / std::cosh(c * (x + 0.044715L * x * x * x)) / std::cosh(c * (x + 0.044715L * x * x * x)) * c * (1 + 0.134145L * x * x);
}

template <class S, class F> void each_number(F f) {
    test::each_magnitude<S>(f);
    test::each_step<S>(std::is_same_v<S, float> ? 120 : 760, 997, f);
}
template <class S> bool near(S found, wide exact, wide size) {
    constexpr wide most = std::numeric_limits<S>::max();
    return is_finite(found) && std::abs(found - std::clamp(exact, -most, most)) <= 64 * std::numeric_limits<S>::epsilon() * size;
}
/// act(x) or act(x, u) = f(x) u.
template <class S, class Act> void activates(const std::string& name, const Act& act, wide (*slope)(wide)) {
    CAPTURE(name);
    each_number<S>([&](S x) {
        CAPTURE(x);
        using D = dual<S>;
        const wide exact = slope(x), size = 1 + std::abs(exact) * (std::abs(x) < 1000 ? std::abs(x) : 1);
        if constexpr (Act::inputs == 1) {
            if (is_finite(act(x))) CHECK(near(act(D(x, S(1))).d, exact, size));
        } else {
            for (const S u : {S(1), S(-3), std::numeric_limits<S>::max() / 4, std::numeric_limits<S>::min()}) {
                const S y = act(x, u);
                if (!is_finite(y)) continue;
                CHECK(near(act(D(x, S(1)), D(u)).d, exact * u, size * std::abs(u)));
                CHECK(near(act(D(x), D(u, S(1))).d, wide(y) / u, std::max<wide>(1, std::abs(y / u))));
            }
        }
    });
}
}  // namespace

TEST_CASE_TEMPLATE("saturation: activations", S, float, double) {
    activates<S>("silu", silu{}, silu_slope);
    activates<S>("swiglu", swiglu{}, silu_slope);
    activates<S>("gelu", gelu{}, gelu_slope);
    activates<S>("geglu", geglu{}, gelu_slope);
    activates<S>("gelu_tanh", gelu_tanh{}, gelu_tanh_slope);
    activates<S>("geglu_tanh", geglu_tanh{}, gelu_tanh_slope);
    activates<S>("relu", relu{}, [](wide x) { return wide(x > 0); });
    activates<S>("reglu", reglu{}, [](wide x) { return wide(x > 0); });
    activates<S>("relu_squared", relu_squared{}, [](wide x) { return x > 0 ? 2 * x : 0; });
}
TEST_CASE_TEMPLATE("saturation: clamped_swiglu, by formula", S, float, double) {
    for (const clamped_swiglu act : {clamped_swiglu{}, clamped_swiglu{10, 1, 0}, clamped_swiglu{1e30, 3, -1}}) {
        const auto limit = static_cast<S>(act.limit), alpha = static_cast<S>(act.alpha), offset = static_cast<S>(act.offset);
        each_number<S>([&](S x) {
            CAPTURE(x);
            CAPTURE(limit);
            using D = dual<S>;
            const wide held = std::min(x, limit), s = share(alpha * held), slope = s + held * alpha * s * share(-alpha * held);
            const wide size = 1 + std::abs(slope) * (std::abs(x) < 1000 ? alpha * std::abs(x) : 1);
            for (const S u : {S(1), S(-3), S(6.5)}) {
                CHECK(near(act(D(x, S(1)), D(u)).d, x > limit ? 0 : (u + offset) * slope, 10 * size));
                CHECK(near(act(D(x), D(u, S(1))).d, held * s, 1 + std::abs(held * s)));
            }
            if (!is_finite(act(S(1), x))) return;  // x as the linear part
            const wide one = 1 * share(alpha * std::min(S(1), limit));
            CHECK(near(act(D(S(1)), D(x, S(1))).d, std::abs(x) > limit ? 0 : one, 1));
        });
    }
}
TEST_CASE_TEMPLATE("saturation: how shared experts enter", S, float, double) {
    each_number<S>([&](S x) {
        CAPTURE(x);
        CHECK(near(gated_shared{}.factor(dual<S>(x, S(1))).d, share(x) * share(-x), 1));
        CHECK(plain_shared{}.factor(dual<S>(x, S(1))).d == 0);
    });
}
TEST_CASE_TEMPLATE("saturation: a blend of x and a vector", S, float, double) {
    each_number<S>([&](S m) {
        // z = x; s = (w0 - w1) x; a1 = share(s), a2 = share(-s); out = a1 x + a2 v.
        for (const S difference : {S(1), S(-0.5), std::numeric_limits<S>::min()}) {
            const S w[] = {difference, S(0), S(2)}, by = S(100);
            S out = 0, dz = 0, dw[3] = {};
            expert::blend::forward(w, &m, S(1), 1, &out);
            if (!is_finite(out)) continue;
            expert::blend::backward(w, &m, S(1), 1, &by, &dz, dw);
            const wide s = wide(static_cast<S>(difference * m)), own = share(s), learned = share(-s), slope = own * learned * by * (wide(m) - 2);
            CAPTURE(m);
            CAPTURE(difference);
            const wide reach = std::abs(s) < 1000 ? 1 + std::abs(s) : 1;
            CHECK(near(dw[0], slope * m, 100 + reach * std::abs(slope * m)));
            CHECK(near(dw[2], by * learned, 100 * reach));
            CHECK(is_finite(dz));
            if (std::abs(slope) < wide(std::numeric_limits<S>::max()))
                CHECK(near(dz, own * by + slope * difference, 100 + reach * std::abs(slope * difference)));
        }
    });
}
