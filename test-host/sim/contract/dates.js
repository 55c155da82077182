// what a server may say in Date and Retry-After (RFC 9110 5.6.7)
["Thu, 26 Nov 2026 14:00:00 GMT", "Sun, 01 Nov 2026 12:00:42 GMT", "2026-11-26T14:00:00Z",
 "", "soon", "today", "-1", "9", "12abc", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"].forEach(function (text) {
  print(text + " = " + Date.parse(text));
});
quit();
