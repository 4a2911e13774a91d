#include <guild/telemetry/numbers.hpp>

#include <doctest/doctest.h>
#include <support/products.hpp>

#include <sstream>

#if __has_include(<nlohmann/json.hpp>)
#include <nlohmann/json.hpp>
#endif

namespace {

constexpr guild::config numbers{.hidden = 8, .expert_hidden = 4, .routed_experts = 6, .top_k = 3};
struct plain : guild::model<numbers, guild::deepseek_moe_gate{}> {};
struct tight
    : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 6, .top_k = 2}, guild::gshard_capacity_gate{.factor = 0.5}> {};
struct sparse : guild::model<numbers, guild::remoe_gate{}> {};
struct other : guild::model<guild::config{.hidden = 8, .expert_hidden = 4, .routed_experts = 5, .top_k = 2}> {};

/// One batch of T tokens of a fixed seed through a layer of Model, on a workspace of its own.
template <class Model> struct subject {
    guild::weights<Model> weights = guild::random_weights<Model>(3);
    guild::layer<Model> layer{weights};
    guild::workspace<float> workspace;
    std::vector<float> x, y;

    void forward(long T, unsigned long long seed, const guild::batch& side = {}) {
        x.resize(static_cast<std::size_t>(T * 8));
        y.resize(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(guild::normal(seed, 0, 0, static_cast<long>(i)));
        layer.forward({x.data(), T, 8}, {y.data(), T, 8}, workspace, side);
    }
    bool chose(long t, int e) const {
        const auto& c = workspace.gate.choice;
        for (long k = 0; k < c.slots; ++k)
            if (c.expert[t * c.slots + k] == e) return true;
        return false;
    }
};

template <class Model> void against_naive_count() {
    subject<Model> s;
    guild::telemetry seen;
    std::vector<long> pair(36);
    guild::load all;
    double violation = 0;
    const bool padding[5] = {false, true, false, false, true};
    for (const long T : {7L, 40L, 0L, 5L}) {
        s.forward(T, static_cast<unsigned long long>(T), {.padding = T == 5 ? std::span<const bool>(padding) : std::span<const bool>()});
        seen.add(s.layer, s.workspace);
        const guild::load one = s.layer.load(s.workspace);
        all += one;
        violation += one.max_violation();
        for (long t = 0; t < T; ++t)
            for (int i = 0; i < 6; ++i)
                for (int j = 0; j < 6; ++j) pair[static_cast<std::size_t>(6 * i + j)] += s.chose(t, i) && s.chose(t, j);
        CHECK(seen.last.count == one.count);
        CHECK(seen.last.total == one.total);
        CHECK(seen.last.tokens == (T == 5 ? 3 : T));
    }
    CHECK(seen.batches == 4);
    CHECK(seen.all.tokens == 50);
    CHECK(seen.all.count == all.count);
    CHECK(seen.all.total == all.total);
    CHECK(seen.mean_violation() == violation / 4);
    CHECK(seen.pair == pair);
}

}  // namespace

