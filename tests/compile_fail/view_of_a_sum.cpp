// expect: guild::view: an expression that must be computed has no memory
#include <guild/core/view.hpp>

#include <Eigen/Core>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void read(guild::view<const float>);
void write(guild::view<float>);

void sum(const matrix& a, const matrix& b) { read((a + b).col(0)); }
