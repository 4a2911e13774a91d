#pragma once
#include "parameter.hpp"

#include <cmath>
#include <numbers>

namespace language_model {

/// Learning rate over the run: a straight rise over `warm_up` steps, then half a cosine down to `last` of it at the end.
struct schedule {
    double rate = 2e-3;
    long warm_up = 40;
    double last = 0.05;
    double at(long step, long steps) const {
        if (step < warm_up) return rate * static_cast<double>(step + 1) / static_cast<double>(warm_up);
        const double way = static_cast<double>(step - warm_up) / static_cast<double>(std::max(1L, steps - warm_up));
        return rate * (last + (1 - last) * 0.5 * (1 + std::cos(std::numbers::pi * way)));
    }
};

/// All tensors = 0.
template <class S> void clear(const threads& team, const parameters<S>& all) {
    each_block(team, static_cast<long>(all.size()), 1, [&](long i, long) {
        const parameter<S>& p = all[static_cast<std::size_t>(i)];
        std::fill(p.data, p.data + p.size(), S(0));
    });
}

/// AdamW (Loshchilov, Hutter 2019) after clipping all gradients to a common length; only matrices decay.
template <class S> class adamw {
public:
    double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0.1, clip = 1;

    explicit adamw(const parameters<S>& weights) {
        for (const auto& p : weights) {
            mean_.emplace_back(static_cast<std::size_t>(p.size()));
            square_.emplace_back(static_cast<std::size_t>(p.size()));
        }
    }

    /// One step along -gradient; returns the length of the gradient before clipping. The gradient is left as it was.
    double step(const threads& team, const parameters<S>& weights, const parameters<S>& gradient, double rate) {
        const double length = norm(team, gradient);
        const S scale = static_cast<S>(length > clip ? clip / length : 1);
        ++steps_;
        const S correct1 = static_cast<S>(1 / (1 - std::pow(beta1, steps_))), correct2 = static_cast<S>(1 / (1 - std::pow(beta2, steps_)));
        const S b1 = static_cast<S>(beta1), b2 = static_cast<S>(beta2), eps = static_cast<S>(epsilon), r = static_cast<S>(rate);
        each_block(team, static_cast<long>(weights.size()), 1, [&](long i, long) {
            const auto at = static_cast<std::size_t>(i);
            const parameter<S>& p = weights[at];
            const S keep = static_cast<S>(p.rows > 0 ? 1 - rate * decay : 1);
            S *w = p.data, *m = mean_[at].data(), *v = square_[at].data();
            const S* g = gradient[at].data;
            Eigen::Array<S, chunk, 1> root = Eigen::Array<S, chunk, 1>::Zero();  // a whole chunk at a time: wide square roots
            for (long from = 0; from < p.size(); from += chunk) {
                const long n = std::min<long>(chunk, p.size() - from);
                for (long j = 0; j < n; ++j) {
                    const S d = g[from + j] * scale;
                    m[from + j] = b1 * m[from + j] + (S(1) - b1) * d;
                    v[from + j] = b2 * v[from + j] + (S(1) - b2) * d * d;
                    root[j] = v[from + j] * correct2;
                }
                root = root.sqrt() + eps;
                for (long j = 0; j < n; ++j) w[from + j] = keep * w[from + j] - r * (m[from + j] * correct1) / root[j];
            }
        });
        return length;
    }

    /// Euclidean length of all gradients together: one sum per tensor, then over the tensors in their order.
    static double norm(const threads& team, const parameters<S>& gradient) {
        std::vector<double> squares(gradient.size());
        each_block(team, static_cast<long>(gradient.size()), 1, [&](long i, long) {
            const parameter<S>& p = gradient[static_cast<std::size_t>(i)];
            squares[static_cast<std::size_t>(i)] =
                sum_of<double>(p.size(), [&](long j) { return static_cast<double>(p.data[j]) * static_cast<double>(p.data[j]); });
        });
        double sum = 0;
        for (const double s : squares) sum += s;
        return std::sqrt(sum);
    }

private:
    static constexpr int chunk = 64;
    std::vector<std::vector<S>> mean_, square_;
    long steps_ = 0;
};

}  // namespace language_model
