#pragma once
#include <guild/core/finite.hpp>
#include <guild/core/view.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace guild::inline v0 {

namespace detail {
/// A number as JSON and SVG read it, with a point in every locale; `digits` significant ones, or as many as give the same double back.
inline void append(std::string& text, long n) { text += std::to_string(n); }
inline void append(std::string& text, double x, int digits = 0) {
    char c[32];
    const auto end = digits > 0 ? std::to_chars(c, c + sizeof c, x, std::chars_format::general, digits) : std::to_chars(c, c + sizeof c, x);
    text.append(c, end.ptr);
}
/// Text of a picture: strings as they are but for what marks up, whole numbers.
template <class... Parts> void draw(std::string& svg, const Parts&... parts) {
    const auto add = [&](const auto& part) {
        if constexpr (requires { std::to_string(part); }) append(svg, static_cast<long>(part));
        else svg += part;
    };
    (add(parts), ...);
}
inline std::string escape(std::string_view plain) {
    std::string out;
    for (const char c : plain)
        if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '&') out += "&amp;";
        else out += c;
    return out;
}
/// White over light blue to dark blue for 0 ... 1, as #rrggbb.
inline std::string shade(double x) {
    constexpr double stop[5][3] = {{247, 250, 253}, {198, 219, 239}, {107, 174, 214}, {33, 113, 181}, {8, 48, 107}};
    const int i = (std::min)(3, static_cast<int>(x * 4));
    std::string colour = "#";
    for (int k = 0; k < 3; ++k) {
        const auto c = static_cast<unsigned>(std::lround(stop[i][k] + (x * 4 - i) * (stop[i + 1][k] - stop[i][k])));
        colour += "0123456789abcdef"[c / 16 % 16];
        colour += "0123456789abcdef"[c % 16];
    }
    return colour;
}
}  // namespace detail

