#include <guild/telemetry/heat_map.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

TEST_CASE("heat_map: a picture of every cell") {
    const double value[] = {0, 1, 1, 0.5, 0, 2};
    std::ostringstream out;
    const std::string names[] = {"first", "a < b"};
    guild::heat_map(out, guild::view<const double>(value, 2, 3), "load & share", names);
    const std::string svg = out.str();
    const auto has = [&](const char* text) { return svg.find(text) != std::string::npos; };
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(has("<title>load &amp; share</title>"));
    CHECK(has(">a &lt; b</text>"));
    CHECK(has("d=\"M1 0h2v1h-2z\""));                         // two equal neighbours are one shape
    CHECK(has("<path fill=\"#08306b\" d=\"M2 1h1v1h-1z\""));  // the largest is darkest
    CHECK(has("<rect width=\"3\" height=\"2\" fill=\"#f7fafd\"/>"));
}
TEST_CASE("heat_map: nothing, one number everywhere, no numbers") {
    const auto picture = [](const std::vector<double>& v, long rows, long cols) {
        std::ostringstream out;
        guild::heat_map(out, guild::view<const double>(v.data(), rows, cols), "t");
        return out.str();
    };
    CHECK(picture({}, 0, 0).ends_with("</svg>\n"));
    CHECK(picture({0, 0}, 1, 2).find("<path") == std::string::npos);
    CHECK(picture({7, 7}, 1, 2).find("<path fill=\"#08306b\" d=\"M0 0h2v1h-2z\"") != std::string::npos);
    const double inf = std::numeric_limits<double>::infinity();
    CHECK(picture({inf, -inf, inf - inf, 1}, 1, 4).find("<path fill=\"#08306b\" d=\"M0 0h1v1h-1zM3 0h1v1h-1z\"") != std::string::npos);
    const double most = std::numeric_limits<double>::max();
    CHECK(picture({most, -most, 0}, 1, 3).find("<path fill=\"#08306b\" d=\"M0 0h1v1h-1z\"") != std::string::npos);  // their difference overflows
}
namespace {
/// What a picture holds of these rows: by matrix where they are equally long, which is the same picture.
template <class T> std::string picture(const std::vector<std::vector<T>>& rows) {
    std::ostringstream out;
    guild::heat_map(out, rows, "t");
    return out.str();
}
bool holds(const std::string& svg, const std::string& text) { return svg.find(text) != std::string::npos; }
}  // namespace
TEST_CASE("heat_map: what is not a number is marked, and the legend says so") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::string none = picture<double>({{1, 2}, {0, 1}}), some = picture<double>({{1, nan, nan, 2}, {-nan, 0, 1, nan}});
    const std::string only = picture<double>({{nan}}), floats = picture<float>({{1, static_cast<float>(nan)}});
    CHECK_FALSE(holds(none, "#f59e0b"));
    CHECK_FALSE(holds(none, "not a number"));
    CHECK(holds(some, "<path fill=\"#f59e0b\" d=\"M1 0h2v1h-2zM0 1h1v1h-1zM3 1h1v1h-1z\"/>"));
    CHECK(holds(some, "<path fill=\"#08306b\" d=\"M3 0h1v1h-1z\"/>"));
    for (const std::string& svg : {some, only, floats}) {
        CHECK(holds(svg, ">not a number</text>"));
        CHECK(holds(svg, "fill=\"#f59e0b\"/>"));  // beside it
        CHECK_FALSE(holds(svg, "nan"));
        CHECK_FALSE(holds(svg, ">none</text>"));
    }
    CHECK(holds(only, "d=\"M0 0h1v1h-1z\""));
}
TEST_CASE("heat_map: rows of unequal length, the cells of nobody are marked") {
    const std::string svg = picture<long>({{3, 3, 3, 1}, {}, {0, 2}, {1, 2, 3, 3}});
    CHECK(holds(svg, "<path fill=\"#c9d1d9\" d=\"M0 1h4v1h-4zM2 2h2v1h-2z\"/>"));
    CHECK(holds(svg, "<path fill=\"#08306b\" d=\"M0 0h3v1h-3zM2 3h2v1h-2z\"/>"));
    CHECK(holds(svg, "<rect width=\"4\" height=\"4\""));
    CHECK(holds(svg, ">none</text>"));
    CHECK_FALSE(holds(svg, "not a number"));
    const std::string both = picture<double>({{std::numeric_limits<double>::quiet_NaN()}, {1, 2}});
    CHECK(holds(both, ">none</text>"));
    CHECK(holds(both, ">not a number</text>"));
    CHECK(picture<double>({}).ends_with("</svg>\n"));
    CHECK(holds(picture<double>({{}, {}}), "<rect width=\"0\" height=\"2\""));
    for (const std::string& text : {svg, both}) {  // the legend lies inside the picture
        const auto width = std::stol(text.substr(text.find("viewBox=\"0 0 ") + 13));
        for (auto at = text.find("x=\""); at != std::string::npos; at = text.find("x=\"", at + 1))
            CHECK(std::stol(text.substr(at + 3)) <= width - 30);
    }
    const std::vector<std::vector<float>> equal{{1, 2, 3}, {4, 5, 0}};
    const float flat[] = {1, 2, 3, -1, 4, 5, 0, -1};
    std::ostringstream of_view;
    guild::heat_map(of_view, guild::view<const float>(flat, 2, 3, 4), "t");
    CHECK(of_view.str() == picture(equal));
}
