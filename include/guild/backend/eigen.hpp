#pragma once
#include <guild/backend/reference.hpp>
#include <guild/backend/tile.hpp>

namespace guild::inline v0::backend {

/// The CPU path: Eigen's matrix products in fixed tiles, spread by an executor over (expert, tile), never inside a product.
/// A row's result depends on that row alone: not on threads, on the other rows, nor on alignment (tile.hpp says why). For float
/// and double, with weights in any format; other scalars take the loops of `reference`. No allocation; each thread that runs a
/// product needs about 0.3 MiB of stack.
template <class Executor = serial> struct eigen : reference {
    [[no_unique_address]] Executor executor{};

    eigen() = default;
    explicit eigen(Executor e) : executor(e) {}

    using reference::input_gradient, reference::product, reference::weight_gradient;

    template <tile::native S, class W> void product(const groups<S>& g, view<const S> a, const W& w, view<S> c) const {
        executor.run(tile::count(g, c.cols), [&](long first, long last) {
            tile::each_tile(g, c.cols, first, last, [&](const tile::place& at) { tile::product(g, at, a, w, c); });
        });
    }
    template <tile::native S, class W> void input_gradient(const groups<S>& g, view<const S> dc, const W& w, view<S> da, into mode) const {
        executor.run(tile::count(g, da.cols), [&](long first, long last) {
            tile::each_tile(g, da.cols, first, last, [&](const tile::place& at) { tile::input_gradient(g, at, dc, w, da, mode); });
        });
    }
    template <tile::native S> void weight_gradient(const groups<S>& g, view<const S> dc, view<const S> a, stack<S> dw) const {
        const long across = tile::blocks(a.cols), blocks = across * tile::blocks(dc.cols);
        executor.run(g.count * blocks, [&](long first, long last) {
            for (long i = first; i < last; ++i) {
                const long block = i % blocks;
                tile::weight_gradient(g, static_cast<int>(i / blocks), block / across * tile::width, block % across * tile::width, dc, a, dw);
            }
        });
    }
    template <class F> void each(long n, F&& f) const { executor.run(n, f); }
};

}  // namespace guild::inline v0::backend
