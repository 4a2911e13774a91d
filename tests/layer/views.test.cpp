#include <support/products.hpp>
#include <support/outcome.hpp>

#include <Eigen/Core>

#include <doctest/doctest.h>

#include <memory>
#include <sstream>

// Layers one number wide, whose x and y are vectors: in memory of exactly their size, columns of matrices, and every second number.

namespace {
struct narrow
    : guild::model<guild::config{.hidden = 1, .expert_hidden = 3, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, guild::gated_shared{}> {};
using by_row = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using vector = Eigen::Map<Eigen::VectorXf>;
using spread = Eigen::Map<Eigen::VectorXf, 0, Eigen::InnerStride<>>;
constexpr long T = 37;

std::unique_ptr<float[]> memory(long n) { return std::make_unique<float[]>(static_cast<std::size_t>(n)); }

/// The bits of `o`, with x, dy, y and dx where these are.
template <class Layer> void same(const Layer& layer, test::outcome<Layer>& o, auto&& x, auto&& dy, auto&& y, auto&& dx) {
    const auto fill = [](const test::matrix<float>& from, auto& to) {
        for (long t = 0; t < T; ++t) to(t) = from(t, 0);
    };
    fill(o.x, x), fill(o.dy, dy);
    guild::workspace<float> workspace;
    layer.forward(x, y, workspace);
    CHECK(test::same_bits<float>(guild::view<const float>(y), o.inferred));
    guild::tape<float> tape;
    layer.forward(x, y, tape);
    CHECK(test::same_bits<float>(guild::view<const float>(y), o.y));
    typename Layer::gradients gradient;
    layer.backward(dy, dx, gradient, tape);
    CHECK(test::same_bits<float>(guild::view<const float>(dx), o.dx));
    CHECK(test::same_gradients(gradient, o.gradient));
}
template <class Backend> void vectors() {
    const auto w = guild::random_weights<narrow>(1);
    const guild::layer<narrow, float, Backend> layer(w);
    test::outcome<guild::layer<narrow, float, Backend>> o(layer, test::first_tokens(T));

    const auto a = memory(T), b = memory(T), c = memory(T), d = memory(T);
    same(layer, o, vector(a.get(), T), vector(b.get(), T), vector(c.get(), T), vector(d.get(), T));

    by_row rows = by_row::Constant(T, 5, 7);  // x and y side by side in one matrix
    same(layer, o, rows.col(4), rows.col(3), rows.col(0), rows.col(2));
    CHECK(rows.col(1) == by_row::Constant(T, 1, 7));
    Eigen::MatrixXf columns = Eigen::MatrixXf::Constant(T + 2, 5, 7);
    same(layer, o, columns.col(4).segment(1, T), columns.col(0).head(T), columns.col(1).tail(T), columns.col(3).segment(1, T));
    CHECK(columns.col(2) == Eigen::MatrixXf::Constant(T + 2, 1, 7));
    CHECK((columns(0, 4) == 7 && columns(T + 1, 4) == 7 && columns(T, 0) == 7 && columns(1, 1) == 7 && columns(T + 1, 3) == 7));

    const auto e = memory(2 * T - 1), f = memory(2 * T), g = memory(3 * T - 2);
    const Eigen::InnerStride<> two(2), three(3);
    same(layer, o, spread(e.get(), T, two), spread(f.get(), T, two), spread(g.get(), T, three), spread(f.get() + 1, T, two));
    for (std::size_t t = 0; t < T - 1; ++t) CHECK((e[2 * t + 1] == 0 && g[3 * t + 1] == 0 && g[3 * t + 2] == 0));
}
}  // namespace

TEST_CASE("one number a token: vectors, their parts, columns, and vectors with gaps") {
    vectors<guild::backend::eigen<>>();
    vectors<guild::backend::reference>();
}
TEST_CASE("one number a token: packed weights") {
    const auto w = guild::random_weights<narrow>(1);
    const guild::packed_weights<narrow, float, guild::backend::eigen<>> packed(w);
    const guild::layer layer(packed);
    const auto a = memory(T), b = memory(T);
    vector x(a.get(), T), y(b.get(), T);
    x.setLinSpaced(-1, 1);
    by_row rows(T, 3), out(T, 1);
    rows.col(1) = x;
    guild::workspace<float> workspace;
    for (const long n : {1L, 4L, T}) {
        layer.forward(by_row(x.head(n)), out.topRows(n), workspace);
        layer.forward(x.head(n), y.head(n), workspace);
        layer.forward(rows.col(1).head(n), rows.col(2).head(n), workspace);
        CHECK(y.head(n) == out.col(0).head(n));
        CHECK(rows.col(2).head(n) == out.col(0).head(n));
    }
}
TEST_CASE("one number a token: targets, and heat maps of a vector") {
    const auto w = guild::random_weights<narrow>(1);
    const guild::layer layer(w);
    test::outcome o(layer, test::first_tokens(T));
    by_row rows = by_row::Random(T, 3), tight = rows.col(1), dy(T, 1), wide(T, 2);
    CHECK(guild::blend_error<float>(rows.col(1), o.y, wide.col(1)) == guild::blend_error<float>(tight, o.y, dy));
    CHECK(wide.col(1) == dy);
    CHECK(guild::mixture_likelihood(guild::view<const float>(rows.col(1)), o.tape) ==
          guild::mixture_likelihood(guild::view<const float>(tight), o.tape));
    std::ostringstream of_column, of_matrix;
    guild::heat_map(of_column, guild::view<const float>(rows.col(1)), "load");
    guild::heat_map(of_matrix, guild::view<const float>(tight), "load");
    CHECK(of_column.str() == of_matrix.str());
}
