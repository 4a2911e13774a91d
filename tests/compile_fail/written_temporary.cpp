// expect: guild::view: what is written into a temporary is lost
#include <guild/core/view.hpp>

#include <Eigen/Core>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void read(guild::view<const float>);
void write(guild::view<float>);

matrix made();
void lost() { write(made()); }
