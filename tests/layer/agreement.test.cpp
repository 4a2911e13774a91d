#include <support/products.hpp>
#include <support/few.hpp>
#include <support/outcome.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

// backend::eigen against backend::reference: the same numbers but for rounding, on every shape.

namespace {
using guild::bf16;
using reference = guild::backend::reference;
using eigen = guild::backend::eigen<>;

/// The largest deviation of anything that the two backends compute.
template <class A, class B> double deviation(A& a, B& b) {
    double most = std::max({test::apart(a.inferred, b.inferred), test::apart(a.y, b.y), test::apart(a.dx, b.dx)});
    guild::each_tensor(
        [&](const char*, const auto& one, const auto& two) {
            test::deviation d;
            for (std::size_t i = 0; i < two.size(); ++i) d.add(static_cast<double>(one[i]), static_cast<double>(two[i]));
            most = std::max(most, d.relative());
        },
        a.gradient, b.gradient);
    return most;
}

template <class Format, class Model> void compare(const test::shape& s, test::place at) {
    CAPTURE(s);
    const auto w = s.weights<Format>(s.model<Model>());
    const guild::layer<Model, Format, reference> plain{w};
    const guild::layer<Model, Format, eigen> fast{w};
    const auto token = test::first_tokens(s.tokens);
    test::outcome expected(plain, token);
    test::outcome found(fast, token, {}, at);
    CHECK(found.intact());
    CHECK(test::same_bits(found.inferred, found.y));
    CHECK(deviation(found, expected) < (std::is_same_v<Format, double> ? 2e-14 : 5e-6));
}
/// Stages and losses of a user, who wrote no adjoint.
struct keeps_some_gate {
    constexpr auto stages() const { return guild::pipeline{guild::score{guild::softmax{}}, test::threshold{}, guild::top_k{}}; }
};
struct keeps_some : guild::model<guild::config{.hidden = 16, .expert_hidden = 8, .routed_experts = 6, .top_k = 2}, keeps_some_gate{}> {};
struct derived : guild::model<guild::config{.hidden = 24, .expert_hidden = 20, .routed_experts = 16, .top_k = 3}, test::comparing_gate{},
                              test::comparing_loss{}> {};
template <class S, class Model> void compare_derived() {
    const auto w = guild::random_weights<Model, S>(1);
    const auto token = test::first_tokens(test::few ? 9 : 200);
    const guild::layer<Model, S, reference> plain{w};
    const guild::layer<Model, S, eigen> fast{w};
    test::outcome expected(plain, token);
    test::outcome found(fast, token);
    CHECK(deviation(found, expected) < (std::is_same_v<S, double> ? 2e-14 : 5e-6));
    CHECK(static_cast<double>(std::abs(found.loss - expected.loss)) <= 1e-5 * static_cast<double>(std::abs(expected.loss)));
}
template <class Format> void compare_all(const std::vector<test::shape>& all) {
    int i = 0;
    for (const test::shape& s : all) {
        const test::place at{.offset = i % 5, .gap = i % 3 * 7};
        if (++i % 2) compare<Format, test::gated_model<>>(s, at);
        else compare<Format, test::plain_model<>>(s, at);
    }
}
}  // namespace

TEST_CASE_TEMPLATE("eigen agrees with reference on every shape", Format, float, double, bf16) {
    compare_all<Format>(test::shapes({0, 1, 2, 5, 37}, {1, 2, 7, 16}, 1));
}

TEST_CASE_TEMPLATE("eigen agrees with reference on any number of tokens", Format, float, double, bf16) {
    for (const long T : {3, 4, 6, 8, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 130}) {
        test::shape s{.tokens = T, .config = {.hidden = 17, .expert_hidden = 9, .routed_experts = 3, .top_k = 2, .shared_experts = 1}};
        compare<Format, test::gated_model<>>(s, {.offset = 3, .gap = 1});
        s.all_to_one = true;
        compare<Format, test::gated_model<>>(s, {});
    }
}

TEST_CASE_TEMPLATE("eigen agrees with reference where an expert is wider than a tile", Format, float, double, bf16) {
    compare<Format, test::gated_model<>>(
        {.tokens = test::few ? 33 : 70, .config = {.hidden = 300, .expert_hidden = 513, .routed_experts = 2, .top_k = 1, .shared_hidden = 259}},
        {.offset = 1, .gap = 5});
}

TEST_CASE_TEMPLATE("eigen agrees with reference where adjoints are derived", S, float, double) {
    compare_derived<S, keeps_some>();
    compare_derived<S, derived>();
}

TEST_CASE("a layer reads and writes row-major matrices, maps and blocks of Eigen") {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const test::shape s{.tokens = 5, .config = {.hidden = 6, .expert_hidden = 4, .routed_experts = 3, .top_k = 2, .shared_experts = 1}};
    const auto w = s.weights<float>(s.model<test::gated_model<>>());
    const guild::layer layer{w};
    test::outcome expected(layer, test::first_tokens(5));
    const auto values = [](const test::matrix<float>& m) {
        return Eigen::Map<const matrix, 0, Eigen::OuterStride<>>(m.all().data, m.rows(), m.cols(), Eigen::OuterStride<>(m.all().stride));
    };
    matrix x = matrix::Constant(9, 20, 7.f), y = x, dy = x, dx = x;
    x.block(2, 3, 5, 6) = values(expected.x);
    dy.block(1, 0, 5, 6) = values(expected.dy);
    guild::workspace<float> ws;
    guild::tape<float> tape;
    guild::weights<test::gated_model<>> gradient(w.model);
    layer.forward(x.block(2, 3, 5, 6), y.block(4, 14, 5, 6), ws);
    CHECK(y.block(4, 14, 5, 6) == values(expected.y));
    y.block(4, 14, 5, 6).setConstant(7.f);
    CHECK(y == matrix::Constant(9, 20, 7.f));

    Eigen::Map<matrix, 0, Eigen::OuterStride<>> out(y.data(), 5, 6, Eigen::OuterStride<>(20));
    layer.forward(x.block(2, 3, 5, 6), out, tape);
    layer.backward(dy.block(1, 0, 5, 6), dx.middleRows(4, 5).leftCols(6), gradient, tape);
    CHECK(y.topLeftCorner(5, 6) == values(expected.y));
    CHECK(dx.block(4, 0, 5, 6) == values(expected.dx));
    CHECK(test::same_gradients(gradient, expected.gradient));

    matrix whole = values(expected.x), result(5, 6);
    const matrix& constant = whole;
    layer.forward(constant, result, ws);
    CHECK(result == values(expected.y));
}
