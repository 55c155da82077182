["YWJj", "YWI=", "YQ==", "", "YWJjZA", "YWJjZA==", "YW Jj\nZA\t==", "YW-_", "Y", "YW", "YWJ", "====", "A===", "/+8=", "AA==AA==", "YQ==YQ==", "Y*Jj", "YWJjYWJ", "=YWJ", "YW=J", "\xffYWJ", "YWJj="].forEach(function (t) {
  show(JSON.stringify(t), function () { return hex(atob(t)); });
});
show("number", function () { return atob(5); });
show("undefined", function () { return atob(undefined); });
show("array", function () { return atob([1]); });
show("btoa text", function () { return btoa("a\xff\x00"); });
show("btoa empty", function () { return btoa(""); });
show("btoa array", function () { return btoa([1, 2, 300]); });
show("btoa u8", function () { return btoa(new Uint8Array([255, 254])); });
show("btoa buffer", function () { return btoa(new Uint8Array([255, 254]).buffer); });
show("btoa number", function () { return btoa(5); });
show("btoa undefined", function () { return btoa(undefined); });
show("uri", function () { return [encodeURIComponent("a b/?&=_-.!~*'()"), decodeURIComponent("a%20b%2F")]; });
show("uri not ascii", function () { return decodeURIComponent("a\xff"); });
quit();
