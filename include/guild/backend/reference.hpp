#pragma once
#include <guild/core/view.hpp>
#include <guild/dispatch/groups.hpp>
#include <guild/format/stack.hpp>
#include <guild/parallel/serial.hpp>

/// A backend is three matrix products over groups of rows, and a loop. Router, routed experts and shared experts are all calls
/// of them, the first and the last with one group. This one is plain loops: the specification of the others, and the backend
/// for scalars of the user's own.
namespace guild::inline v0::backend {

/// The specification: every product in plain loops.
struct reference {
    /// c [R, N] = a[source] [R, M] w_e^T factor, w [E, N, M]. O(R N M).
    template <class S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long n = 0; n < c.cols; ++n) {
                    S sum(0);
                    for (long m = 0; m < a.cols; ++m) sum += a(g.from(r), m) * S(w(e, n, m));
                    c(r, n) = g.factor ? sum * g.factor[r] : sum;
                }
    }
    /// da [R, M] (+)= dc [R, N] w_e: row by row, without source and factor.
    template <class S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long m = 0; m < da.cols; ++m) {
                    S sum(0);
                    for (long n = 0; n < dc.cols; ++n) sum += dc(r, n) * S(w(e, n, m));
                    da(r, m) = mode == into::add ? da(r, m) + sum : sum;
                }
    }
    /// dw_e [N, M] += dc^T [N, R] (a[source] factor) [R, M]. An expert without rows is not touched.
    template <class S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        for (int e = 0; e < g.count; ++e)
            for (long r = g.offset[e]; r < g.offset[e + 1]; ++r)
                for (long n = 0; n < dc.cols; ++n) {
                    const S d = g.factor ? dc(r, n) * g.factor[r] : dc(r, n);
                    for (long m = 0; m < a.cols; ++m) dw.row(e, n)[m] += d * a(g.from(r), m);
                }
    }
    /// f(begin, end) on disjoint ranges that cover [0, n): tokens of the gate, rows of the experts. Here an executor enters.
    template <class F> void each(long n, F&& f) const { serial{}.run(n, f); }
};

}  // namespace guild::inline v0::backend
