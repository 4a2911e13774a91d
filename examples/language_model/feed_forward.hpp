#pragma once
#include "parameter.hpp"

#include <guild/core/batch.hpp>

namespace language_model {

/// The dense network of the first block, SwiGLU (Shazeer 2020): y = (silu(x Wg^T) * (x Wu^T)) Wd^T.
template <class S> struct feed_forward {
    struct weights {
        matrix<S> gate, up, down;
    };  ///< [F, H], [F, H], [H, F]
    struct state {
        matrix<S> gate, up, inner, d_gate, d_up, d_inner, d_x;
    };

    /// y = .   x, y [T, H].
    static void forward(const threads& team, const weights& w, const matrix<S>& x, matrix<S>& y, state& st, const guild::batch& = {}) {
        product(team, x, w.gate, st.gate);
        product(team, x, w.up, st.up);
        st.inner.resize(x.rows(), w.gate.rows());
        each_block(team, x.rows(), 64, [&](Eigen::Index t, Eigen::Index n) {
            const auto g = st.gate.middleRows(t, n).array(), u = st.up.middleRows(t, n).array();
            st.inner.middleRows(t, n).array() = g / (S(1) + (-g).exp()) * u;
        });
        product(team, st.inner, w.down, y);
    }

    /// dx = , gradient += .   With s = 1 / (1 + e^-g):  silu(g) = g s,  silu'(g) = s (1 + g (1 - s)).
    static void backward(const threads& team, const weights& w, const matrix<S>& x, const matrix<S>& dy, matrix<S>& dx, weights& gradient,
                         state& st) {
        input_gradient(team, dy, w.down, st.d_inner);
        weight_gradient(team, dy, st.inner, gradient.down);
        st.d_gate.resize(st.gate.rows(), st.gate.cols());
        st.d_up.resize(st.gate.rows(), st.gate.cols());
        each_block(team, x.rows(), 64, [&](Eigen::Index t, Eigen::Index n) {
            const auto g = st.gate.middleRows(t, n).array(), u = st.up.middleRows(t, n).array(), d = st.d_inner.middleRows(t, n).array();
            auto s = st.d_up.middleRows(t, n).array();
            s = (S(1) + (-g).exp()).inverse();
            st.d_gate.middleRows(t, n).array() = d * u * s * (S(1) + g * (S(1) - s));
            s *= d * g;
        });
        input_gradient(team, st.d_gate, w.gate, dx);
        input_gradient(team, st.d_up, w.up, st.d_x);
        dx += st.d_x;
        weight_gradient(team, st.d_gate, x, gradient.gate);
        weight_gradient(team, st.d_up, x, gradient.up);
    }

    /// Sizes the tensors, all 0.
    static void resize(weights& w, Eigen::Index H, Eigen::Index F) { w = {matrix<S>::Zero(F, H), matrix<S>::Zero(F, H), matrix<S>::Zero(H, F)}; }

    static void list(weights& w, const std::string& prefix, parameters<S>& out) {
        out.add(prefix + "gate_proj.weight", w.gate.data(), w.gate.rows(), w.gate.cols());
        out.add(prefix + "up_proj.weight", w.up.data(), w.up.rows(), w.up.cols());
        out.add(prefix + "down_proj.weight", w.down.data(), w.down.rows(), w.down.cols());
    }
};

}  // namespace language_model
