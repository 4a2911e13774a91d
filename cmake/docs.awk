# What doxygen reads in place of a header, line for line:
#   guild without its inline namespace; max and min without the parentheses that keep macros of that name away;
#   what is said of several members declared together, or of the first of a group //@{ ... //@}, said of each;
#   no specialisations of templates of std, whose scope doxygen has not read;
#   a member that a policy or a format has by contract, and of which no more is to be said: where the contract stands.
{
    sub(/guild::inline v0/, "guild")
    if ($0 !~ /^ *\/\//) { gsub(/\(max\)\(/, "max("); gsub(/\(min\)\(/, "min(") }
}
/^template <.*> struct std::/ { $0 = "" }
/^ *\/\/\// { line = $0; sub(/^ *\/\/\/ ?/, "", line); said = said == "" ? line : said " " line; print; next }
/^\/\/@\{/ { group = 1; text = said = ""; print ""; next }
/^\/\/@\}/ { group = 0; said = ""; print ""; next }
/^template/ && group {
    if (said != "") text = said
    else $0 = "/** " text " */ " $0
}
/^    / {
    if (said == "" && $0 !~ /\/\/\/</) {
        if (FILENAME ~ /guild\/(gate|balance|expert)\// && by_contract($0)) said = "Of the contract that concepts.hpp states."
        if (FILENAME ~ /guild\/format\/(fp8|int4|int8|mxfp4|bf16|half)\.hpp/ && of_format($0)) said = "Of the contract that format/scaled.hpp states."
        if (said != "") $0 = "    /** " said " */ " substr($0, 5)
    }
    if ($0 !~ /\(.*;/ || $0 ~ /row_part/) $0 = each($0, said)
}
{ said = ""; print }

function by_contract(line) {
    return line ~ /^    [^=;{(]* (forward|backward|decide|value|fits|valid|update|factor|stages|input|learned|state|slots|extra|take)\(/ ||
           line ~ /^    [^=;{(]*operator\(\)\(/ ||
           line ~ /^    (static constexpr|using) ([a-z_]+ )?(inputs|learned|reads|writes|moves|reads_scores|scores|logits|stream) = / ||
           line ~ /^    static constexpr bool (needs|weighs)_[a-z_]+ = /
}
function of_format(line) {
    return line ~ /^    [^=;{(]* (decode|encode|scale_of|from_bits)\(/ ||
           line ~ /^    (static constexpr long|using) (code|scale|per_code) = / || line ~ /^    std::uint[0-9]+_t bits/
}
# a = 1, b, c{};  ///< text     or the same after a comment
function each(line, before,    after, at, out) {
    at = index(line, "///<")
    after = at ? substr(line, at + 4) : ""
    if (at) line = substr(line, 1, at - 1)
    if (line !~ /; *$/ || line !~ /, [A-Za-z_][A-Za-z_0-9]*( =|\{|,|;)/ || before after == "") return line (at ? "///<" after : "")
    out = ""
    while (match(line, /, [A-Za-z_][A-Za-z_0-9]*( =|\{|,|;)/)) {
        out = out substr(line, 1, RSTART - 1) (after == "" ? "" : " /**<" after " */") ", " (before == "" ? "" : "/** " before " */ ")
        line = substr(line, RSTART + 2)
    }
    return out line (at ? "///<" after : "")
}
