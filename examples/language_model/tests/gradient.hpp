#pragma once
#include "../linear.hpp"
#include "../random.hpp"

#include <doctest/doctest.h>

#include <cmath>

namespace language_model {

/// Fixed numbers in [-1, 1).
inline matrix<double> some(Eigen::Index rows, Eigen::Index cols, long which) {
    matrix<double> m(rows, cols);
    for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = 2 * uniform(1, purpose::weights, which, i) - 1;
    return m;
}

/// Every derivative of `value()` by x[0 ... n) agrees with the central difference to 1e-7, relative to max(1, |derivative|).
template <class F> void check_gradient(F&& value, double* x, long n, const double* gradient) {
    for (long i = 0; i < n; ++i) {
        const double at = x[i], h = 1e-5;
        x[i] = at + h;
        const double above = value();
        x[i] = at - h;
        const double below = value();
        x[i] = at;
        const double difference = (above - below) / (2 * h);
        CAPTURE(i);
        CHECK(std::abs(difference - gradient[i]) <= 1e-7 * std::max(1.0, std::abs(difference)));
    }
}
template <class F> void check_gradient(F&& value, matrix<double>& x, const matrix<double>& gradient) {
    REQUIRE(gradient.size() == x.size());
    check_gradient(value, x.data(), x.size(), gradient.data());
}

/// sum of y * c: a value whose gradient by y is c.
inline double against(const matrix<double>& y, const matrix<double>& c) { return y.cwiseProduct(c).sum(); }

}  // namespace language_model
