#include <guild/core/buffer.hpp>
#include <guild/core/view.hpp>

#include <Eigen/Core>

#include <doctest/doctest.h>

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
