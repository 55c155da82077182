// What finds a needle in a text. Since 2v29 the engine takes a needle's beginning for the needle where the text ends
// (src/jswrap_string.c, jswrap_string_indexOf: no bound on the iterator): "abc".indexOf("cde") is 2. It never does so
// for one character, nor in lastIndexOf, split, startsWith and endsWith.
var texts = ["", "a", "abc", "abcc", "aabaa", "abcabcab", "://", "https:", "\x00\xff\x00"];
var needles = ["", "a", "c", "ab", "bc", "cde", "cab", "abcabcabc", "aab", "://", "\xff\x00", "\x00"];
var froms = [undefined, -1, 0, 1, 2, 3, 7, 99, "2", null, true, 1.9, NaN];
texts.forEach(function (text) {
  needles.forEach(function (needle) {
    var name = JSON.stringify(text) + " " + JSON.stringify(needle);
    print(name + " indexOf " + froms.map(function (from) { return text.indexOf(needle, from); }).join(" "));
    print(name + " lastIndexOf " + froms.map(function (from) { return text.lastIndexOf(needle, from); }).join(" "));
    print(name + " includes " + froms.map(function (from) { return +text.includes(needle, from); }).join(" "));
    print(name + " without from " + text.indexOf(needle) + " " + text.lastIndexOf(needle) + " " + text.includes(needle));
    print(name + " starts, ends " + text.startsWith(needle) + " " + text.endsWith(needle));
    print(name + " split " + JSON.stringify(text.split(needle)));
    print(name + " replace " + JSON.stringify(text.replace(needle, "<$&>")));
    // an empty needle is found again and again, in what it was replaced by too
    if (needle) print(name + " replaceAll " + JSON.stringify(text.replaceAll(needle, "<$1>")));
    print(name + " match " + JSON.stringify(text.match(needle)));
  });
});
show("number", function () { return ["a12".indexOf(1), "a12".indexOf(123), "a12".includes(23), "a12".replace(2, 5)]; });
show("undefined", function () { return ["undefined".indexOf(), "xun".indexOf(undefined), "null".indexOf(null)]; });
show("match index", function () { var m = "abc".match("cd"); return [m.index, m.input, m.length]; });
show("match undefined", function () { return "abc".match(undefined); });
show("split limit", function () { return ["a,b,c".split(",", 1), "abc".split("", 2), "abc".split()]; });
show("array", function () { return [["abc"].indexOf("ab"), ["ab"].indexOf("abc"), ["abc"].includes("abcd")]; });
quit();
