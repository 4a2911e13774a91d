#include <guild/core/buffer.hpp>
#include <guild/core/view.hpp>

#include <Eigen/Core>

#include <doctest/doctest.h>

#include <memory>
#include <type_traits>
#include <vector>

using namespace guild;

namespace {
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// As a function of the library takes its arguments.
view<const float> read(view<const float> v) { return v; }
view<float> written(view<float> v) { return v; }

template <class T> void is(const view<T>& v, const float* data, long rows, long cols, long stride) {
    CHECK(v.data == data);
    CHECK(v.rows == rows);
    CHECK(v.cols == cols);
    CHECK(v.stride == stride);
}

static_assert(std::is_trivially_copyable_v<view<float>>);
static_assert(std::is_convertible_v<matrix&, view<float>> && std::is_convertible_v<matrix&, view<const float>>);
static_assert(std::is_convertible_v<const matrix&, view<const float>> && !std::is_convertible_v<const matrix&, view<float>>);
static_assert(std::is_convertible_v<view<float>, view<const float>> && !std::is_convertible_v<view<const float>, view<float>>);
static_assert(!std::is_convertible_v<Eigen::MatrixXd&, view<float>>);
}  // namespace

TEST_CASE("view: from everything row-major of Eigen") {
    matrix m(3, 5);
    const matrix& c = m;
    is(written(m), m.data(), 3, 5, 5);
    is(read(m), m.data(), 3, 5, 5);
    is(read(c), m.data(), 3, 5, 5);
    is(written(m.block(1, 2, 2, 3)), m.data() + 7, 2, 3, 5);
    is(read(c.block(1, 2, 2, 3)), m.data() + 7, 2, 3, 5);
    is(written(m.topRows(2)), m.data(), 2, 5, 5);
    is(written(m.middleCols(1, 3)), m.data() + 1, 3, 3, 5);
    is(written(m.row(2)), m.data() + 10, 1, 5, 5);

    Eigen::Map<matrix> map(m.data(), 5, 3);
    is(written(map), m.data(), 5, 3, 3);
    Eigen::Map<const matrix, 0, Eigen::OuterStride<>> strided(m.data(), 2, 3, Eigen::OuterStride<>(5));
    is(read(strided), m.data(), 2, 3, 5);
    Eigen::Ref<matrix> ref(m);
    is(written(ref), m.data(), 3, 5, 5);
    Eigen::Matrix<float, 2, 4, Eigen::RowMajor> fixed;
    is(written(fixed), fixed.data(), 2, 4, 4);
    Eigen::Array<float, 2, 4, Eigen::RowMajor> array;
    is(written(array), array.data(), 2, 4, 4);
    matrix none(0, 5);
    is(written(none), none.data(), 0, 5, 5);
}
namespace {
using columns = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic>;
using vector = Eigen::VectorXf;
template <int Outer, int Inner> using stride = Eigen::Stride<Outer, Inner>;
constexpr int any = Eigen::Dynamic;

/// n numbers in memory of exactly that size, so that a sanitizer sees what lies beyond.
struct numbers {
    std::unique_ptr<float[]> memory;
    float* p;
    explicit numbers(long n) : memory(new float[static_cast<std::size_t>(n)]{}), p(memory.get()) {}
};

/// v has the numbers of an expression, each at the same address.
void same_places(view<const float> v, long rows, long cols, const void* e, const float* (*at)(const void*, long, long)) {
    REQUIRE(v.rows == rows);
    REQUIRE(v.cols == cols);
    CHECK((rows < 2 || v.stride >= cols));
    long wrong = 0;
    for (long r = 0; r < rows; ++r)
        for (long c = 0; c < cols; ++c) wrong += &v(r, c) != at(e, r, c) || v(r, c) != 0;
    CHECK(wrong == 0);
}
template <class... E> void read_only(const E&... e) {
    const auto one = []<class X>(const X& x) {
        same_places(read(x), x.rows(), x.cols(), &x, [](const void* p, long r, long c) { return &static_cast<const X*>(p)->coeffRef(r, c); });
    };
    (one(e), ...);
}
/// ... as it is read and as it is written.
template <class... E> void both(E&&... e) {
    const auto one = []<class X>(X& x) {
        const auto at = [](const void* p, long r, long c) -> const float* { return &static_cast<X*>(const_cast<void*>(p))->coeffRef(r, c); };
        same_places(written(x), x.rows(), x.cols(), &x, at);
        same_places(read(x), x.rows(), x.cols(), &x, at);
    };
    (one(e), ...);
}
template <class V> void column_vector(V& v) {
    const V& c = v;
    both(v, v.segment(1, 2), v.template head<3>(), v.tail(2), v.array(), v.col(0), v.block(1, 0, 2, 1), v.row(2), v.segment(1, 3).head(2));
    read_only(c, c.segment(1, 2));
}
template <class V> void row_vector(V& v) {
    const V& c = v;
    both(v, v.segment(1, 2), v.template head<3>(), v.tail(2), v.array(), v.row(0), v.middleCols(1, 2), v.col(2), v.transpose());
    read_only(c, c.segment(1, 2));
}
/// The columns of a matrix, whatever its order, and its diagonals.
template <class M> void columns_of(M& m) {
    const M& c = m;
    both(m.col(0), m.col(2), m.col(1).segment(1, 2), m.template block<2, 1>(1, 1), m.block(1, 1, 2, 1).col(0), m.row(1).transpose(), m.diagonal(),
         m.template block<1, 1>(1, 1));
    read_only(c.col(1), c.diagonal(1));
}
template <class M> void rows_of(M& m) {
    const M& c = m;
    both(m, m.row(2), m.row(1).segment(1, 2), m.block(1, 1, 2, 2), m.template topRows<1>(), m.bottomRightCorner(2, 1), m.array());
    read_only(c, c.leftCols(2));
}
}  // namespace

