#include "../plots.hpp"
#include "../progress.hpp"
#include "../report.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace language_model;

namespace {

outcome one(const char* name, std::size_t experts) {
    outcome o{.name = name};
    o.router = "some & <others>";
    o.steps = 3, o.tokens = 300, o.seconds = 2, o.held_out = 2.5, o.parameters = 1234567;
    o.curve = {{1, 100, 7, 7.5}, {2, 200, 4, 4.5}, {3, 300, 2.25, 2.5}};
    o.load.assign(2, std::vector<long>(experts, 10));
    o.load[1][0] = 30;
    return o;
}
std::size_t count(const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

}  // namespace

TEST_CASE("loads are multiples of the mean of a layer") {
    const outcome o = one("a", 4);
    CHECK(o.relative_load(0, 3) == 1);
    CHECK(o.relative_load(1, 0) == 2);
    CHECK(o.busiest() == 2);
    CHECK(o.tokens_per_second() == 150);
}

TEST_CASE("pictures: two curves for each model, a cell for each expert of each layer, special characters escaped") {
    const std::string loss = loss_plot({one("a", 4), one("b", 9)}), load = load_plot({one("a", 4), one("b", 9)});
    CHECK(count(loss, "<polyline") == 4);
    CHECK(count(loss, "2.500 held out") == 2);
    CHECK(count(load, "rx=\"1.5\"") == 2 * 4 + 2 * 9);
    CHECK(count(load, "some &amp; &lt;others&gt;") == 2);
    for (const std::string& svg : {loss, load, loss_plot({}), load_plot({})}) {
        CHECK(svg.starts_with("<svg "));
        CHECK(svg.ends_with("</svg>\n"));
        CHECK(count(svg, "nan") + count(svg, "inf") == 0);
        CHECK(count(svg, "<text") == count(svg, "</text>"));
    }
}

TEST_CASE("the report: grouped digits, one column per model, JSON that can be read") {
    CHECK(grouped(0) == "0");
    CHECK(grouped(1234567) == "1 234 567");
    CHECK(grouped(123456) == "123 456");
    CHECK(printable(std::string("a\n\x01\xffz")) == "a\n??z");

    const std::vector<result> all{{.measured = one("DeepSeekMoE", 4)}, {.measured = one("GShard", 9)}};
    CHECK(count(table(all), "1 234 567") == 2);
    CHECK(count(table(all), "2.500") == 2);
    const corpus c{{{"x\xff", "training"}}, {{"y", "held"}}, {{"z", "x", 0.75}}};
    CHECK(count(describe(c), "75 % of it is in x") == 1);
    const auto j = nlohmann::json::parse(json({}, c, all));
    CHECK(j["models"].size() == 2);
    CHECK(j["models"][1]["held_out_bits_per_byte"] == 2.5);
    CHECK(j["models"][1]["curve"].size() == 3);
    CHECK(j["models"][0]["load"][1][0] == 30);
    CHECK(j["training_text"][0]["bytes"] == 8);
}
