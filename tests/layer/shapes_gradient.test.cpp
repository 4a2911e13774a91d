#include <support/gradient.hpp>
#include <support/shapes.hpp>

// Models whose numbers are values at run time: many shapes for one instantiation.

TEST_CASE_TEMPLATE("gradients on every shape", Model, test::gated_model<>, test::plain_model<>) {
    for (const test::shape& s : test::shapes({0, 1, 2, 5, 37}, {1, 2, 7, 16}, Model{}.shared.learned)) {
        CAPTURE(s);
        const guild::config& c = s.config;
        std::vector<double> x(static_cast<std::size_t>(s.tokens * c.hidden));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = s.x(static_cast<long>(i) / c.hidden, static_cast<long>(i) % c.hidden);
        const long work = s.tokens * (c.top_k * c.expert_hidden + c.shared_width()) * c.hidden;  // the direction sees every number
        const test::effort effort{.entries = work > 50'000 ? 0 : work > 2'000 ? 3 : 10, .differences = s.all_to_one || work > 50'000 ? 0 : 2};
        test::check_gradients(s.weights<double>(s.model<Model>()), x, {}, effort);
    }
}
