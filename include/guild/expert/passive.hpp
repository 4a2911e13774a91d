#pragma once
#include <guild/core/scalar.hpp>

namespace guild::inline v0 {

/// Experts without matrices. They follow the routed ones: ids E .. E + zero - 1 give 0, then `identity` ids give x, then `constant` ids
/// give a learned vector v [H] each, then `blend` ids give a1 x + a2 v, [a1, a2] = softmax(W_c x), W_c [2, H] and v [H] learned by each.
/// LongCat-Flash, arXiv:2509.01322, has identities; MoE++, arXiv:2410.07348, eq. 3-5, has zero, identity ("copy") and blend ("constant").
struct passive {
    /// How many give 0, x, a learned vector, a learned blend of x and one: in this order of ids, from E on.
    int zero = 0, identity = 0, constant = 0, blend = 0;
    /// All of them.
    constexpr int count() const { return zero + identity + constant + blend; }
    /// Learned vectors [H]: one of each constant expert, then three of each blend: the rows of W_c, and v.
    constexpr int vectors() const { return constant + 3 * blend; }
};

/// One expert of kind `blend` on z = factor x [H], with w [3, H]. O(H).
namespace expert::blend {

/// s = (W_c z)_1 - (W_c z)_2: a1 = 1 / (1 + e^-s), a2 = 1 / (1 + e^s).
template <class S> S difference(const S* w, const S* x, S factor, long H) {
    S s(0);
    for (long h = 0; h < H; ++h) s += (w[h] - w[H + h]) * x[h];
    return factor * s;
}
/// out [H] =
template <class S> void forward(const S* w, const S* x, S factor, long H, S* out) {
    const S s = difference(w, x, factor, H), own = logistic(s), learned = logistic(-s);
    for (long h = 0; h < H; ++h) out[h] = own * factor * x[h] + learned * w[2 * H + h];
}
/// d_out [H] -> d_z [H] = by z, d_w [3, H] +=, either of them null if it is not wanted. By the difference of the logits: a1 a2 d_out . (z - v).
template <class S> void backward(const S* w, const S* x, S factor, long H, const S* d_out, S* d_z, S* d_w) {
    const S s = difference(w, x, factor, H), own = logistic(s), learned = logistic(-s);
    const S both = own * learned;  // first: it may be 0, and the sum overflow
    S by_s(0);
    for (long h = 0; h < H; ++h) by_s += both * d_out[h] * (factor * x[h] - w[2 * H + h]);
    by_s = slope::held(by_s);
    for (long h = 0; h < H; ++h) {
        if (d_z) d_z[h] = own * d_out[h] + by_s * (w[h] - w[H + h]);
        if (!d_w) continue;
        const S by = slope::held(by_s * factor * x[h]);
        d_w[h] += by;
        d_w[H + h] -= by;
        d_w[2 * H + h] += learned * d_out[h];
    }
}

}  // namespace expert::blend
}  // namespace guild::inline v0
