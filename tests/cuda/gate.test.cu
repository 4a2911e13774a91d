#include <guild/cuda/gate.cuh>
#include <guild/gate/published/gates.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/noisy_gate.hpp>

#include <algorithm>
#include <vector>

namespace {
/// A list in device memory.
template <class T> class on_device {
public:
    on_device(const T* from, std::size_t n) : n_(n) {
        REQUIRE(cudaMalloc(&data_, (n + 1) * sizeof(T)) == cudaSuccess);
        REQUIRE(cudaMemcpy(data_, from, n * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    }
    explicit on_device(const std::vector<T>& v) : on_device(v.data(), v.size()) {}
    on_device(const on_device&) = delete;
    ~on_device() { cudaFree(data_); }
    T* data() const { return data_; }
    std::vector<T> back() const {
        std::vector<T> v(n_);
        REQUIRE(cudaMemcpy(v.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
        return v;
    }

private:
    T* data_ = nullptr;
    std::size_t n_;
};
template <class T> bool same(const std::vector<T>& a, const T* b, auto equal) { return std::equal(a.begin(), a.end(), b, equal); }

/// The kernels do what the plain loop does: the same experts, numbers up to the rounding of another exp.
template <class Model> void agrees(const Model& m) {
    namespace cuda = guild::cuda;
    const gate_case<Model> c(m);
    const long T = c.tokens;
    const on_device<float> logit(c.logit), learned(c.learned), state(c.state), d_weight(c.d_weight), d_score(c.d_score), d_logit(c.before);
    const on_device<float> d_scored_logit(c.d_scored_logit), d_shared(c.d_shared), shared(std::vector<float>(c.d_shared.size(), -7.f));
    const on_device<bool> padding(c.padding.data(), c.padding.size());
    const on_device<long> position(c.position.data(), c.position.size());
    const on_device<int> expert(std::vector<int>(static_cast<std::size_t>(T * c.W), -7));
    const on_device<float> weight(std::vector<float>(static_cast<std::size_t>(T * c.W), -7.f));
    const on_device<float> d_learned(std::vector<float>(static_cast<std::size_t>(T * c.L), -7.f));
    const on_device<float> previous(c.previous), d_previous(std::vector<float>(c.previous.size(), -7.f));
    const guild::gate_data<float> data{.learned = learned.data(), .state = state.data(), .previous = {previous.data(), T, c.E}};
    const cuda::batch side{.padding = padding.data(), .position = position.data(), .seed = c.side.seed, .training = true};

    cuda::gate_forward<<<cuda::gate_blocks(T), cuda::gate_threads>>>(m.stages(), m.extent(), data, side, logit.data(), T, expert.data(),
                                                                     weight.data(), shared.data());
    cuda::gate_backward<<<cuda::gate_blocks(T), cuda::gate_threads>>>(m.stages(), m.extent(), data, side, logit.data(), T,
                                                                      c.by(d_weight.data(), d_shared.data(), d_scored_logit.data(), d_score.data()),
                                                                      d_logit.data(), c.L > 0 ? d_learned.data() : nullptr, d_previous.data());
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(same(expert.back(), c.result.choice.expert.data(), std::equal_to<>{}));
    CHECK(same(weight.back(), c.result.choice.weight.data(), nearly));
    if (guild::gate::weighs_shared<Model>) CHECK(same(shared.back(), c.result.shared.data(), nearly));
    CHECK(same(d_logit.back(), c.d_logit.data(), nearly));
    CHECK(same(d_previous.back(), c.d_previous.data(), nearly));
    const auto shares = d_learned.back();
    for (long l = 0; l < c.L; ++l) {
        float sum = 0;
        for (long t = 0; t < T; ++t) sum += shares.data()[t * c.L + l];
        CHECK(nearly(sum, c.d_learned.data()[l]));
    }
}
}  // namespace

TEST_CASE("gate on a GPU: as on the CPU") {
    agrees(fixed<64, 6>(guild::deepseek_moe_gate{}));
    agrees(fixed<256, 8>(guild::deepseek_v3_gate{}));
    agrees(fixed<33, 4>(noisy_gate{}));
    agrees(fixed<64, 4>(guild::specialised_gate{}));
    agrees(fixed<33, 4>(guild::moe_plus_plus_gate{}));
    agrees(fixed<33, 4>(guild::inkling_gate{}));
    agrees(sized<64>(guild::inkling_gate{.shared = 40}, 64, 4));
}
