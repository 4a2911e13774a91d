// expect: guild::view: the numbers of a row must lie side by side
#include <guild/core/view.hpp>

#include <Eigen/Core>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void read(guild::view<const float>);
void write(guild::view<float>);

void any(const Eigen::Ref<matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>& m) { read(m); }