TEST_CASE("telemetry: counts and pairs are those of a naive count") {
    against_naive_count<plain>();
    against_naive_count<tight>();
    against_naive_count<sparse>();
}
TEST_CASE("telemetry: what capacity leaves out is dropped, padding is not") {
    subject<tight> s;
    guild::telemetry seen;
    s.forward(40, 1);
    seen.add(s.layer, s.workspace);
    CHECK(seen.last.dropped > 0);
    CHECK(seen.last.dropped + seen.last.total == 80);
    const bool padding[4] = {true, true, true, true};
    s.forward(4, 2, {.padding = padding});
    seen.add(s.layer, s.workspace);
    CHECK(seen.last.dropped == 0);
    CHECK(seen.last.total == 0);
    subject<plain> dropless;
    dropless.forward(40, 1);
    guild::telemetry none;
    none.add(dropless.layer, dropless.workspace);
    CHECK(none.all.dropped == 0);
}
TEST_CASE("telemetry: co-selection as cosines") {
    guild::choice<float> c;
    c.resize(4, 2);
    const int expert[] = {0, 1, 1, 0, 0, 2, 2, guild::no_expert};
    for (long i = 0; i < 8; ++i) c.expert[i] = expert[i];
    guild::telemetry seen;
    seen.add(3, c, expert);
    CHECK(seen.pair == std::vector<long>{3, 2, 1, 2, 2, 0, 1, 0, 2});
    const auto cosine = seen.co_selection();
    CHECK(cosine[0] == 1);
    CHECK(cosine[1] == doctest::Approx(2 / std::sqrt(6.)));
    CHECK(cosine[5] == 0);
    CHECK(guild::telemetry{}.co_selection().empty());
    CHECK(guild::telemetry{}.mean_violation() == 0);
}
TEST_CASE("telemetry: a token that chooses an expert twice has two rows of it, and is one token") {
    guild::choice<float> c;
    c.resize(5, 3);
    const int none = guild::no_expert, expert[] = {1, 1, none, 0, 1, 1, 1, 0, 1, 2, 2, 2, 1, 0, 0};
    for (long i = 0; i < 15; ++i) c.expert[i] = expert[i];
    guild::telemetry seen;
    seen.add(3, c, expert);
    CHECK(seen.last.count == std::vector<long>{4, 7, 3});
    CHECK(seen.last.total == 14);
    CHECK(seen.last.dropped == 0);
    CHECK(seen.pair == std::vector<long>{4, 3, 0, 3, 7, 0, 0, 0, 3});
    for (const double cosine : seen.co_selection()) CHECK(cosine <= 1);
}
TEST_CASE("telemetry: another layer's workspace, another number of experts") {
    subject<plain> a;
    subject<other> b;
    guild::telemetry seen;
    CHECK_THROWS_AS(seen.add(a.layer, a.workspace), guild::argument_error);
    a.forward(3, 1);
    CHECK_THROWS_AS(seen.add(b.layer, a.workspace), guild::argument_error);
    seen.add(a.layer, a.workspace);
    b.forward(3, 1);
    CHECK_THROWS_WITH_AS(seen.add(b.layer, b.workspace), "guild::telemetry: a batch of 5 experts, expected 6", guild::shape_error);
    CHECK(seen.batches == 1);
}
TEST_CASE("telemetry: one line of JSON") {
    guild::choice<float> c;
    c.resize(2, 1);
    c.expert[0] = c.expert[1] = 1;
    const int asked[] = {1, 1};
    guild::telemetry seen;
    seen.add(2, c, asked);
    std::ostringstream text;
    seen.to_json(text);
    const std::string tally = R"({"tokens":2,"dropped":0,"total":2,"entropy":0,"max_violation":1,"count":[0,2]})";
    CHECK(text.str() == R"({"batches":1,"mean_violation":1,"last":)" + tally + R"(,"all":)" + tally + R"(,"pair":[[0,0],[0,2]]})" + "\n");
    text.str("");
    guild::telemetry{}.to_json(text, false);
    CHECK(text.str().find("pair") == std::string::npos);
}
#if __has_include(<nlohmann/json.hpp>)
TEST_CASE("telemetry: JSON parsed back gives every number") {
    subject<tight> s;
    guild::telemetry seen;
    for (const long T : {33L, 40L}) s.forward(T, 5), seen.add(s.layer, s.workspace);
    std::stringstream text;
    struct grouped : std::numpunct<char> {
        char do_thousands_sep() const override { return '.'; }
        char do_decimal_point() const override { return ','; }
        std::string do_grouping() const override { return "\1"; }
    };
    text.imbue(std::locale(text.getloc(), new grouped));
    seen.to_json(text);
    const auto parsed = nlohmann::json::parse(text.str());
    CHECK(parsed["batches"] == 2);
    CHECK(parsed["mean_violation"].get<double>() == seen.mean_violation());
    CHECK(parsed["last"]["count"].get<std::vector<long>>() == seen.last.count);
    CHECK(parsed["all"]["count"].get<std::vector<long>>() == seen.all.count);
    CHECK(parsed["all"]["tokens"] == 73);
    CHECK(parsed["all"]["dropped"] == seen.all.dropped);
    CHECK(parsed["last"]["entropy"].get<double>() == seen.last.entropy());
    CHECK(parsed["last"]["max_violation"].get<double>() == seen.last.max_violation());
    std::vector<long> pair;
    for (const auto& row : parsed["pair"])
        for (const long n : row) pair.push_back(n);
    CHECK(pair == seen.pair);
}
#endif
TEST_CASE("router_similarity: cosines of the router's rows") {
    guild::weights<plain> w;
    const float row[6][2] = {{3, 4}, {6, 8}, {-3, -4}, {4, -3}, {0, 0}, {1, 0}};
    for (std::size_t e = 0; e < 6; ++e) w.router[8 * e] = row[e][0], w.router[8 * e + 7] = row[e][1];
    const auto cosine = guild::router_similarity(w);
    CHECK(cosine[0] == doctest::Approx(1));
    CHECK(cosine[1] == doctest::Approx(1));
    CHECK(cosine[2] == doctest::Approx(-1));
    CHECK(cosine[3] == doctest::Approx(0));
    CHECK(cosine[4] == 0);
    CHECK(cosine[5] == doctest::Approx(0.6));
    CHECK(cosine[5 * 6] == doctest::Approx(0.6));
    CHECK(cosine[4 * 6 + 4] == 0);
}
