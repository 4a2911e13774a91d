#pragma once
#include <guild/backend/cpu/environment.hpp>
#include <guild/backend/cpu/fused.hpp>
#include <guild/backend/cpu/one_row.hpp>
#include <guild/backend/cpu/products.hpp>
#include <guild/backend/host.hpp>
#include <guild/backend/tile.hpp>

namespace guild::inline v0::backend {

/// The CPU path. In float the kernels of backend/cpu, for the instruction set that the machine is found to have; in double, and where the
/// compiler is neither g++ nor clang, Eigen's products in fixed tiles (tile.hpp); other scalars take the loops of `host`. Weights in any
/// format. An executor spreads the work over threads, never inside a product: a row's result depends on that row alone, not on threads, on the
/// other rows, nor on alignment. No allocation. A thread that computes products works in about 0.3 MiB, 0.6 in double, 1.2 for packed bf16 or int8
/// by AMX: that of a caller in his workspace, those of the executor on their stacks.
template <class Executor = serial> struct eigen : host {
    static constexpr unsigned overrides = overridden::dispatch | overridden::experts;  ///< in inference over packed weights
    using packer = eigen;                                                              ///< whose packed weights it takes
    Executor executor{};                                                               ///< on whose threads products run

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

    /// A call: how its thread rounds, and what products lay out.
    struct call {
        detail::in_use::call use;  ///< of the memory
        cpu::environment usual;    ///< of the thread
        room::lend memory;         ///< of its products
    };
    /// As host::enter.
    template <class S> call enter(forward_memory<S>& m, const char* what) const { return {{m.use, what}, {}, room::lend(lent<S>(m))}; }

    /// c [R, N] = a [R, M] w_e^T, as host::product; float and double by tiles of rows.
    template <class S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        if constexpr (has_kernels<S>) spread(g, c.cols, a.cols, [&](const cpu::piece& at) { cpu::product(plain_, g, at, a, w, c); });
        else if constexpr (!tile::native<S>) host::product(g, a, w, c);
        else
            each(tile::count(g, c.cols), [&](long first, long last) {
                tile::each_tile(g, c.cols, first, last, [&](const tile::place& at) { tile::product(g, at, a, w, c); });
            });
    }
    /// da [R, M] = or += dc [R, N] w_e, as host::input_gradient.
    template <class S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        if constexpr (has_kernels<S>) spread(g, da.cols, dc.cols, [&](const cpu::piece& at) { cpu::input_gradient(plain_, g, at, dc, w, da, mode); });
        else if constexpr (!tile::native<S>) host::input_gradient(g, dc, w, da, mode);
        else
            each(tile::count(g, da.cols), [&](long first, long last) {
                tile::each_tile(g, da.cols, first, last, [&](const tile::place& at) { tile::input_gradient(g, at, dc, w, da, mode); });
            });
    }
    /// dw_e [N, M] += dc^T a over the rows of e, as host::weight_gradient.
    template <class S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        if constexpr (!tile::native<S>) host::weight_gradient(g, dc, a, dw);
        else if constexpr (has_kernels<S>) {
            const cpu::cut by{(dc.cols + cpu::outer_rows - 1) / cpu::outer_rows, 1, cpu::outer_rows * a.cols};
            cpu::share(*this, g, by, [&](const cpu::piece& at) { cpu::weight_gradient(plain_, g, at, dc, a, dw); });
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
    template <class Format> void check_packed(const cpu::packed_network<Format>& w) const {
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
    /// The same, rounding no operand.
    eigen exact() const {
        eigen e = *this;
        e.plain_ = cpu::exact(kernels_);
        return e;
    }

    template <class C> void each_of_tokens(const C& c, auto& m, long T, auto f) const {
        if constexpr (fuses<C, decltype(m)>)  // an inference keeps no h
            host::each_of_tokens(c, m, T, [&](auto& b, long rows, long columns) {
                if (at(b) != at(m.shared_h)) f(b, rows, columns);
            });
        else host::each_of_tokens(c, m, T, f);
    }
    template <class C> void each_of_rows(const C& c, auto& m, long R, long own, auto f) const {
        if constexpr (fuses<C, decltype(m)>)  // nor rows of experts with matrices, unless the weight is on their input
            host::each_of_rows(c, m, R, own, [&](auto& b, long rows, long columns) {
                if (at(b) != at(m.h)) f(b, !C::weighs_input && at(b) == at(m.rows) ? R - own : rows, columns);
            });
        else host::each_of_rows(c, m, R, own, f);
    }

    /// No plan where few tokens go one by one through their experts.
    template <class C> auto dispatch(const C& c, auto& m) const {
        if constexpr (fuses<C, decltype(m)> && alone<C>) {
            if (!by_token(c, m)) host::dispatch(c, m);
        } else host::dispatch(c, m);
    }
    /// Over packed weights: down product, weights and sum over experts in one, unless the weight is on the input.
    template <class C, class S> void experts(const C& c, view<const S> x, guild::workspace<S>& m, view<S> y) const {
        if constexpr (!fuses<C, guild::workspace<S>&> || C::weighs_input) host::experts(c, x, m, y);
        else {
            if constexpr (alone<C>)
                if (!m.planned) return one_by_one(c, x, m, y);
            const groups<S> g = c.routed(m);
            const view<S> a = m.a.all();
            c.backend.up(c, g, x, c.w.experts, view<S>{}, a);
            step::passive(c, x, m, a.rows);
            c.backend.shared(c, x, nullptr, m, y);
            cpu::expert_down(*kernels_, *this, g, view<const S>(a), c.w.experts, m.plan, m.gate.choice.weight.data(), y);
            step::combine(c, x, m, y, a.rows);
        }
    }
    template <class C, class S> void experts(const C& c, view<const S> x, guild::tape<S>& m, view<S> y) const { host::experts(c, x, m, y); }

    /// Over packed weights: gather, gate and up products and activation in one; h may be empty.
    template <class C, class S> void up(const C& c, const groups<S>& g, view<const S> x, const auto& w, view<S> h, view<S> a) const {
        if constexpr (requires { w.few_rows(); }) cpu::expert_up(*kernels_, *this, c.model.activation, g, x, w, h, a);
        else host::up(c, g, x, w, h, a);
    }

    /// SwiGLU in vectors.
    template <class Act, class S> void activation(const Act& act, const S* gate, const S* up, long n, S* out) const {
        if constexpr (has_kernels<S> && std::same_as<Act, swiglu>) kernels_->swiglu(gate, up, 1, n, n, out, n);
        else host::activation(act, gate, up, n, out);
    }
    template <class Act, class S> void activation_gradient(const Act& act, const S* gate, const S* up, const S* d, long n, S* d_gate, S* d_up) const {
        if constexpr (has_kernels<S> && std::same_as<Act, swiglu>) kernels_->swiglu_gradient(gate, up, d, n, d_gate, d_up);
        else host::activation_gradient(act, gate, up, d, n, d_gate, d_up);
    }

    template <class F> void each(long n, F&& f) const {
        if constexpr (std::same_as<Executor, serial>) executor.run(n, f);  // on the thread of a caller, who has the environment
        else
            executor.run(n, [&](long begin, long end) {
                const cpu::environment usual;
                f(begin, end);
            });
    }
    /// `each`, as executors call it, and the executor's number of threads.
    template <class F> void run(long n, F&& f) const { each(n, f); }
    long size() const requires requires(const Executor& e) { e.size(); }
    { return static_cast<long>(executor.size()); }

private:
    template <class S> room::lent lent(forward_memory<S>& m) const {
        if constexpr (tile::native<S>) return m.products.reserve(product_bytes<S>());
        else return {};
    }
    template <class S> static constexpr bool has_kernels = std::same_as<S, float>&& cpu::have_kernels;

    /// f(piece) for outputs of which each is a sum of `depth` products.
    template <class F> void spread(const groups<float>& g, long outputs, long depth, F f) const {
        const cpu::cut by{cpu::panels_of(*kernels_, outputs), kernels_->fp32.ridge, kernels_->columns * depth};
        cpu::share(*this, g, by, [&](const cpu::piece& whole) { cpu::each_part(whole, cpu::most_rows, by.panels, f); });
    }
    /// Whether this is an inference over networks that this packs.
    template <class C, class M>
    static constexpr bool fuses = std::derived_from<std::remove_cvref_t<M>, guild::workspace<float>>&& requires(const C& c) {
        c.w.experts.few_rows();
    };
    static const void* at(const auto& buffer) { return &buffer; }
    /// Whether tokens may go one by one through their experts: networks in fp32 with SwiGLU, where the gate weighs neither inputs nor shared experts
    /// and nothing else is learned.
    template <class C>
    static constexpr bool alone = std::same_as<decltype(C::weights::experts), cpu::packed_network<float>>&&
                                      std::same_as<std::remove_cvref_t<decltype(std::declval<const C&>().model.activation)>, swiglu> &&
                                  !C::weighs_input && !C::weighs_shared && !C::shared_learns;
    template <class C> [[gnu::noinline]] void one_by_one(const C& c, view<const float> x, const guild::workspace<float>& m, view<float> y) const {
        if (c.G() > 0) cpu::network_by_rows(*kernels_, x, c.w.shared, y);
        else step::zero(y);
        cpu::experts_by_rows(*kernels_, x, c.w.experts, m.gate.choice, y);
    }
    /// Whether an inference has so few rows, through networks so small, that they do, without a plan. Not where there is a residual or a passive expert.
    template <class C> bool by_token(const C& c, guild::workspace<float>& m) const {
        const long most = c.w.experts.few_rows();
        if (c.model.residual != residual::none || c.E() != c.routed_experts() || most == 0 || (c.G() > 0 && m.tokens > c.w.shared.few_rows()))
            return false;
        long rows = 0;
        guild::dispatch::each_chosen(m.gate.choice, c.routed_experts(), [&](int) { ++rows; });
        if (rows > most) return false;
        step::check_rows(m, rows);
        m.planned = false;
        return true;
    }
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
