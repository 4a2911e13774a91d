#include "../checkpoint.hpp"
#include "../initialise.hpp"
#include "../model.hpp"
#include "../sampling.hpp"
#include "../training.hpp"
#include "gradient.hpp"

#include <sstream>
#include <unistd.h>

using namespace language_model;

namespace {

struct few : guild::model<guild::segmented{.hidden = 8, .ffn_hidden = 6, .experts = 4, .top_k = 2, .segments = 2, .shared = 1},
                          guild::deepseek_moe_gate{}, guild::expert_loss{.weight = 0.5}> {};

const guild::thread_pool pool{2};
const threads team{pool};
constexpr shape small{.layers = 3, .heads = 2, .context = 5, .dense_hidden = 7};

std::vector<std::uint8_t> text(long which) {
    std::vector<std::uint8_t> out;
    for (long i = 0; i < 10; ++i)
        out.push_back(static_cast<std::uint8_t>(256 * uniform(static_cast<unsigned long long>(which), purpose::windows, i)));
    return out;
}

}  // namespace

TEST_CASE("the gradient of the whole model, balance losses included, tied and untied") {
    for (const bool tied : {false, true}) {
        CAPTURE(tied);
        shape form = small;
        form.tied = tied;
        const transformer<few, double> model(form, team);
        auto w = model.zero(), gradient = model.zero();
        const auto weights = model.list(w), gradients = model.list(gradient);
        initialise(weights, form.layers, tied, 1);
        const auto bytes = text(1), target = text(2);
        transformer<few, double>::state st;
        const auto value = [&] {
            model.forward(w, bytes, 5, st, {.training = true});
            return cross_entropy(team, st.logits, target, false) + model.balance_loss(w, st);
        };
        model.forward(w, bytes, 5, st, {.training = true});
        cross_entropy(team, st.logits, target, true);
        model.backward(w, bytes, 5, gradient, st);
        REQUIRE(weights.size() == gradients.size());
        double length = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            CAPTURE(weights[i].name);
            const long n = std::min(weights[i].size(), 6L), from = (weights[i].size() - n) / 2;  // a few: parts.test.cpp has every adjoint whole
            check_gradient(value, weights[i].data + from, n, gradients[i].data + from);
            for (long j = 0; j < weights[i].size(); ++j) length += std::abs(gradients[i].data[j]);
        }
        for (const std::uint8_t b : bytes) {  // the rows that are read
            check_gradient(value, w.embedding.row(b).data(), 8, gradient.embedding.row(b).data());
        }
        CHECK(length > 1);
    }
}

TEST_CASE("tensors have the names and shapes of DeepSeek's checkpoints") {
    const transformer<few, float> model(small, team);
    auto w = model.zero();
    const auto all = model.list(w);
    const auto find = [&](const std::string& name) {
        for (const auto& p : all)
            if (p.name == name) return detail::dimensions(p);
        return std::vector<long>{};
    };
    using dims = std::vector<long>;
    CHECK(find("model.embed_tokens.weight") == dims{256, 8});
    CHECK(find("model.layers.0.input_layernorm.weight") == dims{8});
    CHECK(find("model.layers.0.self_attn.q_proj.weight") == dims{8, 8});
    CHECK(find("model.layers.0.self_attn.o_proj.weight") == dims{8, 8});
    CHECK(find("model.layers.0.mlp.gate_proj.weight") == dims{7, 8});
    CHECK(find("model.layers.0.mlp.down_proj.weight") == dims{8, 7});
    CHECK(find("model.layers.1.post_attention_layernorm.weight") == dims{8});
    CHECK(find("model.layers.1.mlp.gate.weight") == dims{7, 8});
    CHECK(find("model.layers.2.mlp.experts.6.up_proj.weight") == dims{3, 8});
    CHECK(find("model.layers.2.mlp.experts.6.down_proj.weight") == dims{8, 3});
    CHECK(find("model.layers.2.mlp.shared_experts.gate_proj.weight") == dims{3, 8});
    CHECK(find("model.norm.weight") == dims{8});
    CHECK(find("lm_head.weight") == dims{256, 8});
    CHECK(all.count() == 256 * 8 * 2 + 8 + 3 * (2 * 8 + 4 * 8 * 8) + 3 * 7 * 8 + 2 * (7 * 8 + 8 * 3 * 3 * 8));
    std::vector<std::pair<const float*, const float*>> places;
    for (const auto& p : all) places.emplace_back(p.data, p.data + p.size());
    std::sort(places.begin(), places.end(), [](const auto& x, const auto& y) { return std::less<>{}(x.first, y.first); });
    for (std::size_t i = 1; i < places.size(); ++i) CHECK(!std::less<>{}(places[i].first, places[i - 1].second));  // no two share a number
}

