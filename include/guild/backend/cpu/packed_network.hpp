#pragma once
#include <guild/backend/cpu/packed_matrix.hpp>
#include <guild/backend/cpu/share.hpp>
#include <guild/weights/weights.hpp>

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
        const auto fill = [&](packed_matrix<Format>& m, auto matrix_of, auto row) {
            each_panel(executor, m, [&, matrix_of, row](long e, long p) {
                m.fill(
                    with, e, p, [&](int j) { return row(p, j) < 0 ? nullptr : matrix_of(j).row(e, row(p, j)); },
                    [&](int j) {
                        if constexpr (has_scales<Format>) return matrix_of(j).scales(e, row(p, j));
                    });
            });
        };
        fill(
            up, [&](int j) -> const Matrix& { return is_gate(j) ? n.gate : n.up; }, [&](long p, int j) { return row_of_up(p, j); });
        fill(
            down, [&](int) -> const Matrix& { return n.down; }, [&](long p, int j) { return row_of_down(p, j); });
    }

    /// The matrices as they were, exactly, into `to`, which has their size, spread by `executor`.
    template <class X> void unpack(const X& executor, network_weights<Format, float>& to) const {
        const kernels& with = *kernels_of(up.computed().level);
        const auto undo = [&](const packed_matrix<Format>& m, long rows, auto matrix_of, auto row) {
            each_panel(executor, m, [&, matrix_of, row](long e, long p) {
                m.unpack(
                    with, e, p, [&](int j) { return row(p, j) < 0 ? nullptr : codes_of(matrix_of(j), e * rows + row(p, j), m.shape().depth()); },
                    [&](int j) { return row(p, j) < 0 ? nullptr : scales_of(matrix_of(j), e, rows, row(p, j), m.shape().depth()); });
            });
        };
        undo(
            up, width_, [&](int j) -> storage& { return is_gate(j) ? to.gate : to.up; }, [&](long p, int j) { return row_of_up(p, j); });
        undo(
            down, down.shape().outputs(), [&](int) -> storage& { return to.down; }, [&](long p, int j) { return row_of_down(p, j); });
        to.gate_bias = gate_bias_, to.up_bias = up_bias_, to.down_bias = down_bias_;
    }

    /// Up to how many rows go one by one through the whole network.
    long few_rows() const { return gate_bias.data || up_bias.data || down_bias.data ? 0 : (std::min)(up.few_rows(), down.few_rows()); }

private:
    using storage = typename format<Format>::storage;
    /// f(e, panel) for all panels of all experts.
    template <class X, class F> static void each_panel(const X& executor, const packed_matrix<Format>& m, F f) {
        const long panels = m.shape().panels();
        executor.run(m.experts() * panels, [&](long begin, long end) {
            for (long i = begin; i < end; ++i) f(i / panels, i % panels);
        });
    }
    /// Whether column j of a panel of `up` is of the gate.
    bool is_gate(int j) const { return inputs_ == 2 && j < up.shape().columns() / 2; }
    /// The row of its matrix that column j of a panel holds; -1: none.
    long row_of_up(long panel, int j) const {
        const long half = up.shape().columns() / inputs_, f = panel * half + j % half;
        return f < width_ ? f : -1;
    }
    long row_of_down(long panel, int j) const {
        const long h = panel * down.shape().columns() + j;
        return h < down.shape().outputs() ? h : -1;
    }
    /// The codes of row `at` of all matrices.
    static auto* codes_of(storage& w, long at, long depth) {
        if constexpr (has_scales<Format>) return w.data.data() + at * scaled_format<Format>::codes(depth);
        else return w.data() + at * depth;
    }
    /// The scales of row r of `rows` of expert e, or null where the row shares them with one above, whose thread writes them.
    static auto* scales_of(storage& w, long e, long rows, long r, long depth) {
        if constexpr (has_scales<Format>) {
            const long across = scaled_format<Format>::blocks(depth, Format::columns), down = scaled_format<Format>::blocks(rows, Format::rows);
            return r % Format::rows == 0 ? w.scale.data() + (e * down + r / Format::rows) * across : nullptr;
        } else return static_cast<std::byte*>(nullptr);
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