/// Rows of any numbers as an SVG picture, one cell each: white is the least of them and 0, dark blue the largest, amber what is not a number, and
/// grey, where rows are of unequal length, what a shorter one does not have; a legend says so of those that there are. An infinity has the colour of its
/// end and does not move it. Rows go down and are called by `names`, or numbered where there are none.
/// O(R C); equal neighbours of a row are one shape, so a picture of [256, 256] has at most some hundred kilobytes.
template <class T>
void heat_map(std::ostream& out, std::span<const std::span<const T>> rows, std::string_view title, std::span<const std::string> names = {}) {
    constexpr int levels = 16, no_number = levels, none = levels + 1;
    constexpr const char* marked[] = {"not a number", "none"};
    constexpr const char* mark[] = {"#f59e0b", "#c9d1d9"};
    double low = 0, high = 0;
    long cols = 0;
    bool found[] = {false, false};
    for (const auto row : rows) {
        cols = (std::max)(cols, static_cast<long>(row.size()));
        for (const T number : row) {
            const auto x = static_cast<double>(number);
            if (is_finite(x)) low = (std::min)(low, x), high = (std::max)(high, x);
            found[0] |= is_nan(x);
        }
    }
    for (const auto row : rows) found[1] |= static_cast<long>(row.size()) < cols;
    const auto level = [&](std::span<const T> row, long c) {
        if (c >= static_cast<long>(row.size())) return none;
        const auto number = static_cast<double>(row[static_cast<std::size_t>(c)]);
        if (is_nan(number)) return no_number;
        const double x = (number / 2 - low / 2) / (high > low ? high / 2 - low / 2 : 1);  // halves: their difference is finite
        return x > 0 ? static_cast<int>(std::lround((std::min)(x, 1.) * (levels - 1))) : 0;
    };
    const auto side = [](long n) { return std::clamp(640 / (std::max)(n, 1L), 2L, 24L); };
    std::size_t longest = 4;
    for (const std::string& name : names) longest = (std::max)(longest, name.size());
    const long count = static_cast<long>(rows.size());
    const long w = side(cols), h = side(count), left = 20 + 7 * static_cast<long>(longest), top = 72;
    const long scale = 48 + 8 * levels, legend = scale + 72 + (found[0] || found[1] ? 170 : 0);
    const long width = left + (std::max)({w * cols, 9 * static_cast<long>(title.size()), legend}) + 24, height = top + h * count + 24;

    std::string svg;
    detail::draw(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ", height, "\" width=\"", width, "\" height=\"", height,
                 "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" fill=\"#59636e\" role=\"img\">\n<title>", detail::escape(title),
                 "</title>\n<rect width=\"", width, "\" height=\"", height, "\" fill=\"#ffffff\"/>\n<text x=\"", left,
                 "\" y=\"24\" font-size=\"16\" font-weight=\"600\" fill=\"#1f2328\">", detail::escape(title), "</text>\n<text x=\"", left + 34,
                 "\" y=\"44\" text-anchor=\"end\">");
    detail::append(svg, low, 3);
    svg += "</text>\n";
    for (int i = 0; i < levels; ++i)
        detail::draw(svg, "<rect x=\"", left + 40 + 8 * i, "\" y=\"35\" width=\"8\" height=\"10\" fill=\"", detail::shade(i / (levels - 1.)), "\"/>");
    detail::draw(svg, "\n<text x=\"", left + scale, "\" y=\"44\">");
    detail::append(svg, high, 3);
    svg += "</text>\n";
    for (long i = 0, x = left + scale + 72; i < 2; ++i)
        if (found[i]) {
            detail::draw(svg, "<rect x=\"", x, "\" y=\"35\" width=\"8\" height=\"10\" fill=\"", mark[i], "\"/><text x=\"", x + 12, "\" y=\"44\">",
                         marked[i], "</text>\n");
            x += 98;
        }
    detail::draw(svg, "<g transform=\"translate(", left, " ", top, ") scale(", w, " ", h, ")\" shape-rendering=\"crispEdges\">\n");
    detail::draw(svg, "<rect width=\"", cols, "\" height=\"", count, "\" fill=\"", detail::shade(0), "\"/>\n");
    for (int i = 1; i <= none; ++i) {
        std::string path;
        for (long r = 0; r < count; ++r) {
            const auto row = rows[static_cast<std::size_t>(r)];
            for (long c = 0, n = 1; c < cols; c += n, n = 1) {
                if (level(row, c) != i) continue;
                while (c + n < cols && level(row, c + n) == i) ++n;
                detail::draw(path, "M", c, " ", r, "h", n, "v1h-", n, "z");
            }
        }
        if (!path.empty())
            detail::draw(svg, "<path fill=\"", i < levels ? detail::shade(i / (levels - 1.)) : mark[i - levels], "\" d=\"", path, "\"/>\n");
    }
    svg += "</g>\n";
    for (long c = 0; c < cols; c += (24 + w - 1) / w)
        detail::draw(svg, "<text x=\"", left + c * w + w / 2, "\" y=\"", top - 6, "\" text-anchor=\"middle\">", c, "</text>\n");
    for (long r = 0; r < count; r += (12 + h - 1) / h) {
        detail::draw(svg, "<text x=\"", left - 8, "\" y=\"", top + r * h + h / 2 + 4, "\" text-anchor=\"end\">");
        if (const auto i = static_cast<std::size_t>(r); i < names.size()) svg += detail::escape(names[i]);
        else detail::append(svg, r);
        svg += "</text>\n";
    }
    svg += "</svg>\n";
    out << svg;
}
/// A matrix [R, C]. For loads [batch or router, E], co-selection and similarity [E, E].
template <class T> void heat_map(std::ostream& out, view<T> v, std::string_view title, std::span<const std::string> names = {}) {
    std::vector<std::span<const T>> rows;
    for (long r = 0; r < v.rows; ++r) rows.emplace_back(v.row(r), static_cast<std::size_t>(v.cols));
    heat_map(out, std::span<const std::span<const T>>(rows), title, names);
}
/// A list of rows, of unequal length if they are: loads of layers with different numbers of experts.
template <class T>
void heat_map(std::ostream& out, const std::vector<std::vector<T>>& list, std::string_view title, std::span<const std::string> names = {}) {
    const std::vector<std::span<const T>> rows(list.begin(), list.end());
    heat_map(out, std::span<const std::span<const T>>(rows), title, names);
}

}  // namespace guild::inline v0
