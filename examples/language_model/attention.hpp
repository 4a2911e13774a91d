#pragma once
#include "rotary.hpp"

namespace language_model {

/// Causal multi-head attention with rotary positions. The T tokens are B sequences of equal length N; A heads of width D = H / A.
template <class S> class attention {
public:
    struct weights {
        matrix<S> qkv;  ///< [3 H, H]: the rows of q_proj, k_proj and v_proj
        matrix<S> out;  ///< [H, H]: o_proj
    };
    struct state {
        matrix<S> qkv;    ///< [T, 3 H], q and k already turned
        matrix<S> share;  ///< [B A N, N]: how much token i of a head looks at token j
        matrix<S> mixed;  ///< [T, H]: the heads side by side, before o_proj
        matrix<S> d_qkv, d_mixed;
    };

    attention(int hidden, int heads, int context) : heads_(heads), width_(hidden / heads), rotary_(context, hidden / heads) {}

    /// y = attention(x).   x, y [T, H]; `length` is N.
    void forward(const threads& team, const weights& w, const matrix<S>& x, Eigen::Index length, matrix<S>& y, state& st) const {
        product(team, x, w.qkv, st.qkv);
        st.share.resize(x.rows() * heads_, length);
        st.mixed.resize(x.rows(), x.cols());
        each_head(team, x.rows() / length, [&](Eigen::Index b, Eigen::Index a) {
            turn(st.qkv, b * length, length, a, false);
            const auto q = part(st.qkv, b, length, a, 0), k = part(st.qkv, b, length, a, 1), v = part(st.qkv, b, length, a, 2);
            auto p = st.share.middleRows((b * heads_ + a) * length, length);
            p.noalias() = q * k.transpose();
            for (Eigen::Index i = 0; i < length; ++i) softmax(p.row(i).data(), i + 1, length);
            st.mixed.block(b * length, a * width_, length, width_).noalias() = p * v;
        });
        product(team, st.mixed, w.out, y);
    }

    /// dx = , gradient += .   x and st are those of forward.
    void backward(const threads& team, const weights& w, const matrix<S>& x, Eigen::Index length, const matrix<S>& dy, matrix<S>& dx,
                  weights& gradient, state& st) const {
        input_gradient(team, dy, w.out, st.d_mixed);
        weight_gradient(team, dy, st.mixed, gradient.out);
        st.d_qkv.resize(x.rows(), 3 * x.cols());
        each_head(team, x.rows() / length, [&](Eigen::Index b, Eigen::Index a) {
            const auto q = part(st.qkv, b, length, a, 0), k = part(st.qkv, b, length, a, 1), v = part(st.qkv, b, length, a, 2);
            auto dq = part(st.d_qkv, b, length, a, 0), dk = part(st.d_qkv, b, length, a, 1), dv = part(st.d_qkv, b, length, a, 2);
            const auto p = st.share.middleRows((b * heads_ + a) * length, length);
            const auto d_mixed = st.d_mixed.block(b * length, a * width_, length, width_);
            dv.noalias() = p.transpose() * d_mixed;
            matrix<S> ds(length, length);  // first by the share, then by the score
            ds.noalias() = d_mixed * v.transpose();
            for (Eigen::Index i = 0; i < length; ++i) softmax_backward(p.row(i).data(), ds.row(i).data(), i + 1, length);
            dq.noalias() = ds * k;
            dk.noalias() = ds.transpose() * q;
            turn(st.d_qkv, b * length, length, a, true);
        });
        input_gradient(team, st.d_qkv, w.qkv, dx);
        weight_gradient(team, st.d_qkv, x, gradient.qkv);
    }

private:
    S scale() const { return S(1) / std::sqrt(static_cast<S>(width_)); }

    template <class F> void each_head(const threads& team, Eigen::Index sequences, F&& f) const {
        each_block(team, sequences * heads_, 1, [&](Eigen::Index i, Eigen::Index) { f(i / heads_, i % heads_); });
    }
    /// The q (which = 0), k (1) or v (2) of head a of sequence b, [N, D].
    auto part(auto& qkv, Eigen::Index b, Eigen::Index length, Eigen::Index a, Eigen::Index which) const {
        return qkv.block(b * length, (which * heads_ + a) * width_, length, width_);
    }
    /// Turns the q and the k of head a of the tokens from `first` on.
    void turn(matrix<S>& qkv, Eigen::Index first, Eigen::Index length, Eigen::Index a, bool back) const {
        for (Eigen::Index i = 0; i < length; ++i)
            for (Eigen::Index which = 0; which < 2; ++which) rotary_.turn(&qkv(first + i, (which * heads_ + a) * width_), i, back);
    }
    /// In place, s [length]: the first `seen` scores to their softmax after the scale 1 / sqrt(D), the others to 0.
    void softmax(S* s, Eigen::Index seen, Eigen::Index length) const {
        using array = Eigen::Array<S, 1, Eigen::Dynamic>;
        Eigen::Map<array> row(s, seen);
        S top = s[0];
        for (Eigen::Index j = 1; j < seen; ++j) top = std::max(top, s[j]);
        row = ((row - top) * scale()).exp();
        const S whole = sum_of<S>(seen, [&](Eigen::Index j) { return s[j]; });
        for (Eigen::Index j = 0; j < seen; ++j) s[j] /= whole;
        std::fill(s + seen, s + length, S(0));
    }
    /// In place, d [length]: the gradient by the share to that by the score, d_j = scale p_j (d_j - sum over k of p_k d_k).
    void softmax_backward(const S* p, S* d, Eigen::Index seen, Eigen::Index length) const {
        const S mean = sum_of<S>(seen, [&](Eigen::Index j) { return p[j] * d[j]; }), factor = scale();
        for (Eigen::Index j = 0; j < seen; ++j) d[j] = factor * p[j] * (d[j] - mean);
        std::fill(d + seen, d + length, S(0));
    }

    Eigen::Index heads_, width_;
    rotary<S> rotary_;
};

}  // namespace language_model