TEST_CASE("a model read back from a file gives the same bits") {
    const transformer<few, float> model(small, team);
    auto w = model.zero(), again = model.zero();
    initialise(model.list(w), 3, false, 5);
    const auto file = std::filesystem::temp_directory_path() / ("language_model_" + std::to_string(::getpid()) + ".safetensors");
    save(file, model.list(w), {{"format", "pt"}});
    load(file, model.list(again));
    transformer<few, float>::state st, st_again;
    model.forward(w, text(1), 5, st);
    model.forward(again, text(1), 5, st_again);
    CHECK(st.logits == st_again.logits);

    const transformer<few, float> deeper({.layers = 4, .heads = 2, .context = 5, .dense_hidden = 7}, team);
    auto more = deeper.zero();
    CHECK_THROWS_AS(load(file, deeper.list(more)), guild::io::file_error);
    std::filesystem::remove(file);
    CHECK_THROWS_AS(load(file, model.list(again)), guild::io::file_error);
}

TEST_CASE("sampling: the best byte without temperature, the shares of the softmax with it, none outside the nucleus") {
    std::vector<float> logits(256, -50);
    logits[65] = 1, logits[66] = 2, logits[67] = 1;
    CHECK(choose(logits.data(), {.temperature = 0}, 0.9) == 66);
    std::vector<long> count(256);
    for (long i = 0; i < 20000; ++i) ++count[choose(logits.data(), {.temperature = 1, .nucleus = 1}, uniform(3, purpose::sampling, i))];
    const double whole = 2 + std::exp(1.0);
    CHECK(static_cast<double>(count[66]) / 20000 == doctest::Approx(std::exp(1.0) / whole).epsilon(0.02));
    CHECK(static_cast<double>(count[65]) / 20000 == doctest::Approx(1 / whole).epsilon(0.05));
    CHECK(count[65] + count[66] + count[67] == 20000);
    for (const double u : {0.0, 0.5, 0.999999}) {
        CHECK(choose(logits.data(), {.temperature = 1, .nucleus = 0.5}, u) == 66);
        CHECK(choose(logits.data(), {.temperature = 1, .nucleus = 0.6}, u) != 67);
    }
}

TEST_CASE("a continuation has the length asked for, depends on the seed, and goes on beyond the context") {
    const transformer<few, float> model(small, team);
    auto w = model.zero();
    initialise(model.list(w), 3, false, 5);
    const std::string a = continuation(model, w, "ab", 12, {}, 1);
    CHECK(a.size() == 12);
    CHECK(a == continuation(model, w, "ab", 12, {}, 1));
    CHECK(a != continuation(model, w, "ab", 12, {}, 2));
}

TEST_CASE("training finds a simple rule, and the same bits for any number of threads") {
    document d{"rule", {}};
    for (int i = 0; i < 300; ++i) d.text += i % 3 == 0 ? "ab" : "cd";
    const std::vector<document> all{d};
    const windows text(all, 5, "training");
    const settings how{.steps = 80, .sequences = 8, .seed = 1, .schedule = {.rate = 0.02, .warm_up = 10}};
    const auto run = [&](const threads& executor) {
        const transformer<few, float> model(small, executor);
        auto w = model.zero();
        std::ostringstream said;
        progress line(said);
        return train("few", model, w, text, text.consecutive(), how, line);
    };
    const guild::thread_pool one{1}, three{3};
    const outcome a = run(one), b = run(three);
    CHECK(a.held_out < 0.5);  // uncertain only where a window begins
    CHECK(a.held_out == b.held_out);
    CHECK(a.training == b.training);
    CHECK(a.load == b.load);
    CHECK(a.steps == 80);
    CHECK(a.tokens == 80 * 8 * 5);
    REQUIRE(a.curve.size() == 16);
    CHECK(a.curve.front().held_out > a.curve.back().held_out);
    CHECK(a.curve.back().held_out == a.held_out);  // fewer windows than the curve may have: the whole text
    REQUIRE(a.load.size() == 2);
    CHECK(std::accumulate(a.load[0].begin(), a.load[0].end(), 0L) == static_cast<long>(text.consecutive().size()) * 5 * 3);
}
