#include "progress.hpp"
#include "svg.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

namespace language_model {

namespace {
/// Columns of the terminal, 80 where it does not say.
std::size_t columns() {
    winsize size{};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}
std::string padded(std::string s, std::size_t width) { return s.size() < width ? std::string(width - s.size(), ' ') + s : s; }
}  // namespace

std::string grouped(long n) {
    std::string s = std::to_string(n);
    for (std::size_t at = s.size(); at > 3; s.insert(at, 1, ' ')) at -= 3;
    return s;
}

progress::progress(std::ostream& out) : out_(out), terminal_(&out == &std::cout && ::isatty(STDOUT_FILENO) == 1) {}

void progress::show(const status& s) {
    const auto now = std::chrono::steady_clock::now();
    if (!s.milestone && (!terminal_ || now - last_ < std::chrono::milliseconds(200))) return;
    last_ = now;
    const std::string steps = s.steps > 0 ? std::to_string(s.steps) : "?";
    std::string line = std::string(s.model) + "  " + padded(std::to_string(s.step), steps.size()) + '/' + steps + "  train " + number(s.training, 3) +
                       "  held out " + (s.held_out < 0 ? "  -  " : number(s.held_out, 3)) + " bits/byte  " +
                       padded(grouped(static_cast<long>(s.bytes_per_second)), 6) + " bytes/s  busiest expert " + number(s.busiest, 2) + 'x';
    if (terminal_) out_ << '\r' << line.substr(0, columns() - 1) << "\x1b[K" << std::flush;
    else out_ << line << std::endl;
    open_ = terminal_;
}

void progress::finish() {
    if (open_) out_ << std::endl;
    open_ = false;
}

}  // namespace language_model
