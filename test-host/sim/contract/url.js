["http://a.b/c", "https://a.b:8443/c/d?e=f", "a.b/c", "//a.b/c", "/c?d", "http://a.b", "http://a.b?x=1", "http://a.b:99999/x", "http://a.b:/x", "http://u:p@a.b/x",
 "http://a.b/c:d?x=http://e.f/?g", "HTTP://A.B/", "", "http:", "http://a.b/x?y?z", "http://[::1]:80/x", "http://a.b/x#y", "ftp://h/p:1"].forEach(function (u) {
  print(u + " " + JSON.stringify(url.parse(u)));
});
print(JSON.stringify(url.parse("/a?b=c&d=e%20f&g&=h", true)));
show("number", function () { return url.parse(5); });
quit();
