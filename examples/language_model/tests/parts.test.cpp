#include "../attention.hpp"
#include "../feed_forward.hpp"
#include "../loss.hpp"
#include "../norm.hpp"
#include "gradient.hpp"

using namespace language_model;

namespace {
const guild::thread_pool pool{2};
const threads team{pool};
}  // namespace

TEST_CASE("a linear map and its two adjoints") {
    matrix<double> x = some(70, 5, 1), w = some(35, 5, 2), y, dx, dw = matrix<double>::Zero(35, 5);
    const matrix<double> c = some(70, 35, 3);
    const auto value = [&] { return product(team, x, w, y), against(y, c); };
    input_gradient(team, c, w, dx);
    weight_gradient(team, c, x, dw);
    check_gradient(value, x, dx);
    check_gradient(value, w, dw);
    const matrix<double> once = dw;
    weight_gradient(team, c, x, dw);
    CHECK(dw.isApprox(2 * once, 1e-12));  // accumulated
}

TEST_CASE("a norm has rows of unit mean square, and its adjoint") {
    matrix<double> x = some(67, 20, 1), gain = matrix<double>::Ones(1, 20), y;
    norm<double>::state st;
    norm<double>::forward(team, gain, x, y, st);
    for (Eigen::Index t = 0; t < x.rows(); ++t) CHECK(y.row(t).squaredNorm() / 20 == doctest::Approx(1).epsilon(1e-5));

    gain = some(1, 20, 2);
    const matrix<double> c = some(67, 20, 3);
    const auto value = [&] { return norm<double>::forward(team, gain, x, y, st), against(y, c); };
    value();
    matrix<double> dx = matrix<double>::Zero(67, 20), dg = matrix<double>::Zero(1, 20);
    norm<double>::backward(team, gain, x, c, dx, dg, st);
    check_gradient(value, x, dx);
    check_gradient(value, gain, dg);
}

TEST_CASE("rotary positions keep lengths, turn back, and make products depend on distances alone") {
    const rotary<double> turn(16, 6);
    const matrix<double> q = some(1, 6, 1), k = some(1, 6, 2);
    const auto at = [&](const matrix<double>& v, Eigen::Index position) {
        matrix<double> r = v;
        turn.turn(r.data(), position);
        return r;
    };
    matrix<double> back = at(q, 11);
    CHECK(back.norm() == doctest::Approx(q.norm()));
    turn.turn(back.data(), 11, true);
    CHECK(back.isApprox(q, 1e-14));
    CHECK(at(q, 3).row(0).dot(at(k, 1).row(0)) == doctest::Approx(at(q, 13).row(0).dot(at(k, 11).row(0))));
    CHECK(at(q, 3).row(0).dot(at(k, 1).row(0)) != doctest::Approx(at(q, 4).row(0).dot(at(k, 1).row(0))));
}

TEST_CASE("attention looks back only, and its adjoint") {
    constexpr Eigen::Index H = 12, N = 7, T = 3 * N;
    const attention<double> heads(H, 3, N);
    attention<double>::weights w{some(3 * H, H, 1), some(H, H, 2)};
    attention<double>::state st;
    matrix<double> x = some(T, H, 3), y, later;
    heads.forward(team, w, x, N, y, st);
    x.row(N + 4) *= 2;
    heads.forward(team, w, x, N, later, st);
    for (Eigen::Index t = 0; t < T; ++t) CHECK((y.row(t) == later.row(t)) == (t < N + 4 || t >= 2 * N));

    const matrix<double> c = some(T, H, 4);
    const auto value = [&] { return heads.forward(team, w, x, N, y, st), against(y, c); };
    value();
    matrix<double> dx;
    attention<double>::weights dw{matrix<double>::Zero(3 * H, H), matrix<double>::Zero(H, H)};
    heads.backward(team, w, x, N, c, dx, dw, st);
    check_gradient(value, x, dx);
    check_gradient(value, w.qkv, dw.qkv);
    check_gradient(value, w.out, dw.out);
}

TEST_CASE("the dense network and its adjoint") {
    matrix<double> x = some(66, 5, 1), y, dx;
    feed_forward<double>::weights w{some(9, 5, 2), some(9, 5, 3), some(5, 9, 4)}, dw;
    feed_forward<double>::resize(dw, 5, 9);
    feed_forward<double>::state st;
    const matrix<double> c = some(66, 5, 5);
    const auto value = [&] { return feed_forward<double>::forward(team, w, x, y, st), against(y, c); };
    value();
    feed_forward<double>::backward(team, w, x, c, dx, dw, st);
    check_gradient(value, x, dx);
    check_gradient(value, w.gate, dw.gate);
    check_gradient(value, w.up, dw.up);
    check_gradient(value, w.down, dw.down);
}

TEST_CASE("cross-entropy: of equal logits log V, and its gradient") {
    const std::vector<std::uint8_t> target{3, 0, 6, 6};
    matrix<double> logits = matrix<double>::Constant(4, 7, 1000);
    CHECK(cross_entropy(team, logits, target, false) == doctest::Approx(std::log(7.0)));
    CHECK(bits(std::log(7.0)) == doctest::Approx(std::log2(7.0)));

    logits = 3 * some(4, 7, 1);
    matrix<double> gradient = logits;
    const double loss = cross_entropy(team, gradient, target, true);
    CHECK(loss == cross_entropy(team, logits, target, false));
    check_gradient([&] { return cross_entropy(team, logits, target, false); }, logits, gradient);
}

TEST_CASE("the same bits for any number of threads") {
    const matrix<float> x = some(200, 24, 1).cast<float>(), gain = some(1, 24, 2).cast<float>(), qkv = some(72, 24, 3).cast<float>(),
                        out = some(24, 24, 4).cast<float>();
    const attention<float> heads(24, 4, 50);
    const auto run = [&](const threads& executor) {
        matrix<float> y, dx, d_norm = matrix<float>::Zero(200, 24), dg = matrix<float>::Zero(1, 24);
        attention<float>::weights w{qkv, out}, dw{matrix<float>::Zero(72, 24), matrix<float>::Zero(24, 24)};
        attention<float>::state st;
        norm<float>::state scale;
        heads.forward(executor, w, x, 50, y, st);
        heads.backward(executor, w, x, 50, y, dx, dw, st);
        norm<float>::forward(executor, gain, x, y, scale);
        norm<float>::backward(executor, gain, x, dx, d_norm, dg, scale);
        matrix<float> all(1, 0);
        for (const auto* m : {&y, &dx, &d_norm, &dg, &dw.qkv, &dw.out}) {
            all.conservativeResize(1, all.cols() + m->size());
            all.rightCols(m->size()) = Eigen::Map<const matrix<float>>(m->data(), 1, m->size());
        }
        return all;
    };
    const guild::thread_pool one{1}, three{3};
    const matrix<float> expected = run(one);
    CHECK(expected == run(team));
    CHECK(expected == run(three));
}
