#pragma once
#include <support/matrix.hpp>

#include <guild/guild.hpp>

#include <numeric>
#include <vector>

namespace test {

/// Tokens 0 .. T - 1.
inline std::vector<long> first_tokens(long T) {
    std::vector<long> token(static_cast<std::size_t>(T));
    std::iota(token.begin(), token.end(), 0L);
    return token;
}

/// Where the matrices of a batch lie, each by itself; those of y for `inferred` too.
struct batch_places {
    place x, dy, y, dx;
};

/// What a layer makes of a batch: a forward for inference, one for training, and a backward. Row i of x and dy depends on token[i] alone.
template <class Layer> struct outcome {
    using S = typename Layer::scalar;
    matrix<S> x, dy, inferred, y, dx;
    typename Layer::gradients gradient;
    S loss{};
    guild::workspace<S> workspace;
    guild::tape<S> tape;

    outcome(const Layer& layer, const std::vector<long>& token, const guild::batch& side = {}, place at = {})
        : outcome(layer, token, side, batch_places{at, at, at, at}) {}
    outcome(const Layer& layer, const std::vector<long>& token, const guild::batch& side, const batch_places& at)
        : x(length(token), width(layer), at.x),
          dy(x.rows(), x.cols(), at.dy),
          inferred(x.rows(), x.cols(), at.y),
          y(x.rows(), x.cols(), at.y),
          dx(x.rows(), x.cols(), at.dx),
          gradient(layer.model()) {
        for (long r = 0; r < x.rows(); ++r)
            for (long h = 0; h < x.cols(); ++h) {
                x(r, h) = static_cast<S>(2 * guild::uniform(8, 0, token[static_cast<std::size_t>(r)], h) - (h > 0));
                dy(r, h) = static_cast<S>(2 * guild::uniform(8, 1, token[static_cast<std::size_t>(r)], h) - 1);
            }
        run(layer, side);
    }
    /// The same again, for the x and dy of now.
    void run(const Layer& layer, const guild::batch& side = {}) {
        layer.forward(x, inferred, workspace, side);
        layer.forward(x, y, tape, side);
        loss = layer.loss(tape);
        layer.backward(dy, dx, gradient, tape);
    }
    bool intact() const { return x.intact() && dy.intact() && inferred.intact() && y.intact() && dx.intact(); }

private:
    static long length(const std::vector<long>& token) { return static_cast<long>(token.size()); }
    static long width(const Layer& layer) { return layer.model().config.hidden; }
};

/// Whether all gradients of parameters have the same bits.
template <class Model, class S> bool same_gradients(const guild::weights<Model, S>& a, const guild::weights<Model, S>& b) {
    bool same = true;
    guild::each_tensor([&](const char*, const auto& one, const auto& two) { same = same && same_bits(one, two); }, a, b);
    return same;
}

}  // namespace test
