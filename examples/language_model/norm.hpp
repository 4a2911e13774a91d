#pragma once
#include "linear.hpp"

#include <cmath>

namespace language_model {

/// RMSNorm (Zhang, Sennrich 2019): y = gain x / sqrt(mean(x^2) + epsilon), each token by itself.
template <class S> struct norm {
    static constexpr double epsilon = 1e-6;
    using weights = matrix<S>;  ///< gain [1, H]
    struct state {
        std::vector<S> scale;
    };  ///< [T]: 1 / sqrt(mean(x^2) + epsilon)

    /// y = norm(x).   x, y [T, H].
    static void forward(const threads& team, const weights& gain, const matrix<S>& x, matrix<S>& y, state& st) {
        const Eigen::Index H = x.cols();
        y.resize(x.rows(), H);
        st.scale.resize(static_cast<std::size_t>(x.rows()));
        each_block(team, x.rows(), tokens, [&](Eigen::Index begin, Eigen::Index n) {
            for (Eigen::Index t = begin; t < begin + n; ++t) {
                const S* a = x.row(t).data();
                const S square = sum_of<S>(H, [&](Eigen::Index i) { return a[i] * a[i]; });
                const S r = S(1) / std::sqrt(square / static_cast<S>(H) + static_cast<S>(epsilon));
                st.scale[static_cast<std::size_t>(t)] = r;
                S* b = y.row(t).data();
                for (Eigen::Index i = 0; i < H; ++i) b[i] = gain(0, i) * (a[i] * r);
            }
        });
    }

    /// dx += , gradient += .   With r the scale:  dx = r g dy - x r^3 (x . g dy) / H,   dg = sum over t of dy x r.
    /// The sum over tokens is taken per block of tokens, then over the blocks in their order.
    static void backward(const threads& team, const weights& gain, const matrix<S>& x, const matrix<S>& dy, matrix<S>& dx, weights& gradient,
                         const state& st) {
        const Eigen::Index H = x.cols();
        matrix<S> partial = matrix<S>::Zero((x.rows() + tokens - 1) / tokens, H);
        each_block(team, x.rows(), tokens, [&](Eigen::Index begin, Eigen::Index n) {
            S* dg = partial.row(begin / tokens).data();
            for (Eigen::Index t = begin; t < begin + n; ++t) {
                const S *a = x.row(t).data(), *d = dy.row(t).data(), *g = gain.data();
                const S r = st.scale[static_cast<std::size_t>(t)];
                const S along = sum_of<S>(H, [&](Eigen::Index i) { return a[i] * g[i] * d[i]; }) * r * r * r / static_cast<S>(H);
                S* out = dx.row(t).data();
                for (Eigen::Index i = 0; i < H; ++i) {
                    out[i] += r * g[i] * d[i] - along * a[i];
                    dg[i] += d[i] * a[i] * r;
                }
            }
        });
        for (Eigen::Index b = 0; b < partial.rows(); ++b) gradient.row(0) += partial.row(b);
    }

private:
    static constexpr Eigen::Index tokens = 64;
};

}  // namespace language_model
