#include <guild/format/fp8.hpp>
#include <guild/format/half.hpp>
#include <guild/format/int4.hpp>
#include <guild/format/int8.hpp>
#include <guild/format/mxfp4.hpp>
#include <guild/weights/convert.hpp>

#include <golden/report.hpp>

#include <bit>
#include <cstdint>

// Tables of number formats, and matrices stored in them: every code, scale and value.

namespace golden {
namespace {
using guild::bf16, guild::e8m0, guild::fp8, guild::fp8_e4m3, guild::half, guild::int4, guild::int8, guild::mxfp4, guild::stack;

bool same(float found, double expected) { return found == static_cast<float>(expected) || (found != found && expected != expected); }

/// Each value becomes the code that is expected; `nan(code)` where it is not a number.
template <class T, class Codes, class Nan> void rounded(const file& f, report& r, const char* tensor, const Codes& expected, Nan nan) {
    r.in(tensor);
    const auto value = f.numbers_as<float>("value");
    r.check(value.size() == expected.size(), "there are ", expected.size(), " codes of ", value.size(), " values");
    for (std::size_t i = 0; i < std::min(value.size(), expected.size()); ++i) {
        const auto found = T(value[i]).bits;
        r.check(value[i] != value[i] ? nan(found) : found == expected[i], "value ", i, ", ", value[i], ", is rounded to ", +found, ", expected ",
                +expected[i]);
    }
}
/// Code i is value i of the table.
template <class Decode> void decoded(const file& f, report& r, const char* tensor, std::size_t codes, Decode decode) {
    r.in(tensor);
    const auto expected = f.numbers(tensor);
    r.check(expected.size() == codes, "has ", expected.size(), " values, expected ", codes);
    for (std::size_t i = 0; i < expected.size(); ++i)
        r.check(same(decode(i), expected[i]) && std::signbit(decode(i)) == std::signbit(expected[i]), "code ", i, " is ", decode(i), ", expected ",
                expected[i]);
}

/// w(e, r, c) are the numbers of a tensor, but for the sign of zeros, which integers do not have.
void reads(const file& f, report& r, const std::string& tensor, const auto& w, long E, long out, long in, long row_step = 1, long first_row = 0) {
    r.in(tensor);
    const auto expected = f.numbers(tensor);
    r.check(static_cast<long>(expected.size()) == E * out * row_step * in, "has ", expected.size(), " numbers, expected ", E * out * row_step * in);
    if (!r.failures.empty()) return;
    for (long e = 0; e < E; ++e)
        for (long o = 0; o < out; ++o)
            for (long i = 0; i < in; ++i) {
                const double number = expected[static_cast<std::size_t>(((e * out + o) * row_step + first_row) * in + i)];
                r.check(same(w(e, o, i), number), "(", e, ", ", o, ", ", i, ") is ", w(e, o, i), ", expected ", number);
            }
}
template <class Code> std::vector<Code> codes(const file& f, const std::string& tensor) {
    std::vector<Code> list;
    for (const std::uint8_t b : f.bytes(tensor)) list.push_back(std::bit_cast<Code>(b));
    return list;
}
/// Codes and scales [E, out, in] are read as the dequantised numbers, and the original, if given, is stored as these codes and scales.
template <class Format>
void stored(const file& f, report& r, const std::string& data, const std::string& scale, const std::string& dequantised, const std::string& original,
            long E, long out, long in) {
    const guild::scaled_matrices<Format> expected{codes<typename Format::code>(f, data), f.numbers_as<float>(scale)};
    guild::scaled_matrices<Format> sized;
    guild::format<Format>::resize(sized, E, out, in);
    r.in(data);
    r.check(sized.data.size() == expected.data.size() && sized.scale.size() == expected.scale.size(), "has ", expected.data.size(), " codes and ",
            expected.scale.size(), " scales, expected ", sized.data.size(), " and ", sized.scale.size());
    if (!r.failures.empty()) return;
    reads(f, r, dequantised, guild::format<Format>::lend(expected, out, in), E, out, in);
    if (!f.has(original)) return;
    const auto numbers = f.numbers_as<float>(original);
    const auto found = guild::quantise<Format>(stack<const float>{numbers.data(), out * in, in}, E, out, in);
    r.in(data);
    for (std::size_t i = 0; i < found.scale.size(); ++i)
        r.check(found.scale[i] == expected.scale[i], "scale ", i, " is ", found.scale[i], ", expected ", expected.scale[i]);
    for (std::size_t i = 0; i < found.data.size(); ++i) {
        const auto a = std::bit_cast<std::uint8_t>(found.data[i]), b = std::bit_cast<std::uint8_t>(expected.data[i]);
        r.check(a == b, "code ", i, " is ", +a, ", expected ", +b);
    }
}

void conversions(const file& f, report& r) {
    rounded<bf16>(f, r, "bf16", f.bits16("bf16"), [](auto b) { return (b & 0x7fff) > 0x7f80; });
    rounded<half>(f, r, "half", f.bits16("half"), [](auto b) { return (b & 0x7fff) > 0x7c00; });
    rounded<fp8_e4m3>(f, r, "e4m3fn.saturating", f.bytes("e4m3fn.saturating"), [](auto b) { return (b & 0x7f) == 0x7f; });
}
void integers(const file& f, report& r) {
    const auto shape = f.shape("original");
    const auto one = [&]<class Format>(Format, const std::string& name, const char* data) {
        stored<Format>(f, r, name + data, name + ".scale", name + ".dequantised", "original", 1, shape[0], shape[1]);
    };
    one(int8{}, "int8_row", ".quantised");
    one(int4<32>{}, "int4_group32", ".packed");
    one(int4<128>{}, "int4_group128", ".packed");
}
void microscaling(const file& f, report& r) {
    decoded(f, r, "e2m1", 16, [](std::size_t i) {
        const auto code = static_cast<std::uint8_t>(i);
        return mxfp4::decode(&code, 0);
    });
    decoded(f, r, "e8m0", 256, [](std::size_t i) { return decode(e8m0{static_cast<std::uint8_t>(i)}); });
    for (const std::string name : {"gate_up_proj", "down_proj"}) {
        const auto shape = f.shape(name + ".dequantised");
        const long E = shape[0], out = shape[1], in = shape[2], bytes = in / 2, blocks = in / 32;
        const auto data = codes<std::uint8_t>(f, name + "_blocks");
        const auto scale = codes<e8m0>(f, name + "_scales");
        reads(f, r, name + ".dequantised", guild::scaled_stack<mxfp4>{data.data(), out * bytes, bytes, scale.data(), out * blocks, blocks}, E, out,
              in);
        for (const long first : {0, 1})  // rows that alternate gate, up, or any others
            reads(f, r, name + ".dequantised",
                  guild::scaled_stack<mxfp4>{data.data() + first * bytes, out * bytes, 2 * bytes, scale.data() + first * blocks, out * blocks,
                                             2 * blocks},
                  E, out / 2, in, 2, first);
    }
}
}  // namespace

void run_format(const file& f, report& r) {
    std::size_t checked = 1;
    if (f.has("value")) conversions(f, r);
    else if (f.has("code")) decoded(f, r, "e4m3fn", 256, [](std::size_t i) { return decode(fp8_e4m3::from_bits(static_cast<std::uint8_t>(i))); });
    else if (f.has("e2m1")) microscaling(f, r);
    else if (f.has("int8_row.scale")) integers(f, r);
    else {
        checked = 0;
        for (const std::string& tensor : f.tensors()) {
            const std::string name = tensor.substr(0, tensor.rfind('.') + 1), kind = tensor.substr(name.size());
            const auto shape = f.shape(tensor);
            if (kind == "weight")
                stored<fp8>(f, r, tensor, name + "weight_scale_inv", name + "dequantised", name + "original", 1, shape[0], shape[1]);
            else if (kind == "quantised")  // of activations, a scale for 128 columns of a row: a matrix each
                stored<fp8>(f, r, tensor, name + "scale", name + "dequantised", name + "x", shape[0], 1, shape[1]);
            else continue;
            ++checked;
        }
    }
    if (checked == 0) r.notes.push_back("no format of this table is in the library");
}

}  // namespace golden
