// expect: guild::view: the numbers of a row must lie side by side
#include <guild/core/view.hpp>

#include <Eigen/Core>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void read(guild::view<const float>);
void write(guild::view<float>);

void spread(float* data) {
    using stride = Eigen::Stride<Eigen::Dynamic, 2>;
    read(Eigen::Map<matrix, 0, stride>(data, 2, 8, stride(16, 2)));
}
