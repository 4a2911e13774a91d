#pragma once
#include <guild/backend/cpu/packed_matrix.hpp>
#include <guild/backend/cpu/share.hpp>
#include <guild/core/weights.hpp>

#include <vector>

namespace guild::inline v0::cpu {

/// The format of a network's matrices.
template <class Matrix> struct format_in;
template <class Format> struct format_in<stack<const Format>> { using type = Format; };
template <class Format> struct format_in<scaled_stack<Format>> { using type = Format; };

/// A feed-forward network packed for the kernels of one instruction set: gate and up side by side in every panel, half its columns each, so that the
/// activation finds both in one tile. Owns everything.
template <class Format> class packed_network {
public:
    packed_network() = default;
    /// Packs n, E experts of width F over H, spread by `executor`.
    template <class X, class Matrix>
    packed_network(const kernels& with, const strategy& s, const X& executor, const feed_forward<Matrix, stack<const float>>& n, long E, long F,
                   long H)
        : inputs_(n.gate.data ? 2 : 1),
          width_(F),
          up(s, with.columns, E, inputs_ * F, H, inputs_),
          down(s, with.columns, E, H, F, 1),
          gate_bias_(copy(n.gate_bias, E, F)),
          up_bias_(copy(n.up_bias, E, F)),
          down_bias_(copy(n.down_bias, E, H)),
          gate_bias(lend(gate_bias_, F)),
          up_bias(lend(up_bias_, F)),
          down_bias(lend(down_bias_, H)) {
        // of(e, panel, column): the matrix and its row there; no matrix: zeros.
        const auto each = [&](packed_matrix<Format>& m, auto of) {
            executor.run(E * m.shape().panels(), [&](long begin, long end) {
                for (long i = begin; i < end; ++i) {
                    const long e = i / m.shape().panels(), p = i % m.shape().panels();
                    const auto row = [&](int j) {
                        const auto at = of(p, j);
                        return at.matrix ? at.matrix->row(e, at.row) : nullptr;
                    };
                    const auto scales = [&](int j) {
                        const auto at = of(p, j);
                        if constexpr (has_scales<Format>) return at.matrix->scales(e, at.row);
                    };
                    m.fill(with, e, p, row, scales);
                }
            });
        };
        struct place {
            const Matrix* matrix;
            long row;
        };
        each(up, [&](long p, int j) {
            const int half = with.columns / inputs_;
            const long f = p * half + j % half;
            return f < F ? place{inputs_ == 2 && j < half ? &n.gate : &n.up, f} : place{};
        });
        each(down, [&](long p, int j) {
            const long h = p * with.columns + j;
            return h < H ? place{&n.down, h} : place{};
        });
    }

    /// The matrices as they were, exactly, into `to`, which has their size.
    void unpack(network_weights<Format, float>& to) const {
        const auto each = [](const packed_matrix<Format>& m, long rows, auto matrix, auto row) {
            const cpu::layout& l = m.shape();
            for (long e = 0; e < m.experts(); ++e)
                for (long p = 0; p < l.panels(); ++p)
                    for (int j = 0; j < l.columns(); ++j)
                        if (const long r = row(p, j); r < rows) put(m, e, p, j, e * rows + r, rows, *matrix(j));
        };
        const int columns = up.shape().columns(), half = columns / inputs_;
        each(
            up, width_, [&](int j) { return inputs_ == 2 && j < half ? &to.gate : &to.up; }, [&](long p, int j) { return p * half + j % half; });
        each(
            down, down.shape().outputs(), [&](int) { return &to.down; }, [&](long p, int j) { return p * columns + j; });
        to.gate_bias = gate_bias_, to.up_bias = up_bias_, to.down_bias = down_bias_;
    }

private:
    /// Row `at` of all matrices, one of `rows` an expert.
    template <class Storage> static void put(const packed_matrix<Format>& m, long e, long p, int j, long at, long rows, Storage& to) {
        if constexpr (has_scales<Format>) {
            const long depth = m.shape().depth(), across = scaled_format<Format>::blocks(depth, Format::columns);
            const long down = scaled_format<Format>::blocks(rows, Format::rows), r = at % rows;
            m.unpack(e, p, j, to.data.data() + at * scaled_format<Format>::codes(depth), to.scale.data() + (e * down + r / Format::rows) * across);
        } else {
            m.unpack(e, p, j, to.data() + at * m.shape().depth(), nullptr);
        }
    }
    static std::vector<float> copy(const stack<const float>& b, long E, long n) {
        std::vector<float> v;
        for (long i = 0; b.data && i < E * n; ++i) v.push_back(b(i / n, i % n, 0));
        return v;
    }
    static stack<const float> lend(const std::vector<float>& v, long n) { return {v.empty() ? nullptr : v.data(), n, 1}; }
    int inputs_ = 1;
    long width_ = 0;

public:
    packed_matrix<Format> up;    ///< [E, inputs F, H]
    packed_matrix<Format> down;  ///< [E, H, F]

private:
    std::vector<float> gate_bias_, up_bias_, down_bias_;

public:
    stack<const float> gate_bias, up_bias, down_bias;
};

}  // namespace guild::inline v0::cpu
