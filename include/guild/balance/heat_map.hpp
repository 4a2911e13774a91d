#pragma once
#include <guild/core/view.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

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

/// A matrix [R, C] of any numbers as an SVG picture, one cell each: white is the least of them and 0, dark blue the largest. Rows go down
/// and are called by `names` [R], or numbered if there are none. For loads [batch or router, E], co-selection and similarity [E, E].
/// O(R C); equal neighbours of a row are one shape, so a picture of [256, 256] has at most some hundred kilobytes.
template <class T> void heat_map(std::ostream& out, view<T> v, std::string_view title, std::span<const std::string> names = {}) {
    constexpr int levels = 16;
    double low = 0, high = 0;
    for (long r = 0; r < v.rows; ++r)
        for (long c = 0; c < v.cols; ++c)
            if (const auto x = static_cast<double>(v(r, c)); std::isfinite(x)) low = (std::min)(low, x), high = (std::max)(high, x);
    const auto level = [&](long r, long c) {
        const double x = (static_cast<double>(v(r, c)) - low) / (high > low ? high - low : 1);
        return x > 0 ? static_cast<int>(std::lround((std::min)(x, 1.) * (levels - 1))) : 0;
    };
    const auto side = [](long n) { return std::clamp(640 / (std::max)(n, 1L), 2L, 24L); };
    std::size_t longest = 4;
    for (const std::string& name : names) longest = (std::max)(longest, name.size());
    const long w = side(v.cols), h = side(v.rows), left = 20 + 7 * static_cast<long>(longest), top = 72;
    const long width = left + (std::max)({w * v.cols, 9 * static_cast<long>(title.size()), 260L}) + 24, height = top + h * v.rows + 24;

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
    detail::draw(svg, "\n<text x=\"", left + 48 + 8 * levels, "\" y=\"44\">");
    detail::append(svg, high, 3);
    detail::draw(svg, "</text>\n<g transform=\"translate(", left, " ", top, ") scale(", w, " ", h, ")\" shape-rendering=\"crispEdges\">\n");
    detail::draw(svg, "<rect width=\"", v.cols, "\" height=\"", v.rows, "\" fill=\"", detail::shade(0), "\"/>\n");
    for (int i = 1; i < levels; ++i) {
        std::string path;
        for (long r = 0; r < v.rows; ++r)
            for (long c = 0, n = 1; c < v.cols; c += n, n = 1) {
                if (level(r, c) != i) continue;
                while (c + n < v.cols && level(r, c + n) == i) ++n;
                detail::draw(path, "M", c, " ", r, "h", n, "v1h-", n, "z");
            }
        if (!path.empty()) detail::draw(svg, "<path fill=\"", detail::shade(i / (levels - 1.)), "\" d=\"", path, "\"/>\n");
    }
    svg += "</g>\n";
    for (long c = 0; c < v.cols; c += (24 + w - 1) / w)
        detail::draw(svg, "<text x=\"", left + c * w + w / 2, "\" y=\"", top - 6, "\" text-anchor=\"middle\">", c, "</text>\n");
    for (long r = 0; r < v.rows; r += (12 + h - 1) / h) {
        detail::draw(svg, "<text x=\"", left - 8, "\" y=\"", top + r * h + h / 2 + 4, "\" text-anchor=\"end\">");
        if (const auto i = static_cast<std::size_t>(r); i < names.size()) svg += detail::escape(names[i]);
        else detail::append(svg, r);
        svg += "</text>\n";
    }
    svg += "</svg>\n";
    out << svg;
}

}  // namespace guild::inline v0
