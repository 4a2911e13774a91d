#pragma once
#include "attention.hpp"
#include "norm.hpp"
#include "parameter.hpp"

#include <guild/core/batch.hpp>

namespace language_model {

/// One block: h = x + attention(norm(x)), y = h + feed(norm(h)). `Feed` is the dense network or the mixture.
template <class S, class Feed> struct block {
    struct weights {
        matrix<S> attention_norm, feed_norm;  ///< [1, H] each
        typename attention<S>::weights attention;
        typename Feed::weights feed;
    };
    struct state {
        matrix<S> attention_in, middle, feed_in;  ///< [T, H] each: norm(x), h, norm(h)
        typename norm<S>::state attention_norm, feed_norm;
        typename attention<S>::state attention;
        typename Feed::state feed;
        matrix<S> d_norm, d_middle;
    };

    /// x, y [T, H]; x must live until backward.
    static void forward(const threads& team, const attention<S>& heads, const weights& w, const matrix<S>& x, Eigen::Index length, matrix<S>& y,
                        state& st, const guild::batch& side) {
        norm<S>::forward(team, w.attention_norm, x, st.attention_in, st.attention_norm);
        heads.forward(team, w.attention, st.attention_in, length, st.middle, st.attention);
        st.middle += x;
        norm<S>::forward(team, w.feed_norm, st.middle, st.feed_in, st.feed_norm);
        Feed::forward(team, w.feed, st.feed_in, y, st.feed, side);
        y += st.middle;
    }

    /// dx = , gradient += .
    static void backward(const threads& team, const attention<S>& heads, const weights& w, const matrix<S>& x, Eigen::Index length,
                         const matrix<S>& dy, matrix<S>& dx, weights& gradient, state& st) {
        Feed::backward(team, w.feed, st.feed_in, dy, st.d_norm, gradient.feed, st.feed);
        st.d_middle = dy;
        norm<S>::backward(team, w.feed_norm, st.middle, st.d_norm, st.d_middle, gradient.feed_norm, st.feed_norm);
        heads.backward(team, w.attention, st.attention_in, length, st.d_middle, st.d_norm, gradient.attention, st.attention);
        dx = st.d_middle;
        norm<S>::backward(team, w.attention_norm, x, st.d_norm, dx, gradient.attention_norm, st.attention_norm);
    }

    /// Sizes the tensors outside the feed-forward network, all 0.
    static void resize(weights& w, Eigen::Index H) {
        w.attention_norm = w.feed_norm = matrix<S>::Zero(1, H);
        w.attention = {matrix<S>::Zero(3 * H, H), matrix<S>::Zero(H, H)};
    }

    static void list(weights& w, const std::string& prefix, parameters<S>& out) {
        const long H = w.attention_norm.cols();
        out.add(prefix + "input_layernorm.weight", w.attention_norm.data(), 0, H);
        out.add(prefix + "self_attn.q_proj.weight", w.attention.qkv.data(), H, H);
        out.add(prefix + "self_attn.k_proj.weight", w.attention.qkv.data() + H * H, H, H);
        out.add(prefix + "self_attn.v_proj.weight", w.attention.qkv.data() + 2 * H * H, H, H);
        out.add(prefix + "self_attn.o_proj.weight", w.attention.out.data(), H, H);
        out.add(prefix + "post_attention_layernorm.weight", w.feed_norm.data(), 0, H);
        Feed::list(w.feed, prefix + "mlp.", out);
    }
};

}  // namespace language_model
