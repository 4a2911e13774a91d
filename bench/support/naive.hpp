#pragma once
#include <guild/dispatch/plan.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/weights/weights.hpp>

#include <Eigen/Core>

#include <vector>

namespace bench {

/// A mixture of SwiGLU experts as one writes it with Eigen in an afternoon, to compare with: a loop over the experts, each with its
/// tokens gathered, one product per matrix, plain SwiGLU, and a weighted scatter. The choice and its weights are given: neither the
/// router nor its gradient is computed. A shared expert is an expert that gets every token with weight 1; these stand at both
/// ends of the loop, so that threads, which take experts, get equal shares.
class naive {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using stride = Eigen::OuterStride<>;
    template <class M> using map = Eigen::Map<M, Eigen::Unaligned, stride>;

    struct expert {
        int id;                      // a shared expert: -1, -2, ..
        long first, rows;            // in the plan
        matrix in{}, g{}, u{}, a{};  // what backward reads
        matrix out{};                // by forward; by backward, the gradient by `in`
    };
    std::vector<expert> experts_;
    const guild::plan& plan_;
    const guild::choice<float>& choice_;
    guild::config c_;

public:
    naive(const guild::config& c, const guild::plan& plan, const guild::choice<float>& choice) : plan_(plan), choice_(choice), c_(c) {
        for (int s = 0; s < c.shared_experts; s += 2) experts_.push_back({.id = -1 - s, .first = 0, .rows = choice.tokens});
        for (int e = 0; e < c.routed_experts; ++e)
            if (const int n = plan.offset[e + 1] - plan.offset[e]; n > 0) experts_.push_back({.id = e, .first = plan.offset[e], .rows = n});
        for (int s = 1; s < c.shared_experts; s += 2) experts_.push_back({.id = -1 - s, .first = 0, .rows = choice.tokens});
    }

    /// x, y [T, H], y =
    template <class Model> void forward(const guild::weights<Model, float>& w, const matrix& x, matrix& y, const guild::thread_pool& pool) {
        each(pool, [&](expert& e) {
            e.in.resize(e.rows, c_.hidden);
            for (long r = 0; r < e.rows; ++r) e.in.row(r) = x.row(token(e, r));
            e.g.noalias() = e.in * up_matrix(e.id, w.experts.gate, w.shared.gate).transpose();
            e.u.noalias() = e.in * up_matrix(e.id, w.experts.up, w.shared.up).transpose();
            e.a = (e.g.array() / (1 + (-e.g.array()).exp()) * e.u.array()).matrix();
            e.out.noalias() = e.a * down_matrix(e.id, w.experts.down, w.shared.down).transpose();
        });
        y.setZero();
        for (expert& e : experts_)
            for (long r = 0; r < e.rows; ++r) y.row(token(e, r)) += weight(e, r) * e.out.row(r);
    }
    /// After forward. dy, dx [T, H], dx =, grad +=
    template <class Model>
    void backward(const guild::weights<Model, float>& w, const matrix& dy, matrix& dx, guild::weights<Model, float>& grad,
                  const guild::thread_pool& pool) {
        each(pool, [&](expert& e) {
            matrix d_out(e.rows, c_.hidden);
            for (long r = 0; r < e.rows; ++r) d_out.row(r) = weight(e, r) * dy.row(token(e, r));
            down_matrix(e.id, grad.experts.down, grad.shared.down).noalias() += d_out.transpose() * e.a;
            const matrix d_a = d_out * down_matrix(e.id, w.experts.down, w.shared.down);
            const matrix sigmoid = (1 / (1 + (-e.g.array()).exp())).matrix();
            const matrix d_u = (d_a.array() * e.g.array() * sigmoid.array()).matrix();
            const matrix d_g = (d_a.array() * e.u.array() * sigmoid.array() * (1 + e.g.array() * (1 - sigmoid.array()))).matrix();
            up_matrix(e.id, grad.experts.up, grad.shared.up).noalias() += d_u.transpose() * e.in;
            up_matrix(e.id, grad.experts.gate, grad.shared.gate).noalias() += d_g.transpose() * e.in;
            e.out.noalias() = d_u * up_matrix(e.id, w.experts.up, w.shared.up);
            e.out.noalias() += d_g * up_matrix(e.id, w.experts.gate, w.shared.gate);
        });
        dx.setZero();
        for (expert& e : experts_)
            for (long r = 0; r < e.rows; ++r) dx.row(token(e, r)) += e.out.row(r);
    }

private:
    template <class F> void each(const guild::thread_pool& pool, F f) {
        pool.run(static_cast<long>(experts_.size()), [&](long begin, long end) {
            for (long i = begin; i < end; ++i) f(experts_[static_cast<std::size_t>(i)]);
        });
    }
    long token(const expert& e, long r) const { return e.id < 0 ? r : plan_.token[e.first + r]; }
    float weight(const expert& e, long r) const { return e.id < 0 ? 1 : choice_.weight[plan_.slot[e.first + r]]; }

    /// An expert's [F, H] and [H, F], of weights or gradients.
    template <class V> auto up_matrix(int id, V& routed, V& shared) const {
        const long F = c_.expert_hidden, H = c_.hidden;
        return mapped(id < 0 ? shared.data() + (-1 - id) * F * H : routed.data() + id * F * H, F, H, H);
    }
    template <class V> auto down_matrix(int id, V& routed, V& shared) const {
        const long F = c_.expert_hidden, H = c_.hidden, G = c_.shared_width();
        return id < 0 ? mapped(shared.data() + (-1 - id) * F, H, F, G) : mapped(routed.data() + id * H * F, H, F, F);
    }
    static auto mapped(float* data, long rows, long cols, long step) { return map<matrix>(data, rows, cols, stride(step)); }
    static auto mapped(const float* data, long rows, long cols, long step) { return map<const matrix>(data, rows, cols, stride(step)); }
};

}  // namespace bench
