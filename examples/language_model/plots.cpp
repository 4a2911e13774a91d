#include "plots.hpp"
#include "svg.hpp"

#include <algorithm>
#include <cmath>

namespace language_model {

namespace {

const std::string ink = "#1f2328", faint = "#59636e", grid = "#e6eaef";
const std::string& colour(std::size_t model) {
    static const std::string all[] = {"#2563eb", "#ea580c"};
    return all[model % 2];
}

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into about `parts`.
double tick(double range, double parts) {
    const double raw = range / parts, power = std::pow(10, std::floor(std::log10(raw)));
    return power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
}

/// White over light blue to dark blue for 0 ... 1.
std::string shade(double x) {
    static constexpr double stop[5][3] = {{247, 250, 253}, {198, 219, 239}, {107, 174, 214}, {33, 113, 181}, {8, 48, 107}};
    const double at = std::clamp(x, 0.0, 1.0) * 4;
    const int i = std::min(3, static_cast<int>(at));
    char text[8];
    int c[3];
    for (int k = 0; k < 3; ++k) c[k] = static_cast<int>(std::lround(stop[i][k] + (at - i) * (stop[i + 1][k] - stop[i][k])));
    std::snprintf(text, sizeof text, "#%02x%02x%02x", c[0] & 255, c[1] & 255, c[2] & 255);
    return text;
}

}  // namespace

std::string loss_plot(const std::vector<outcome>& all) {
    constexpr double width = 860, height = 440, left = 64, right = 150, top = 76, bottom = 58;
    canvas c(width, height, "Loss of the language models while training");
    double tokens = 1, low = 8, high = 0;
    for (const auto& o : all)
        for (const auto& p : o.curve) {
            tokens = std::max(tokens, static_cast<double>(p.tokens));
            low = std::min({low, p.training, p.held_out});
            high = std::max({high, p.training, p.held_out});
        }
    high = std::min(high, low + 2.4);  // the first steps fall from 8 bits: cut off
    const double step_y = tick(std::max(high - low, 0.1), 6);
    low = std::floor(low / step_y) * step_y;
    high = std::max(std::ceil(high / step_y) * step_y, low + step_y);
    const auto px = [&](double x) { return left + (width - left - right) * x / tokens; };
    const auto py = [&](double y) { return height - bottom - (height - top - bottom) * (y - low) / (high - low); };

    c.text(left, 32, "Loss while training, bits per byte", 18, ink, "start", "font-weight=\"600\"");
    c.text(left, 53, "bold: text held out, thin: training text", 13, faint);
    for (double y = low; y < high + step_y / 2; y += step_y) {
        c.line(left, py(y), width - right, py(y), grid);
        c.text(left - 10, py(y) + 4, number(y, step_y < 0.1 ? 2 : 1), 12, faint, "end");
    }
    const double step_x = tick(tokens, 6), unit = tokens >= 2e6 ? 1e6 : 1e3;
    for (double x = 0; x <= tokens * 1.0001; x += step_x) {
        c.line(px(x), height - bottom, px(x), height - bottom + 5, "#afb8c1");
        c.text(px(x), height - bottom + 20, number(x / unit, step_x < unit ? 1 : 0), 12, faint, "middle");
    }
    c.line(left, height - bottom, width - right, height - bottom, "#afb8c1");
    c.text((left + width - right) / 2, height - 16, unit > 1e3 ? "million bytes read" : "thousand bytes read", 13, faint, "middle");

    std::vector<std::pair<double, std::size_t>> ends;  // where the curves end, for their labels
    for (std::size_t m = 0; m < all.size(); ++m) {
        std::vector<std::pair<double, double>> training, held_out;
        const auto add = [&](auto& points, double x0, double y0, double x, double y) {  // from where the curve crosses the upper edge on
            if (y > high) return;
            if (y0 > high) points.emplace_back(px(x0 + (x - x0) * (y0 - high) / (y0 - y)), py(high));
            points.emplace_back(px(x), py(y));
        };
        curve_point before{0, 0, 8, 8};  // no model yet: 8 bits
        for (const auto& p : all[m].curve) {
            const auto x0 = static_cast<double>(before.tokens), x = static_cast<double>(p.tokens);
            add(training, x0, before.training, x, p.training);
            add(held_out, x0, before.held_out, x, p.held_out);
            before = p;
        }
        c.curve(training, colour(m), 1.4, "stroke-opacity=\"0.55\"");
        c.curve(held_out, colour(m), 2.8);
        if (held_out.empty()) continue;
        c.circle(held_out.back().first, held_out.back().second, 4, colour(m));
        ends.emplace_back(held_out.back().second, m);
    }
    std::sort(ends.begin(), ends.end());
    if (ends.size() == 2 && ends[1].first - ends[0].first < 40) ends[0].first -= (40 - ends[1].first + ends[0].first) / 2;
    double last = -100;
    for (const auto& [y, m] : ends) {
        const double at = std::max(y, last + 40);  // two lines of text each
        c.text(width - right + 12, at, all[m].name, 14, colour(m), "start", "font-weight=\"600\"");
        c.text(width - right + 12, at + 17, number(all[m].held_out, 3) + " held out", 13, faint);
        last = at;
    }
    return c.str();
}

std::string load_plot(const std::vector<outcome>& all) {
    constexpr double width = 860, left = 76, right = 28, cell = 26, most = 2;  // darkest at twice the mean
    double height = 74;
    for (const auto& o : all) height += 74 + cell * static_cast<double>(o.load.size());
    canvas c(width, height, "Load of the experts");
    c.text(left, 32, "Which experts the held-out text goes to", 18, ink, "start", "font-weight=\"600\"");
    c.text(left, 53, "bytes per expert, as a multiple of an even share", 13, faint);
    const double scale = width - right - 210;
    for (int i = 0; i < 60; ++i) c.rectangle(scale + i * 3.5, 30, 4, 12, shade(i / 59.0));
    c.text(scale, 57, "0", 12, faint, "start");
    c.text(scale + 211 / most, 57, "1", 12, faint, "middle");
    c.text(scale + 211, 57, number(most, 0) + "+", 12, faint, "end");

    double y = 96;
    for (std::size_t m = 0; m < all.size(); ++m) {
        const auto& o = all[m];
        const std::size_t experts = o.load.empty() ? 0 : o.load[0].size();
        const double pitch = experts > 0 ? (width - left - right) / static_cast<double>(experts) : 0, gap = pitch > 20 ? 3 : 1.5;
        c.text(left, y, o.name, 14, colour(m), "start", "font-weight=\"600\"");
        c.text(width - right, y, o.router, 13, faint, "end");
        y += 12;
        for (std::size_t l = 0; l < o.load.size(); ++l, y += cell) {
            c.text(left - 10, y + 17, "block " + std::to_string(l + 2), 12, faint, "end");
            for (std::size_t e = 0; e < experts; ++e)
                c.rectangle(left + pitch * static_cast<double>(e), y, pitch - gap, cell - 3, shade(o.relative_load(l, e) / most), "rx=\"1.5\"");
        }
        const std::size_t every = experts > 32 ? 8 : experts > 16 ? 4 : 1;
        for (std::size_t e = 0; e < experts; e += every)
            c.text(left + pitch * (static_cast<double>(e) + 0.5) - gap / 2, y + 13, std::to_string(e), 11, faint, "middle");
        y += 62;
    }
    return c.str();
}

}  // namespace language_model
