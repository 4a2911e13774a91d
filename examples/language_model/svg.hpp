#pragma once
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace language_model {

/// A number with a fixed count of decimals, with a point in every locale.
inline std::string number(double x, int decimals = 1) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", decimals, x);
    for (char& c : text)
        if (c == ',') c = '.';
    return text;
}

/// A picture as SVG text, on a white card, so that it can be read on a dark page too.
class canvas {
public:
    canvas(double width, double height, const std::string& title) {
        body_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + number(width, 0) + ' ' + number(height, 0) + "\" width=\"" +
                number(width, 0) + "\" height=\"" + number(height, 0) +
                "\" font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" role=\"img\">\n<title>" + escape(title) +
                "</title>\n";
        rectangle(0.5, 0.5, width - 1, height - 1, "#ffffff", "stroke=\"#d8dee4\" rx=\"8\"");
    }

    void rectangle(double x, double y, double w, double h, const std::string& fill, const std::string& more = {}) {
        body_ += "<rect x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" + number(w) + "\" height=\"" + number(h) + "\" fill=\"" + fill +
                 "\" " + more + "/>\n";
    }
    void line(double x1, double y1, double x2, double y2, const std::string& colour, double width = 1) {
        body_ += "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" + number(y2) + "\" stroke=\"" + colour +
                 "\" stroke-width=\"" + number(width) + "\"/>\n";
    }
    void curve(const std::vector<std::pair<double, double>>& points, const std::string& colour, double width, const std::string& more = {}) {
        body_ += "<polyline fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\" stroke=\"" + colour + "\" stroke-width=\"" +
                 number(width) + "\" " + more + " points=\"";
        for (const auto& [x, y] : points) body_ += number(x) + ',' + number(y) + ' ';
        body_ += "\"/>\n";
    }
    void circle(double x, double y, double r, const std::string& colour) {
        body_ += "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"" + number(r) + "\" fill=\"" + colour + "\"/>\n";
    }
    /// anchor: start, middle or end.
    void text(double x, double y, const std::string& what, double size, const std::string& colour, const std::string& anchor = "start",
              const std::string& more = {}) {
        body_ += "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" font-size=\"" + number(size) + "\" fill=\"" + colour + "\" text-anchor=\"" +
                 anchor + "\" " + more + ">" + escape(what) + "</text>\n";
    }
    std::string str() const { return body_ + "</svg>\n"; }

private:
    static std::string escape(const std::string& plain) {
        std::string out;
        for (const char c : plain) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
        return out;
    }
    std::string body_;
};

}  // namespace language_model
