// What the engine offers in its first message. This is the Linux build's own mbedTLS (libs/crypto/mbedtls/config.h); the
// ESP32 ports take ESP-IDF's, which offers ECDHE too and was not recorded.
// The server's name is not here: the Linux build sends none, the ports "mbed TLS Server 1" (up to 2v29).
fetch({ name: "tls-hello", tls: true, port: HELLOPORT, anyCode: true, total: false }, function () {
  fetch({ name: "hello", total: false, after: function (q, d) { print(d); } }, quit);
});
