#pragma once
#include <guild/backend/cpu/environment.hpp>
#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/one_row.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/backend/reference.hpp>
#include <guild/backend/tile.hpp>

namespace guild::inline v0::backend {

/// The CPU path. In float the kernels of backend/cpu, for the instruction set that the machine is found to have; in double, and where the
/// compiler is neither g++ nor clang, Eigen's products in fixed tiles (tile.hpp); other scalars take the loops of `reference`. Weights in any
/// format. An executor spreads the work over threads, never inside a product: a row's result depends on that row alone, not on threads, on the
/// other rows, nor on alignment. No allocation. A thread that computes products works in about 0.3 MiB, 0.6 in double, 1.2 for packed bf16 or int8
/// by AMX: that of a caller in his workspace, those of the executor on their stacks.
template <class Executor = serial> struct eigen : reference {
    using environment = cpu::environment;  ///< of a caller, as of the threads of `each`
    Executor executor{};                   ///< on whose threads products run

    eigen() = default;
    /// On that executor.
    explicit eigen(Executor e) : executor(e) {}
    /// `by`: how products in float are computed, over packed weights and over plain ones, in training too. bf16 rounds both operands of the experts'
    /// three products and sums in fp32; weights, gradients and activations stay as they are, and the router in fp32. It is meant for AMX, bf16_chain
    /// for avx512_bf16; by the fp32 multiply-adds of other machines bf16 is slower than fp32. int8 is for packed int8 weights, plain ones are
    /// multiplied in fp32. `level`: an instruction set that the machine has, for tests and comparisons. Throws argument_error if the machine lacks
    /// it or the arithmetic.
    eigen(Executor e, cpu::arithmetic by, cpu::isa level = cpu::active())
        : executor(e), arithmetic_(by), level_(level), kernels_(cpu::kernels_of(level)), plain_(cpu::plain_kernels_of(by, level)) {}

    /// Bytes that products in S lay out on one thread, those of room.hpp.
    template <tile::native S> std::size_t product_bytes() const {
        if constexpr (!has_kernels<S>) return sizeof(tile::rows_room<S>) + sizeof(tile::panel_room<S>) + sizeof(tile::gemm_room<S>);
        else {
            const bool whole = level_ == cpu::isa::amx && (arithmetic_ == cpu::arithmetic::bf16 || arithmetic_ == cpu::arithmetic::int8);
            return whole ? cpu::most_bytes<true> : cpu::most_bytes<false>;
        }
    }

    using reference::input_gradient, reference::product, reference::weight_gradient;

    /// c [R, N] = a [R, M] w_e^T, as reference::product; float and double by tiles of rows.
    template <tile::native S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        if constexpr (has_kernels<S>) return spread(g, c.cols, a.cols, [&](const cpu::piece& at) { cpu::product(plain(g), g, at, a, w, c); });
        else
            each(tile::count(g, c.cols), [&](long first, long last) {
                tile::each_tile(g, c.cols, first, last, [&](const tile::place& at) { tile::product(g, at, a, w, c); });
            });
    }
    /// da [R, M] = or += dc [R, N] w_e, as reference::input_gradient.
    template <tile::native S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        if constexpr (has_kernels<S>)
            return spread(g, da.cols, dc.cols, [&](const cpu::piece& at) { cpu::input_gradient(plain(g), g, at, dc, w, da, mode); });
        else
            each(tile::count(g, da.cols), [&](long first, long last) {
                tile::each_tile(g, da.cols, first, last, [&](const tile::place& at) { tile::input_gradient(g, at, dc, w, da, mode); });
            });
    }
    /// dw_e [N, M] += dc^T a over the rows of e, as reference::weight_gradient.
    template <tile::native S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        if constexpr (has_kernels<S>) {
            const cpu::cut by{(dc.cols + cpu::outer_rows - 1) / cpu::outer_rows, 1, cpu::outer_rows * a.cols};
            cpu::share(*this, g, by, [&](const cpu::piece& at) { cpu::weight_gradient(plain(g), g, at, dc, a, dw); });
        } else {
            const long across = tile::blocks(a.cols), blocks = across * tile::blocks(dc.cols);
            each(g.count * blocks, [&](long first, long last) {
                for (long i = first; i < last; ++i) {
                    const long block = i % blocks;
                    tile::weight_gradient(g, static_cast<int>(i / blocks), block / across * tile::width, block % across * tile::width, dc, a, dw);
                }
            });
        }
    }

    /// A network of weights in any format in the layout of the kernels, for packed_weights.
    template <class Matrix>
    requires cpu::have_kernels auto pack(const feed_forward<Matrix, stack<const float>>& n, long E, long F, long H) const {
        using format = typename cpu::format_in<Matrix>::type;
        return cpu::packed_network<format>(*kernels_, cpu::strategy_of<format>(arithmetic_, level_), *this, n, E, F, H);
    }
    /// A router in the same layout, always in fp32.
    cpu::packed_matrix<float> pack_router(const stack<const float>& router, long P, long H) const requires cpu::have_kernels {
        cpu::packed_matrix<float> m(cpu::strategy_of<float>(cpu::arithmetic::fp32, level_), kernels_->columns, 1, P, H, 1);
        for (long p = 0; p < m.shape().panels(); ++p)
            m.fill(*kernels_, 0, p, [&](int j) { return p * kernels_->columns + j < P ? router.row(0, p * kernels_->columns + j) : nullptr; });
        return m;
    }
    /// Throws argument_error if a network is packed for another instruction set or another arithmetic than this backend's. The functions below take
    /// networks that have passed, which a layer sees to once a call.
    template <class Format> void check(const cpu::packed_network<Format>& w) const {
        fitting(w.up);
        if (w.up.computed().by != arithmetic_)
            detail::raise<argument_error>("guild::cpu: weights are packed for arithmetic ", name(w.up.computed().by), ", expected ",
                                          name(arithmetic_), ", which this backend computes");
    }
    template <class Format> void product(const groups<float>& g, view<const float> a, const cpu::packed_matrix<Format>& w, view<float> c) const {
        const cpu::kernels& with = fitting(w);
        if constexpr (std::same_as<Format, float>)
            if (g.count == 1 && !g.source && !g.factor && g.rows(0) <= w.few_rows())
                return cpu::product_by_rows(with, g.begin(0), g.begin(0) + g.rows(0), a, w, c);
        cpu::product(with, *this, g, a, w, c);
    }
    template <class Act, class Format>
    void expert_up(const Act& act, const groups<float>& g, view<const float> x, const cpu::packed_network<Format>& w, view<float> h,
                   view<float> a) const {
        cpu::expert_up(*kernels_, *this, act, g, x, w, h, a);
    }
    template <class Format>
    void expert_down(const groups<float>& g, view<const float> a, const cpu::packed_network<Format>& w, const plan& p, const float* weight,
                     view<float> y) const {
        cpu::expert_down(*kernels_, *this, g, a, w, p, weight, y);
    }

    /// Up to how many rows in all go one by one through experts, each token through its own alone; 0: none.
    template <std::same_as<swiglu> Act> long few_rows(const Act&, const cpu::packed_network<float>& w) const { return w.few_rows(); }
    void network_by_rows(view<const float> x, const cpu::packed_network<float>& w, view<float> y) const { cpu::network_by_rows(*kernels_, x, w, y); }
    void experts_by_rows(view<const float> x, const cpu::packed_network<float>& w, const choice<float>& chosen, view<float> y) const {
        cpu::experts_by_rows(*kernels_, x, w, chosen, y);
    }

    /// out [n] = g sigmoid(g) u in vectors, and its adjoint: d_g, d_u = by d [n].
    template <std::same_as<swiglu> Act>
    void activation(const Act&, const float* g, const float* u, long n, float* out) const requires cpu::have_kernels {
        kernels_->swiglu(g, u, 1, n, n, out, n);
    }
    template <std::same_as<swiglu> Act>
    void activation_gradient(const Act&, const float* g, const float* u, const float* d, long n, float* d_g,
                             float* d_u) const requires cpu::have_kernels {
        kernels_->swiglu_gradient(g, u, d, n, d_g, d_u);
    }

    template <class F> void each(long n, F&& f) const {
        if constexpr (std::same_as<Executor, serial>) executor.run(n, f);  // on the thread of a caller, who has the environment
        else
            executor.run(n, [&](long begin, long end) {
                const environment usual;
                f(begin, end);
            });
    }
    /// `each`, as executors call it, and the executor's number of threads.
    template <class F> void run(long n, F&& f) const { each(n, f); }
    long size() const requires requires(const Executor& e) { e.size(); }
    { return static_cast<long>(executor.size()); }

