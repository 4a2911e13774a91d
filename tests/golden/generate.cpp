#include <support/golden.hpp>

#include <fstream>
#include <iostream>
#include <sstream>

/// golden_generate OUTPUT FILE...: writes the source of one unit, a model and an entry for every case file. A file that no model fits
/// becomes an entry that fails and says why.
namespace {
using golden::file;

/// `name{.member = value, ...}` in namespace guild or golden.
class expression {
public:
    explicit expression(const std::string& name, const std::string& space = "guild") : text_(space + "::" + name + "{") {}
    expression& member(const char* name, const std::string& value) {
        text_ += std::string(first_ ? "" : ", ") + "." + name + " = " + value;
        first_ = false;
        return *this;
    }
    std::string end() const { return text_ + "}"; }

private:
    std::string text_;
    bool first_ = true;
};

std::string gate_of(const file& f) {
    const std::string router = f.text("router");
    const auto is = [&](auto... names) { return ((router == names) || ...); };
    const auto plain = [](const std::string& name) { return expression(name).end(); };
    const auto with = [&](const std::string& name, std::initializer_list<std::pair<const char*, const char*>> members, const char* space = "guild") {
        expression e(name, space);
        for (const auto& [member, key] : members) e.member(member, f.text(key));
        return e.end();
    };
    if (is("deepseek_moe", "deepseek_moe_segmented")) return plain("deepseek_moe_gate");
    if (is("deepseek_moe_norm")) return "golden::normalised_deepseek_moe{}";
    if (is("olmoe")) return plain("olmoe_gate");
    if (is("jamba")) return plain("jamba_gate");
    if (is("qwen2_moe")) return plain("qwen2_gate");
    if (is("deepseek_v2")) return with("deepseek_v2_gate", {{"groups", "groups"}, {"keep", "top_groups"}, {"scale", "scale"}});
    if (is("deepseek_v2_lite")) return with("deepseek_v2_lite_gate", {{"scale", "scale"}});
    if (is("deepseek_v3", "deepseek_v32") && f.text("normalise") == "none")
        return with("v3_without_norm", {{"groups", "groups"}, {"keep", "top_groups"}, {"scale", "scale"}}, "golden");
    if (is("deepseek_v3", "deepseek_v32")) return with("deepseek_v3_gate", {{"groups", "groups"}, {"keep", "top_groups"}, {"scale", "scale"}});
    if (is("deepseek_v3_fill0")) return with("v3_with_fill", {{"groups", "groups"}, {"keep", "top_groups"}, {"scale", "scale"}}, "golden");
    if (is("deepseek_v4")) return with("deepseek_v4_gate", {{"scale", "scale"}});
    if (is("deepseek_v4_hash")) return with("deepseek_v4_hash_gate", {{"scale", "scale"}});
    if (is("mixtral_top_k_first")) return plain("mixtral_gate");
    if (is("granitemoe")) return plain("granite_gate");
    if (is("mixtral", "qwen3_moe", "null_experts")) return plain("qwen3_gate");
    if (is("minimax")) return plain("minimax_gate");
    if (is("hunyuan_v1_moe")) return plain("hunyuan_gate");
    if (is("glam")) return plain("glam_gate");
    if (is("dbrx", "dbrx_p2")) return with("dbrx_gate", {{"p", "norm_p"}});
    if (is("gpt_oss", "gpt_oss_tight")) return plain("gpt_oss_gate");
    if (is("ernie4_5_moe")) return with("ernie_gate", {{"floor", "epsilon"}});
    if (is("glm4_moe")) return with("glm4_gate", {{"scale", "scale"}});
    if (is("dots1")) return with("dots1_gate", {{"scale", "scale"}});
    if (is("kimi_k2")) return with("kimi_k2_gate", {{"scale", "scale"}});
    if (is("moonlight")) return with("moonlight_gate", {{"scale", "scale"}});
    if (is("minimax_m2")) return plain("minimax_m2_gate");
    if (is("lfm2_moe")) return with("lfm2_gate", {{"scale", "scale"}});
    if (is("muse_spark")) return with("muse_spark_gate", {{"multiplier", "logit_multiplier"}, {"scale", "scale"}});
    if (is("laguna")) return with("laguna_gate", {{"cap", "logit_cap"}, {"scale", "scale"}});
    if (is("kolibri1")) return plain("kolibri_gate");
    if (is("flint")) return plain("flint_gate");
    if (is("inkling")) return with("inkling_gate", {{"shared", "shared_experts"}, {"scale", "scale"}});
    if (is("gemma4")) return plain("gemma4_gate");
    if (is("llama4")) return plain("llama4_gate");
    if (is("mistral4")) return with("mistral4_gate", {{"groups", "groups"}, {"keep", "top_groups"}, {"scale", "scale"}});
    if (is("longcat_flash")) return with("longcat_gate", {{"scale", "scale"}});
    if (is("relu_routing")) return plain("remoe_gate");
    if (is("phimoe", "phimoe_wide")) return with("phi_moe_gate", {{"jitter", "jitter"}});
    if (is("adaptive_mixture")) return plain("dense_gate");
    if (is("noisy_top_k")) return with("noisy_top_k_gate", {{"floor", "noise_epsilon"}});
    if (is("noisy_top_k_clean")) return plain("mixtral_gate");
    if (is("hash")) return plain("hash_gate");
    if (is("base")) return plain("base_gate");
    if (is("switch")) return plain("switch_gate");
    if (is("switch_capacity")) return with("switch_capacity_gate", {{"rows", "capacity"}});
    if (is("expert_choice")) return with("expert_choice_gate", {{"rows", "capacity"}});
    if (is("gshard", "gshard_random", "gshard_before", "nllb_moe"))
        return with(f.text("renormalise") == "before" ? "fairseq_top2_before_gate" : "fairseq_top2_gate", {{"rows", "capacity"}});
    f.fail("router '" + router + "' is none that is known here");
}

std::string loss_of(const file& f, const std::string& name) {
    const auto one = [](const char* type) { return expression(type).member("weight", "1"); };
    if (name == "expert_level") return one("expert_loss").end();
    if (name == "switch") return one("switch_loss").end();
    if (name == "top_k_balance") return one("top_k_balance_loss").end();
    if (name == "z") return one("z_loss").end();
    if (name == "device_level") return one("device_loss").member("devices", f.text("devices")).end();
    if (name == "communication") return one("communication_loss").member("devices", f.text("devices")).member("reach", f.text("top_groups")).end();
    if (name == "sequence") return one("sequence_loss").end();
    if (name == "sequence_realised") return one("sequence_loss").member("by", "guild::counted::realised").end();
    if (name == "global_batch") return one("global_batch_loss").end();
    if (name == "importance") return one("importance_loss").end();
    if (name == "importance_unbiased") return one("importance_loss").member("unbiased", "true").end();
    if (name == "load") return one("noisy_load_loss").member("noise", "{" + f.text("noise_epsilon") + "}").end();
    if (name == "l1") return one("l1_loss").end();
    if (name == "l1_balanced") return one("l1_loss").member("balanced", "true").end();
    f.fail("loss '" + name + "' is none that is known here");
}

std::string activation_of(const file& f) {
    const std::string kind = f.text("expert"), activation = f.text("activation");
    if (kind == "clamped") {
        return expression("clamped_swiglu")
            .member("limit", f.text("limit"))
            .member("alpha", f.text("alpha"))
            .member("offset", f.text("up_offset"))
            .end();
    }
    const std::pair<const char*, const char*> known[] = {{"silu", "swiglu"}, {"gelu", "geglu"}, {"relu", "reglu"}};
    for (const auto& [plain, gated] : known)
        if (activation == plain && (kind == "gated" || kind == "plain")) return expression(kind == "gated" ? gated : plain).end();
    f.fail("expert '" + kind + "' with activation '" + activation + "' is none that is known here");
}

/// The policies of a model but its gate.
std::vector<std::string> policies_of(const file& f) {
    std::vector<std::string> all{activation_of(f)};
    if (f.text("shared_gate") == "sigmoid") all.push_back("guild::gated_shared{}");
    if (f.text("residual") == "one_minus_weight") all.push_back("guild::residual::complement");
    if (f.has("trajectory.x")) all.push_back(expression("bias_balance").member("rate", f.text("bias_update_rate")).end());
    int zero = 0, identity = 0, constant = 0;
    std::stringstream kinds(f.text("null_experts"));
    for (std::string kind; std::getline(kinds, kind, ',');) {
        if (kind == "zero") ++zero;
        else if (kind == "identity") ++identity;
        else if (kind == "constant") ++constant;
        else f.fail("null expert '" + kind + "' is none that is known here");
    }
    if (zero + identity + constant > 0) {
        expression p("passive");
        p.member("zero", std::to_string(zero)).member("identity", std::to_string(identity)).member("constant", std::to_string(constant));
        all.push_back(p.end());
    }
    return all;
}

void write_layer(std::ostream& out, const file& f, const std::string& name) {
    expression numbers("config");
    numbers.member("hidden", f.text("hidden"))
        .member("expert_hidden", f.text("expert_hidden"))
        .member("routed_experts", f.text("routed_experts"))
        .member("top_k", f.text("top_k"))
        .member("shared_experts", f.text("shared_experts"))
        .member("shared_hidden", f.text("shared_hidden"))
        .member("expert_bias", f.flag("expert_bias") ? "true" : "false");
    std::ostringstream s;
    s << "struct " << name << " : golden::layer_case<" << numbers.end() << ", " << gate_of(f);
    for (const std::string& p : policies_of(f)) s << ", " << p;
    s << "> {\n";
    std::string names, bodies;
    int count = 0;
    for (const std::string& loss : f.words("losses")) {
        if (loss == "likelihood") {
            s << "    static constexpr bool likelihood = true;\n";
            continue;
        }
        names += "\"" + loss + "\", ";
        bodies += "        if (loss == " + std::to_string(count) + ") f(" + loss_of(f, loss) + ");\n";
        ++count;
    }
    s << "    static constexpr std::array<const char*, " << count << "> loss_names{" << names << "};\n"
      << "    template <class F> void each_loss([[maybe_unused]] F f) const {\n"
      << bodies << "    }\n};\n";
    out << s.str();
}

std::string quoted(const std::string& text) {
    std::string q = "\"";
    for (const char c : text) q += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return q + "\"";
}

void write_case(std::ostream& out, const std::string& path, int number) {
    const std::string name = "case_" + std::to_string(number);
    std::string run = "nullptr", reason = "nullptr";
    std::ostringstream model;
    try {
        const file f(path);
        if (!f.metadata_has("case") || f.metadata_has("mixture_layers")) {  // a checkpoint, or what is expected of one
            run = "golden::run_nothing";
        } else if (f.metadata_has("rows")) {
            const auto entry = [&](const std::string& gate, const char* by) {
                return "golden::run_routing<" + f.text("routed_experts") + ", " + f.text("top_k") + ", " + gate + ", " + by + ">";
            };
            run = entry(gate_of(f), "golden::chosen_by::file");
            // One computation by two roads, which part where softmax underflows.
            if (f.text("router") == "mixtral")
                run = "golden::run_both<" + run + ", " + entry("guild::mixtral_gate{}", "golden::chosen_by::logit") + ">";
        } else if (f.metadata_has("router") || f.has("x")) {
            write_layer(model, f, name);
            run = "golden::run_layer<" + name + ">";
        } else run = "golden::run_format";
    } catch (const std::exception& e) {
        reason = quoted(e.what());
        model.str("");
        run = "nullptr";
    }
    out << "\nnamespace {\n"
        << model.str() << "const bool entered_" << number << " = golden::enter({" << quoted(path) << ", " << run << ", " << reason << "});\n}\n";
}
}  // namespace

int main(int count, char** argument) {
    if (count < 2) {
        std::cerr << "usage: golden_generate OUTPUT FILE...\n";
        return 2;
    }
    std::ostringstream unit;
    unit << "#include <golden/layer_case.hpp>\n#include <golden/routing_case.hpp>\n#include <golden/variants.hpp>\n";
    for (int i = 2; i < count; ++i) write_case(unit, argument[i], i);
    std::ofstream out(argument[1], std::ios::binary);
    out << unit.str();
    out.close();
    if (!out) {
        std::cerr << "golden_generate: cannot write " << argument[1] << '\n';
        return 2;
    }
}
