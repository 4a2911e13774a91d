#pragma once
#include <guild/combine/residual.hpp>
#include <guild/core/present.hpp>
#include <guild/dispatch/plan.hpp>

/// Step 4 of 4, combine: y += sum of weight row over a token's rows in ascending expert id, then the residual. A gate that
/// weighs the input of its experts has used the weights already: `WeighsInput`.
namespace guild::inline v0::combine {

namespace detail {
/// f(r, slot) for the rows of token t, in ascending expert id.
template <class F> void each_row(const plan& p, long t, int slots, F f) {
    for (long i = t * slots; i < (t + 1) * slots && p.row[i] >= 0; ++i) f(long(p.row[i]), long(p.slot[p.row[i]]));
}
/// 1 - sum of a token's weights, in ascending expert id.
template <class S> S rest(const choice<S>& c, const plan& p, long t) {
    S s(1);
    each_row(p, t, c.slots, [&](long, long slot) { s -= c.weight[slot]; });
    return s;
}
}  // namespace detail

/// rows [R - first, H], those from row `first` on, x [T, H] -> y [T, H] +=. O((R + T) H).
template <bool WeighsInput, class B, class S>
void forward(const B& b, residual kind, const choice<S>& c, const plan& p, long first, view<const S> rows, view<const S> x, view<S> y) {
    if (rows.rows == 0 && kind == residual::none) return;
    b.each(c.tokens, [&](long begin, long end) {
        for (long t = begin; t < end; ++t) {
            S* const out = y.row(t);
            detail::each_row(p, t, c.slots, [&](long r, long slot) {
                if (r < first) return;
                const S* const row = rows.row(r - first);
                const S w = WeighsInput ? S(1) : c.weight[slot];
                for (long h = 0; h < y.cols; ++h) out[h] += w * row[h];
            });
            if (kind == residual::none) continue;
            const S keep = kind == residual::plain ? S(1) : detail::rest(c, p, t);
            for (long h = 0; h < y.cols; ++h) out[h] += keep * x(t, h);
        }
    });
}

/// dy [T, H] -> d_rows [R, H] =, d_weight [T, W] =
template <bool WeighsInput, class B, class S>
void backward(const B& b, residual kind, const choice<S>& c, const plan& p, view<const S> rows, view<const S> x, view<const S> dy, view<S> d_rows,
              view<S> d_weight) {
    b.each(c.tokens, [&](long begin, long end) {
        for (long t = begin; t < end; ++t) {
            for (long k = 0; k < c.slots; ++k) d_weight(t, k) = S(0);
            S passed(0);
            if (kind == residual::complement)
                for (long h = 0; h < dy.cols; ++h) passed += dy(t, h) * x(t, h);
            detail::each_row(p, t, c.slots, [&](long r, long slot) {
                S dot(0);
                const S w = WeighsInput ? S(1) : c.weight[slot];
                for (long h = 0; h < dy.cols; ++h) {
                    dot += dy(t, h) * rows(r, h);
                    d_rows(r, h) = dy(t, h) * w;
                }
                d_weight.data[slot] = WeighsInput ? -passed : dot - passed;
            });
        }
    });
}

/// d_read [R, H], the gradient by what each expert read -> dx [T, H] +=. Through the weight where that is on the input:
/// then x is read and d_weight [T, W] +=.
template <bool WeighsInput, class B, class S>
void input_backward(const B& b, const choice<S>& c, const plan& p, view<const S> x, view<const S> d_read, view<S> dx, view<S> d_weight) {
    b.each(c.tokens, [&](long begin, long end) {
        for (long t = begin; t < end; ++t)
            detail::each_row(p, t, c.slots, [&](long r, long slot) {
                if constexpr (WeighsInput) {
                    S dot(0);
                    for (long h = 0; h < dx.cols; ++h) {
                        dx(t, h) += d_read(r, h) * c.weight[slot];
                        dot += d_read(r, h) * x(t, h);
                    }
                    d_weight.data[slot] += dot;
                } else {
                    for (long h = 0; h < dx.cols; ++h) dx(t, h) += d_read(r, h);
                }
            });
    });
}

/// dy [T, H] -> dx [T, H] += what the residual passes on to the tokens that are present.
template <class B, class S>
void residual_backward(const B& b, residual kind, const choice<S>& c, const plan& p, const present_tokens& present, view<const S> dy, view<S> dx) {
    if (kind == residual::none) return;
    b.each(present.count(), [&](long begin, long end) {
        for (long i = begin; i < end; ++i) {
            const long t = present[i];
            const S keep = kind == residual::plain ? S(1) : detail::rest(c, p, t);
            for (long h = 0; h < dx.cols; ++h) dx(t, h) += keep * dy(t, h);
        }
    });
}

}  // namespace guild::inline v0::combine
