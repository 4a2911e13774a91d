#include <guild/guild.hpp>

// The forward pass of every published mixture, in one file.
using in = guild::view<const float>;
using out = guild::view<float>;
using scratch = guild::workspace<float>;

template <class Model> void forward(const guild::weights<Model>& weights, in x, out y, scratch& workspace) {
    guild::layer<Model>{weights}.forward(x, y, workspace);
}

template void forward<guild::deepseek_moe_2b>(const guild::weights<guild::deepseek_moe_2b>&, in, out, scratch&);
template void forward<guild::gshard_2b>(const guild::weights<guild::gshard_2b>&, in, out, scratch&);
template void forward<guild::switch_2b>(const guild::weights<guild::switch_2b>&, in, out, scratch&);
template void forward<guild::deepseek_moe_16b>(const guild::weights<guild::deepseek_moe_16b>&, in, out, scratch&);
template void forward<guild::deepseek_moe_145b>(const guild::weights<guild::deepseek_moe_145b>&, in, out, scratch&);
template void forward<guild::deepseek_v2_lite>(const guild::weights<guild::deepseek_v2_lite>&, in, out, scratch&);
template void forward<guild::deepseek_v2>(const guild::weights<guild::deepseek_v2>&, in, out, scratch&);
template void forward<guild::deepseek_v3>(const guild::weights<guild::deepseek_v3>&, in, out, scratch&);
template void forward<guild::mixtral_8x7b>(const guild::weights<guild::mixtral_8x7b>&, in, out, scratch&);
template void forward<guild::mixtral_8x22b>(const guild::weights<guild::mixtral_8x22b>&, in, out, scratch&);
template void forward<guild::qwen3_30b_a3b>(const guild::weights<guild::qwen3_30b_a3b>&, in, out, scratch&);
template void forward<guild::qwen3_235b_a22b>(const guild::weights<guild::qwen3_235b_a22b>&, in, out, scratch&);
