// What tells one board from another: Math.random and E.hwRand do not. On the ESP32 it is the MAC address of its eFuse
// (targets/esp32/jshardware.c, jshGetSerialNumber), 6 bytes; each 4 bytes are followed by a dash (src/jswrap_interactive.c).
print(typeof getSerial + " " + typeof getSerial());
print(getSerial() === getSerial());
print(getSerial() === process.env.SERIAL);
var serial = getSerial(), parts = 0, odd = "", i;
for (i = 0; i < serial.length; i++)
  if (i % 9 === 8) parts += serial[i] === "-" ? 1 : 100;
  else if ("0123456789abcdef".indexOf(serial[i]) < 0) odd += serial[i];
print((parts > 0 && parts < 8) + " " + JSON.stringify(odd));
print(typeof E.CRC32(getSerial()) + " " + (E.CRC32(getSerial()) >= 0) + " " + (E.CRC32("00000000-0001") !== E.CRC32("00000000-0002")));
print(E.CRC32("240ac4aa-bbcc"));
quit();
