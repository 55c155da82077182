// The BOOT button, held for five seconds, brings back the image before.
// rollback() verifies the other slot, selects it and restarts. The image that is left is refused from then on, until an
// update with allowRolledBack.

var ota = require("https-ota");

var BUTTON = D0; // 0 while it is pressed
var SECONDS = 5;

BUTTON.mode("input_pullup");
setWatch(function (event) {
  // lastTime: when it was pressed
  if (event.time - event.lastTime < SECONDS) return;
  ota.rollback().then(null, function (error) {
    // ESP_ERR_OTA_ROLLBACK_FAILED: no other slot holds a whole image
    console.log(error.name + ": " + error.message);
  });
}, BUTTON, { repeat: true, edge: "rising", debounce: 50 });
