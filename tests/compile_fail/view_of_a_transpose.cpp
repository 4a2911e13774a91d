// expect: guild::view: activations are row-major
#include <guild/core/view.hpp>

#include <Eigen/Core>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void read(guild::view<const float>);
void write(guild::view<float>);

void transposed(matrix& m) { write(m.transpose()); }
