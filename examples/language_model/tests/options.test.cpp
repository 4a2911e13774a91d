#include "../error.hpp"
#include "../options.hpp"

#include <doctest/doctest.h>

using namespace language_model;

namespace {
/// The sentence that the words are answered by, "" if they are taken.
std::string answer(std::vector<std::string> words, options* taken = nullptr) {
    std::string program = "language_model";
    std::vector<char*> pointers{program.data()};
    for (std::string& w : words) pointers.push_back(w.data());
    options o;
    try {
        parse(static_cast<int>(pointers.size()), pointers.data(), o);
    } catch (const usage_error& e) { return e.what(); }
    if (taken != nullptr) *taken = o;
    return "";
}
const std::string thousand(1000, '9');
}  // namespace

TEST_CASE("options: text, nothing, negative, too large, fractions, NaN: one short sentence each") {
    struct option {
        std::string name, expected;
        std::vector<std::string> bad;
    };
    const std::string whole = ", expected a whole number from ", any = ", expected a number from ";
    const std::vector<option> options{
        {"--steps", whole + "1 to 10000000", {"0", "10000001"}},
        {"--minutes", any + "0.01 to 10000", {"0", "0.001", "10000.1", "1e400", "nan", "-nan", "inf"}},
        {"--seed", whole + "0 to 18446744073709551615", {"18446744073709551616"}},
        {"--threads", whole + "1 to 256", {"0", "257", "4294967297"}},
        {"--length", whole + "0 to 1000000", {"1000001"}},
        {"--temperature", any + "0 to 100", {"100.5", "1e400", "nan", "inf", "-0.1"}},
    };
    for (const option& o : options) {
        std::vector<std::string> bad{"abc",     "",   " ",   "-1", "-", "--", "+", "0x10", "1,5", "1 2", "1x", "9223372036854775808000",
                                     "\x1b[2J", "\n", "\xff"};
        bad.insert(bad.end(), o.bad.begin(), o.bad.end());
        if (o.expected.starts_with(whole)) bad.insert(bad.end(), {"1.5", "1e3", "1.0"});
        for (const std::string& value : bad) {
            CAPTURE(o.name);
            CAPTURE(value);
            const std::string sentence = answer({o.name + "=" + value}), alone = answer({o.name, value});
            if (value.empty()) CHECK(sentence.starts_with(o.name + ": 1 required"));  // it would be the next word
            else CHECK(sentence.starts_with(o.name + " is '"));
            if (value != "-" && value != "--" && !value.starts_with("-"))
                CHECK(alone == o.name + " is '" + (value == "\x1b[2J" ? "?[2J" : value == "\n" || value == "\xff" ? "?" : value) + "'" + o.expected);
            for (const std::string& s : {sentence, alone}) {
                CHECK(s != "");
                CHECK(s.size() < 130);
                CHECK(s.find('\n') == s.npos);
            }
        }
        CHECK(answer({o.name, thousand}) == o.name + " is '" + std::string(40, '9') + "'..." + o.expected);
        CHECK(answer({o.name}).starts_with(o.name + ": 1 required"));
        CHECK(answer({o.name, "1", o.name, "2"}).size() < 130);
    }
}

TEST_CASE("options: names, texts and what is none of them") {
    CHECK(answer({"--model", "abc"}) == "--model is 'abc', expected deepseek_moe, gshard or both");
    CHECK(answer({"--model", ""}) == "--model is '', expected deepseek_moe, gshard or both");
    CHECK(answer({"--model", thousand}) == "--model is '" + std::string(40, '9') + "'..., expected deepseek_moe, gshard or both");
    CHECK(answer({"--text", ""}) == "--text must name files");
    CHECK(answer({"--text", "a", "--held-out", ""}) == "--held-out must name files");
    CHECK(answer({"--held-out", "a"}) == "--held-out requires --text (see --help)");
    CHECK(answer({"--out", ""}) == "--out must name a folder");
    CHECK(answer({"--json", ""}) == "--json must name a file");
    CHECK(answer({"--prompt", ""}) == "--prompt must have at least one character");
    CHECK(answer({"--steps", "6", "--minutes", "1"}).find("excludes") != std::string::npos);
    for (const char* name : {"--model", "--out", "--json", "--prompt", "--text"}) CHECK(answer({name}).starts_with(std::string(name) + ":"));
    for (const std::string& word : {std::string("--tied=abc"), std::string("--tied=7"), std::string("extra"), std::string("--step"), "--" + thousand,
                                    thousand, std::string("--a\nb")}) {
        const std::string sentence = answer({word});
        CHECK(sentence.ends_with(" (see --help)"));
        CHECK(sentence.size() < 180);
        CHECK(sentence.find('\n') == sentence.npos);
    }
}

TEST_CASE("options: what is taken") {
    options o;
    CHECK(answer({"--seed", "18446744073709551615", "--steps=010", "--temperature", "1e-3", "--length", "0", "--threads", "256", "--tied"}, &o) ==
          "");
    CHECK(o.seed == ~0ULL);
    CHECK(o.steps == 10);
    CHECK(o.temperature == 1e-3);
    CHECK(o.length == 0);
    CHECK(o.threads == 256);
    CHECK(o.tied);
    CHECK(answer({}, &o) == "");
    CHECK(o.steps == 640);
    CHECK(o.seed == 1);
    CHECK(o.threads >= 1);
    CHECK(answer({"--minutes", "0.01", "--seed=0"}, &o) == "");
    CHECK(o.minutes == 0.01);
}
