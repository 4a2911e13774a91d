#pragma once
#include <guild/gate/token.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// What the router alone reads in place of x, a member `input()` of a gate. The experts read x all the same.
///
///     learned(H)                                    how many numbers it learns; absent: 0
///     forward(t, x [H], H, learned, out [H])        out =
///     backward(t, x, H, learned, d_out, dx, d_learned)   dx +=, d_learned +=
namespace guild::inline v0 {

/// x / sqrt(mean(x^2) + epsilon) v / sqrt(H), v [H] learned. Gemma 4.
struct rms_input {
    double epsilon = 1e-6;  ///< added to the mean square
    constexpr bool valid() const { return epsilon >= 0 && is_finite(epsilon); }
    static constexpr int learned(int hidden) { return hidden; }
    template <class S> void forward(const token<S>&, const S* x, long H, const S* v, S* out) const {
        const auto n = norm_of(x, H);
        const S scale = n.inverse / sqrt(S(static_cast<real_t<S>>(H)));
        for (long h = 0; h < H; ++h) out[h] = n.by * x[h] * scale * v[h];
    }
    template <class S> void backward(const token<S>&, const S* x, long H, const S* v, const S* d_out, S* dx, S* dv) const {
        const auto n = norm_of(x, H);
        const S size = S(static_cast<real_t<S>>(H)), root = sqrt(size);
        S mean(0);  // of d_out v u, u = x / sqrt(..)
        for (long h = 0; h < H; ++h) {
            const S u = n.by * x[h] * n.inverse;
            dv[h] += d_out[h] * u / root;
            mean += d_out[h] * v[h] * u / size;
        }
        for (long h = 0; h < H; ++h) {
            const S u = n.by * x[h] * n.inverse;
            dx[h] += slope::held((d_out[h] * v[h] - mean * u) * n.inverse * n.by / root);
        }
    }

private:
    /// x / sqrt(mean(x^2) + epsilon) = by x inverse; 0 for zeros without epsilon.
    template <class S> struct norm { S by, inverse; };
    template <class S> norm<S> norm_of(const S* x, long H) const {
        using R = real_t<S>;
        const auto root = [&](const S& by) {
            S sum(0);
            for (long h = 0; h < H; ++h) sum += by * x[h] * (by * x[h]);
            return sum / S(static_cast<R>(H)) + S(static_cast<R>(epsilon)) * by * by;
        };
        S by(1), square = root(by);
        if (const R s = value(square); !(is_finite(s) && s >= (std::numeric_limits<R>::min)() / std::numeric_limits<R>::epsilon())) {
            R most(0);
            for (long h = 0; h < H; ++h) most = (std::max)(most, std::abs(value(x[h])));
            by = S(to_one(most)), square = root(by);
        }
        return {by, value(square) == 0 ? S(0) : S(1) / sqrt(square)};
    }
};

/// x times uniform numbers in [1 - size, 1 + size), in training. Switch Transformer, arXiv:2101.03961, section 2.4.
struct jitter_input {
    static constexpr int stream = 5;
    double size = 1e-2;  ///< half the width of the interval; 0: none
    constexpr bool valid() const { return size >= 0 && is_finite(size); }
    template <class S> void forward(const token<S>& t, const S* x, long H, const S*, S* out) const {
        for (long h = 0; h < H; ++h) out[h] = x[h] * S(factor(t, h));
    }
    template <class S> void backward(const token<S>& t, const S*, long H, const S*, const S* d_out, S* dx, S*) const {
        for (long h = 0; h < H; ++h) dx[h] += d_out[h] * S(factor(t, h));
    }

private:
    template <class S> real_t<S> factor(const token<S>& t, long h) const {
        using R = real_t<S>;
        return t.training ? R(1) + static_cast<R>(size) * (2 * t.uniform(stream, static_cast<int>(h)) - R(1)) : R(1);
    }
};

}  // namespace guild::inline v0
