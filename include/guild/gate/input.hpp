#pragma once
#include <guild/gate/token.hpp>

/// What the router alone reads in place of x, a member `input()` of a gate. The experts read x all the same.
///     learned(H)                                    how many numbers it learns; absent: 0
///     forward(t, x [H], H, learned, out [H])        out =
///     backward(t, x, H, learned, d_out, dx, d_learned)   dx +=, d_learned +=
namespace guild::inline v0 {

/// x / sqrt(mean(x^2) + epsilon) v / sqrt(H), v [H] learned. Gemma 4.
struct rms_input {
    double epsilon = 1e-6;
    constexpr bool valid() const { return epsilon >= 0 && is_finite(epsilon); }
    static constexpr int learned(int hidden) { return hidden; }
    template <class S> void forward(const token<S>&, const S* x, long H, const S* v, S* out) const {
        const S scale = inverse(x, H) / sqrt(S(static_cast<real_t<S>>(H)));
        for (long h = 0; h < H; ++h) out[h] = x[h] * scale * v[h];
    }
    template <class S> void backward(const token<S>&, const S* x, long H, const S* v, const S* d_out, S* dx, S* dv) const {
        const S n = inverse(x, H), root = sqrt(S(static_cast<real_t<S>>(H))), size = S(static_cast<real_t<S>>(H));
        S dot(0);
        for (long h = 0; h < H; ++h) {
            dv[h] += d_out[h] * x[h] * n / root;
            dot += d_out[h] * v[h] * x[h];
        }
        for (long h = 0; h < H; ++h) dx[h] += (d_out[h] * v[h] * n - dot * n * n * n / size * x[h]) / root;
    }

private:
    template <class S> S inverse(const S* x, long H) const {
        S sum(0);
        for (long h = 0; h < H; ++h) sum += x[h] * x[h];
        return S(1) / sqrt(sum / S(static_cast<real_t<S>>(H)) + S(static_cast<real_t<S>>(epsilon)));
    }
};

/// x times uniform numbers in [1 - size, 1 + size), in training. Switch Transformer, arXiv:2101.03961, section 2.4.
struct jitter_input {
    static constexpr int stream = 5;
    double size = 1e-2;
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
