#pragma once
#include <doctest/doctest.h>
#include <support/gate_row.hpp>

#include <cmath>
#include <vector>

namespace test {
using ids = std::vector<int>;
using numbers = std::vector<double>;

/// e^logit of eight experts: their softmax is over 31, their sigmoid a / (1 + a).
inline const numbers odds{3, 2, 4, 0.5, 5, 9, 1.5, 6};

/// A gate on log(odds) chooses these experts with these weights, in float and in double.
inline void gives(const auto& gate, const ids& expert, const numbers& weight, const numbers& state = numbers(8)) {
    const auto check = [&]<class S>(S, double by) {
        std::vector<S> logit, bias(state.begin(), state.end());
        for (const double a : odds) logit.push_back(static_cast<S>(std::log(a)));
        auto r = row_of<S>(logit, static_cast<int>(expert.size()));
        gate.stages().forward(guild::token<S>{.state = bias.data()}, r);
        for (std::size_t k = 0; k < expert.size(); ++k) {
            CAPTURE(k);
            CHECK(r.expert[k] == expert[k]);
            CHECK(std::abs(static_cast<double>(r.weight[k]) - weight[k]) < by * weight[k]);
        }
    };
    check(0.f, 5e-7);
    check(0., 1e-14);
}

}  // namespace test