TEST_CASE("view: column vectors, whatever lies between their numbers") {
    vector dynamic = vector::Zero(5);
    Eigen::Vector<float, 5> fixed = decltype(fixed)::Zero();
    Eigen::ArrayXf array = decltype(array)::Zero(5);
    Eigen::Matrix<float, any, any, Eigen::ColMajor, 7, 1> at_most_one = decltype(at_most_one)::Zero(5, 1);
    numbers five(5), nine(9), thirteen(13);
    Eigen::Map<vector, 0, Eigen::InnerStride<>> by_three(thirteen.p, 5, Eigen::InnerStride<>(3));
    column_vector(dynamic);
    column_vector(fixed);
    column_vector(by_three);
    both(array, array.segment(1, 2), array.matrix(), at_most_one);
    both(Eigen::Map<vector>(five.p, 5), Eigen::Map<Eigen::Vector<float, 5>>(five.p), Eigen::Map<vector, 0, Eigen::InnerStride<2>>(nine.p, 5),
         Eigen::Map<vector, 0, Eigen::OuterStride<>>(five.p, 5, Eigen::OuterStride<>(9)),
         Eigen::Map<vector, 0, stride<any, any>>(thirteen.p, 5, stride<any, any>(99, 3)), Eigen::Map<vector>(five.p, 0));
    const Eigen::Map<const vector, 0, Eigen::InnerStride<>> constant(thirteen.p, 5, Eigen::InnerStride<>(3));
    read_only(constant, constant.segment(1, 3), Eigen::Map<const vector>(five.p, 5));
    static_assert(!std::is_convertible_v<decltype((constant)), view<float>>);

    both(Eigen::Ref<vector>(dynamic), Eigen::Ref<vector, 0, Eigen::InnerStride<>>(by_three),
         Eigen::Ref<vector, 0, Eigen::InnerStride<>>(dynamic).tail(2));
    read_only(Eigen::Ref<const vector>(dynamic), Eigen::Ref<const vector, 0, Eigen::InnerStride<>>(by_three));
    const Eigen::Ref<const vector> copied(by_three);  // holds numbers of its own
    read_only(copied);
    Eigen::VectorXcf complex = Eigen::VectorXcf::Zero(4);
    both(complex.real(), complex.imag());
    Eigen::Matrix<float, 1, 1> one(0);
    Eigen::Matrix<float, 1, 1, Eigen::RowMajor> row_one(0);
    both(one, row_one, Eigen::Map<Eigen::Matrix<float, 1, 1>, 0, Eigen::InnerStride<>>(five.p, Eigen::InnerStride<>(4)));
}
TEST_CASE("view: row vectors, one number beside the other") {
    Eigen::RowVectorXf dynamic = decltype(dynamic)::Zero(5);
    Eigen::RowVector<float, 5> fixed = decltype(fixed)::Zero();
    Eigen::Array<float, 1, any> array = decltype(array)::Zero(5);
    numbers five(5);
    row_vector(dynamic);
    row_vector(fixed);
    both(array, array.tail(2), Eigen::Map<Eigen::RowVectorXf>(five.p, 5),
         Eigen::Map<Eigen::RowVectorXf, 0, Eigen::OuterStride<>>(five.p, 5, Eigen::OuterStride<>(2)), Eigen::Ref<Eigen::RowVectorXf>(dynamic));
    read_only(Eigen::Map<const Eigen::RowVectorXf>(five.p, 5), Eigen::Ref<const Eigen::RowVectorXf>(dynamic));
    vector v = vector::Zero(5);
    columns m = columns::Zero(3, 4);
    both(v.transpose(), v.segment(1, 3).transpose(), m.col(1).transpose());
}
TEST_CASE("view: matrices, their rows and columns, in either order, with strides of both kinds") {
    matrix dynamic = matrix::Zero(3, 4), one_column = matrix::Zero(5, 1);
    Eigen::Matrix<float, 3, 4, Eigen::RowMajor> fixed = decltype(fixed)::Zero();
    numbers twelve(12), memory(3 * 7);
    Eigen::Map<matrix, 0, Eigen::OuterStride<>> outer(memory.p, 3, 4, Eigen::OuterStride<>(7));
    Eigen::Ref<matrix> ref(dynamic);
    rows_of(dynamic), columns_of(dynamic);
    rows_of(fixed), columns_of(fixed);
    rows_of(outer), columns_of(outer);
    both(ref, ref.col(1), Eigen::Ref<matrix>(outer), Eigen::Ref<matrix>(outer).col(1), one_column, one_column.col(0), Eigen::Ref<matrix>(one_column),
         Eigen::Map<matrix>(twelve.p, 3, 4), Eigen::Map<matrix, 0, Eigen::OuterStride<7>>(memory.p, 3, 4),
         Eigen::Map<matrix, 0, stride<any, 1>>(memory.p, 3, 4, stride<any, 1>(7, 1)),
         Eigen::Map<matrix, 0, Eigen::OuterStride<>>(memory.p, 3, 1, Eigen::OuterStride<>(7)));
    read_only(Eigen::Ref<const matrix>(outer), Eigen::Ref<const matrix>(outer).middleCols(1, 2), Eigen::Map<const matrix>(twelve.p, 3, 4));

    columns by_column = columns::Zero(3, 4);
    Eigen::Map<columns, 0, stride<any, any>> two_strides(memory.p, 3, 3, stride<any, any>(7, 2));
    Eigen::Map<matrix, 0, stride<any, any>> two_row_strides(memory.p, 3, 3, stride<any, any>(7, 2));
    columns_of(by_column);
    columns_of(two_strides);
    columns_of(two_row_strides);
    both(by_column.transpose(), by_column.transpose().middleRows(1, 2), by_column.topRows(2).transpose(),
         Eigen::Ref<columns, 0, stride<any, any>>(two_strides).col(1),
         Eigen::Map<columns, 0, stride<1, any>>(memory.p, 3, 4, stride<1, any>(1, 7)));  // rows, by its strides
}
TEST_CASE("view: rows, entries, columns") {
    std::vector<float> numbers(20);
    const view<float> v(numbers.data(), 3, 4, 6);
    v(2, 3) = 7;
    CHECK(numbers[15] == 7);
    CHECK(v.row(2) == numbers.data() + 12);
    is(v.columns(1, 2), numbers.data() + 1, 3, 2, 6);
    is(view<float>(numbers.data(), 3, 4), numbers.data(), 3, 4, 4);
    is(view<const float>(v), numbers.data(), 3, 4, 6);
    is(view<float>(), nullptr, 0, 0, 0);
}
TEST_CASE("buffer: grows, never shrinks, does not move while it suffices") {
    buffer<int> b;
    is(buffer<float>().shape(0, 7), nullptr, 0, 7, 7);
    const int* const first = b.shape(4, 5).data;
    CHECK(first == b.data());
    b[19] = 3;
    CHECK(b.shape(2, 10).data == first);
    CHECK(b.shape(1, 1).data == first);
    CHECK(b.shape(20, 1).data == first);
    CHECK(b[19] == 3);
    CHECK(b.shape(5, 5).rows == 5);
    b[24] = 1;
}
