#pragma once
#include <guild/parallel/thread_pool.hpp>

#include <Eigen/Core>

#include <algorithm>
#include <vector>

namespace language_model {

using guild::threads;

/// Activations are [T, width], weights [out, in], both row-major: y = x W^T.
template <class S> using matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// f(begin, rows) for blocks of `block` rows that cover [0, n), spread over the threads. The blocks depend on n alone, so what is
/// computed in one of them has the same bits for any number of threads.
template <class F> void each_block(const threads& team, Eigen::Index n, Eigen::Index block, F&& f) {
    team.run((n + block - 1) / block, [&](long first, long last) {
        for (long b = first; b < last; ++b) f(b * block, std::min(block, n - b * block));
    });
}

/// Sum of f(0) ... f(n - 1) in sixteen interleaved partial sums: wide instructions without an order that depends on alignment.
template <class S, class F> S sum_of(Eigen::Index n, F&& f) {
    constexpr Eigen::Index lanes = 16;
    S partial[lanes] = {};
    Eigen::Index i = 0;
    for (; i + lanes <= n; i += lanes)
        for (Eigen::Index j = 0; j < lanes; ++j) partial[j] += f(i + j);
    for (Eigen::Index j = 0; i < n; ++i, ++j) partial[j] += f(i);
    for (Eigen::Index half = lanes / 2; half > 0; half /= 2)
        for (Eigen::Index j = 0; j < half; ++j) partial[j] += partial[j + half];
    return partial[0];
}

/// y = x W^T.   x [T, in], w [out, in], y [T, out].
template <class S> void product(const threads& team, const matrix<S>& x, const matrix<S>& w, matrix<S>& y) {
    y.resize(x.rows(), w.rows());
    each_block(team, x.rows(), 64, [&](Eigen::Index t, Eigen::Index n) { y.middleRows(t, n).noalias() = x.middleRows(t, n) * w.transpose(); });
}

/// dx = dy W.   dy [T, out], dx [T, in].
template <class S> void input_gradient(const threads& team, const matrix<S>& dy, const matrix<S>& w, matrix<S>& dx) {
    dx.resize(dy.rows(), w.cols());
    each_block(team, dy.rows(), 64, [&](Eigen::Index t, Eigen::Index n) { dx.middleRows(t, n).noalias() = dy.middleRows(t, n) * w; });
}

/// dw += dy^T x, each row of dw by one thread.   dw [out, in].
template <class S> void weight_gradient(const threads& team, const matrix<S>& dy, const matrix<S>& x, matrix<S>& dw) {
    each_block(team, dw.rows(), 32, [&](Eigen::Index o, Eigen::Index n) { dw.middleRows(o, n).noalias() += dy.middleCols(o, n).transpose() * x; });
}

}  // namespace language_model