private:
    template <class S> static constexpr bool has_kernels = std::same_as<S, float>&& cpu::have_kernels;

    /// f(piece) for outputs of which each is a sum of `depth` products.
    template <class F> void spread(const groups<float>& g, long outputs, long depth, F f) const {
        const cpu::cut by{cpu::panels_of(*kernels_, outputs), kernels_->fp32.ridge, kernels_->columns * depth};
        cpu::share(*this, g, by, [&](const cpu::piece& whole) { cpu::each_part(whole, cpu::most_rows, by.panels, f); });
    }
    cpu::plain_kernels plain(const groups<float>& g) const { return g.exact ? cpu::exact(kernels_) : plain_; }
    /// The kernels, if the weights are packed for them.
    template <class Format> const cpu::kernels& fitting(const cpu::packed_matrix<Format>& w) const {
        if (w.computed().level != level_)
            detail::raise<argument_error>("guild::cpu: weights are packed for ", name(w.computed().level), ", expected ", name(level_),
                                          ", which this backend uses");
        return *kernels_;
    }

    cpu::arithmetic arithmetic_ = cpu::arithmetic::fp32;
    cpu::isa level_ = cpu::active();
    const cpu::kernels* kernels_ = cpu::kernels_of(level_);
    cpu::plain_kernels plain_ = cpu::exact(kernels_);
};

}  // namespace guild::inline v0::backend
