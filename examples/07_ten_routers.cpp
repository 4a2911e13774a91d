// Ten routers on the same logits: whom each sends a token to, with which weight, and how evenly it loads sixteen experts.
// The loads of all ten are drawn in ten_routers.svg.
#include <guild/guild.hpp>

#include <cstdio>
#include <fstream>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr guild::config numbers(int top_k) { return {.hidden = 16, .expert_hidden = 8, .routed_experts = 16, .top_k = top_k}; }
template <auto Gate, int K> struct routed : guild::model<numbers(K), Gate> {};

struct comparison {
    matrix tokens = matrix::Random(256, 16).array() * 3 + 0.4f;  // off centre: some experts are everybody's favourites
    matrix loads = matrix::Zero(10, 16);                         // rows of an expert over an even share
    std::vector<std::string> names{};

    /// Runs a layer with this gate. Its line: the first two experts of two tokens, then experts per token, drops and balance.
    template <auto Gate, int K = 2> void add(const char* name) {
        using model = routed<Gate, K>;
        auto weights = guild::random_weights<model>(/*seed=*/2);                                       // the same router for every gate
        for (std::size_t e = 0; e < weights.state.size(); ++e) weights.state[e] = e % 2 ? 0.3f : 0.f;  // a bias in favour of odd experts
        const guild::layer<model> layer{weights};
        guild::workspace<float> workspace;
        matrix y(tokens.rows(), 16);
        layer.forward(tokens, y, workspace);
        guild::telemetry seen;
        seen.add(layer, workspace);
        std::printf("%-16s", name);
        const guild::choice<float>& c = workspace.gate.choice;
        for (long t = 0; t < 2; ++t) {
            std::string chosen;
            for (long i = t * c.slots; i < (t + 1) * c.slots && chosen.size() < 22; ++i)
                if (char text[32]; c.expert[i] >= 0 && std::snprintf(text, sizeof text, "%4d: %.3f", c.expert[i], double(c.weight[i])))
                    chosen += text;
            std::printf(" %-22s |", chosen.c_str());
        }
        std::printf(" %5.2f %5ld %9.2f %7.2f\n", double(seen.last.total) / 256, seen.last.dropped, seen.last.max_violation(), seen.last.entropy());
        for (long e = 0; e < 16; ++e) loads(long(names.size()), e) = 16 * float(seen.last.count[std::size_t(e)]) / float(seen.last.total);
        names.push_back(name);
    }
};

int main() {
    comparison c;
    std::printf("%-16s %-22s | %-22s |  each drops violation entropy\n", "", "token 0: experts", "token 1");
    c.add<guild::deepseek_moe_gate{}>("DeepSeekMoE");
    c.add<guild::deepseek_v2_gate{.groups = 4, .keep = 1, .scale = 1}>("DeepSeek-V2");
    c.add<guild::deepseek_v3_gate{.groups = 4, .keep = 2}>("DeepSeek-V3");
    c.add<guild::mixtral_gate{}>("Mixtral");
    c.add<guild::gpt_oss_gate{}>("GPT-OSS");
    c.add<guild::gshard_capacity_gate{}>("GShard, capacity");
    c.add<guild::switch_gate{}, 1>("Switch");
    c.add<guild::llama4_gate{}, 1>("Llama 4");
    c.add<guild::expert_choice_gate{}>("expert choice");
    c.add<guild::remoe_gate{}>("ReMoE");
    std::ofstream picture("ten_routers.svg");
    guild::heat_map(picture, guild::view<const float>(c.loads), "Load of 16 experts under ten routers, 1 is an even share", c.names);
}
