// What each error code of src/errors.ts means and what to do about it, for docs/errors.md. The build does not read this.
// `cases`: [text in the message, what happened, what to do]. The text is one that src/ has, word for word.

export default {
  OK: {
    means:
      "Success. `perform()`, `finish()`, `setBootPartition()` and `rollback()` resolve with it. No call fails with it.",
  },
  IN_PROGRESS: {
    means: "Not an error: `perform()` resolves with it while bytes are missing. Call `perform()` again.",
  },
  FAIL: {
    means: "The server answered with a status of 400 and above, or the engine threw an error of its own.",
    cases: [
      [
        "HTTP status ",
        "`error.status` has the number. 401, 403: the server wants other credentials. 404, 410: there is no such file. 5xx, 408, 425, 429: the server is busy; the update has asked again already",
        "Open the URL in a browser. For 401 and 403: `headers` ([proxy.js](../examples/proxy.js)). For 404: is the image beside the manifest, under the name that `sign` was given? 404, 410 and busy servers have `retry`, because a release may be on its way",
      ],
    ],
    else: "A message without a status is the engine's own, passed on as it is.",
  },
  NO_MEM: {
    means: "Not enough free JsVars, or not enough room in Storage.",
    cases: [
      [
        " JsVars are free, an update needs ",
        "The program takes too much memory. Nothing was fetched",
        "`process.memory().free` before the call. Keep the module and your program in Storage, where functions take no memory. Free arrays and buffers, or restart and update before the program starts",
      ],
      [
        " JsVars are free, a key of this length needs ",
        "An RSA-4096 signature takes more memory than an RSA-3072 one",
        "As above, or sign with a key of 3072 bits",
      ],
      ["a manifest of more than ", "The manifest is too large for the memory that is free", "As above"],
      [
        "out of memory: ",
        "Memory ended in the middle. No broken image was selected",
        "As above. The next update goes on where this one stopped",
      ],
      [
        " of erased files, ",
        "Storage has too little room behind its last file: for the boot record, or for the files of the release. The message says how much is free, how much erased files take, and how much is needed. Nothing was fetched",
        "Erase files, then `compactStorage()`. Do that on the bench: a loss of power during a compaction can erase all of Storage",
      ],
    ],
  },
  INVALID_ARG: {
    means: "The call was wrong: an unknown field, a wrong type, a bad URL or key. Nothing was done.",
    cases: [
      [
        "unknown field ",
        "A field that the module does not know, often a misspelt one (`timeOut`)",
        "[The fields](api.md#config)",
      ],
      ["expected a partition or its label", "`getDescription()` was given neither", '`getDescription("ota_0")`'],
      [
        "headers() threw: ",
        "`headers` is a function, and it threw this before a connection",
        "Make the function ready before the update: a token, the clock. Nothing is tried again",
      ],
      ["headers must be an object", "`headers`, or what its function returned, is no object", '`{ "X-Key": "abc" }`'],
      [" must be a ", 'A field has the wrong type: `timeout: "20000"`', "The message names the field and the type"],
      [
        "expected exactly one of keys, digest, insecure",
        "Nothing says which image may run, or two things do",
        "`keys` for signed releases; `digest` for one known image; `insecure` for experiments",
      ],
      [
        "keys: expected RSA keys of 2048 to 4096 bits as JWK",
        "A key is not RSA, or `n` or `e` was cut when it was pasted",
        "`npx https-ota keygen` prints the line for the program",
      ],
      ["keys must be a list of one key or more", "`keys` is one key, or an empty list", "`keys: [{ ... }]`"],
      [
        "threshold is ",
        "`threshold` is not 1 or 2, or there are fewer keys than that",
        "List two keys for `threshold: 2`",
      ],
      [
        "digest must be ",
        "The digest was shortened, or it is another kind of digest",
        "`npx https-ota inspect FILE` prints it as this field wants it",
      ],
      ["expected http:// or https://", "Another protocol, or none", "Write the whole URL"],
      [
        "checkForUpdate needs keys",
        "Only a signed manifest says what is offered",
        "Call `update` with `digest` or `insecure`",
      ],
      [
        "confirmAfter(ms, check)",
        "The arguments are the wrong way round, or missing. Nothing was decided",
        "`confirmAfter(60000, function () { return true; })`",
      ],
    ],
  },
  INVALID_STATE: {
    means: "The call does not fit the state of the handle, the program or the flash.",
    cases: [
      [
        "aborted",
        "`abort()`, `rollback()`, `save()`, `load()` or `reset()` ended the update",
        "Call `update` again. The bytes in flash are kept",
      ],
      [
        "() called after the update ended",
        "A handle was used after `finish`, `abort` or an error",
        "`begin` makes a new one",
      ],
      [
        "() called too early",
        "Two calls of one handle at the same time, or `finish` before the last byte",
        "Wait for the promise of `perform()`",
      ],
      [
        "save() keeps the program (Storage file .varimg)",
        "Other firmware drops a program kept by `save()` at its first start",
        "Keep the program in `.bootcde` or `.boot0` and erase `.varimg`, or set `allowSavedState`",
      ],
      [
        "partition ",
        "A row of the partition table is not aligned, overlaps another one or leaves the flash",
        "`npx https-ota partitions --check` shows it. Flash a good table by USB ([boards.md](boards.md))",
      ],
      [
        "the manifest has files, and no loader runs them",
        "`.boot0` is not the loader, or it was written since the last start. Nothing was fetched",
        "`npx https-ota init`, once, then a restart ([program.md](program.md#a-new-version-of-the-program))",
      ],
      ["an update is running", "`compactStorage()` was called during an update", "Wait for the end of the update"],
    ],
  },
  INVALID_SIZE: {
    means: "The file does not fit the slot, or it is too short to be an image.",
    cases: [
      [
        ", the slot has ",
        "The image is larger than the slot",
        "Slots have 1536 K in all tables of `boards/`. [boards.md](boards.md) says which builds fit",
      ],
      [
        " bytes, expected at most ",
        "The server says that the file is larger than the manifest or the slot allows",
        "Is it the file that was signed? An HTML error page can be served with status 200",
      ],
      [" bytes, an image has at least ", "The file is much too short", "As above"],
      ["the file is empty", "The server has an empty file", "Was the upload complete?"],
    ],
  },
  NOT_FOUND: {
    means: "The device has no such slot, entry, descriptor or file.",
    cases: [
      ["this device has no slot ", "No slot has this label", "`getStatus().slots` lists the labels"],
      ["no slot is called ", "The field `partition` names a label that does not exist", "As above"],
      [
        "otadata does not name ",
        "The slot was never selected by an update, so it has no state",
        "This is normal for the first image of a device",
      ],
      [
        "the table has no partition ",
        "`getDescription()`: no partition has this label, or it lies elsewhere",
        "`findPartition` finds one by its label",
      ],
      [
        "no app descriptor in ",
        "`getDescription()`: the slot holds no image, an unfinished one, or one of ESP-IDF before 3.3",
        "This is normal for a slot that was never written",
      ],
      [
        "no bootloader at ",
        "There is none where this chip has it, or the flash is encrypted",
        "Nothing: only `getBootloaderDescription()` needs it",
      ],
      [
        "the image has no app descriptor",
        "Images of ESP-IDF before 3.3 have none. They can be installed",
        "Nothing: only `getImgDesc()` needs it",
      ],
      [
        "cannot determine the running slot",
        "The firmware does not run from a slot of the table that is in flash",
        "The table was changed without the firmware. Flash both by USB",
      ],
      [
        " has no file ",
        "`file()`: the release that runs has no file of this name",
        "`getStatus().release.files` lists the names",
      ],
      [
        "no release of files runs",
        "`file()`: the program was started by `.bootcde`, by `.boot0` or from the prompt, and not by the loader",
        "Read such a file by its own name in Storage",
      ],
    ],
  },
  NOT_SUPPORTED: {
    means: "This board, build, table, server or manifest cannot be used as it is.",
    cases: [
      [
        "only one slot",
        "The stock table of the ESP32-C3, ESP32-S3 and of all builds for ESP-IDF 4 and 5 has one slot",
        "A table of `boards/`, once, by USB ([boards.md](boards.md))",
      ],
      ["no otadata partition", "As above", "As above"],
      [
        "the partition table has two otadata rows",
        "An Espruino build of 2019 or 2020",
        "Flash a current Espruino with its own table by USB",
      ],
      [
        "the partition table has a gap or a duplicate",
        "`ota_0`, `ota_1` ... are not numbered without a gap",
        "Correct the table (`npx https-ota partitions --check`)",
      ],
      [
        "flash encryption is on",
        "Writing raw flash would give the bootloader garbage",
        "This module cannot update such a device",
      ],
      ["no crypto module", "The build `ESP32_IDF4` has no crypto", "Another build ([boards.md](boards.md))"],
      [
        " is not an ESP32 that this module knows",
        "`process.env.BOARD` names another chip",
        "[boards.md](boards.md) lists the builds",
      ],
      [
        "Storage would be lost",
        "After this update no file of Storage could be read: not the program, not this module",
        "The border is 2v26. Cross it by USB ([program.md](program.md#the-border-of-2v26)), or set `allowStorageLoss`",
      ],
      [
        ", this module knows ",
        "The manifest is of a newer format. Format 2 has files, and modules before them know 1 only",
        "Install a newer module first",
      ],
      [
        "push brings the bytes of an image only",
        "The manifest has files, and `push` was given",
        "Give the bytes by `source`, which is asked for each file by its name",
      ],
      [
        "the server begins at 0, expected ",
        "The server ignores `Range`, and the connection broke too often",
        "A server with ranges, or a better line. `npx https-ota serve` has ranges",
      ],
      ["factory has no state", "otadata has no entry for `factory`", "Nothing: `getState` cannot answer for it"],
    ],
  },
  TIMEOUT: {
    means: "Time is over: that of the whole update, or that of the manifest.",
    cases: [
      [
        "not done within ",
        "The update, with all pauses between the steps of a handle, took longer than `deadline` (an hour)",
        "Call it again: it goes on where it was. For a slow line set `deadline` higher",
      ],
      [
        "manifest expired at ",
        "The release was signed with a date, and it is over. `retry` is false",
        "Sign the same image again and replace the manifest. Is the clock of the device right?",
      ],
    ],
  },
  INVALID_RESPONSE: {
    means: "The server's answer is not one that an image can be taken from, or a manifest is not well formed.",
    cases: [
      [
        "neither Content-Length nor chunked",
        "The engine would cut such a body off after its first piece",
        "Make the server send `Content-Length`: serve a file, not the output of a program",
      ],
      [
        "Content-Encoding ",
        "The server compresses. The device cannot unpack",
        "Turn compression off for `.bin` and `.jws`",
      ],
      [
        "Content-Range ",
        "The server answers another range than the one asked for",
        "Another server, or a proxy that leaves ranges alone",
      ],
      [
        "the file changed again",
        "The file was replaced twice during one download",
        "Call it again when the release is published. Give each release a name of its own",
      ],
      ["redirect without Location", "The server redirects and does not say where to", "Correct the server"],
      [
        "manifest: ",
        "A claim is missing, has a wrong type, or the text is not strict JSON",
        "`npx https-ota verify` says what. Make manifests with `sign`",
      ],
      [
        "file name ",
        "A name comes twice, has more than 28 characters, leaves its folder, or is one that Espruino or this module uses",
        "Rename the file. [The rules](formats.md#files-and-entry)",
      ],
      [
        "claim files ",
        "The list is empty or no list, or its manifest is of format 1",
        "Make manifests with `sign --files`",
      ],
      [
        "claim entry ",
        "The program that `entry` names is not among the files, or it is empty",
        "`sign --files DIR --entry app.js`, with a file of `DIR`",
      ],
    ],
  },
  INVALID_VERSION: {
    means: "The release is a good one, but not for this device, or it runs already.",
    cases: [
      [
        "what the manifest names is running already",
        "`begin()` only: the device is up to date",
        "Nothing. `update()` resolves with `upToDate: true`",
      ],
      ["what the manifest names is installed and waits for the restart", "`begin()` only", "`restart()`"],
      [
        "manifest is for ",
        "Another chip, board or project. For the sequence: it is out of all reason",
        "The message has both. `sign --board`, `--project`, `--sequence`; `project` in the configuration",
      ],
      ["image for chip id ", "Firmware for another chip", "ESP32 has 0, ESP32-C3 has 5, ESP32-S3 has 9"],
      ["image for chip revision", "The chip is older than the image wants", "Firmware that is built for this revision"],
    ],
  },
  NOT_ALLOWED: {
    means:
      "This image, or this release of files, counts as bad on this device. Its program gave it up (`confirmAfter`, `rollback()`), its starts ran out three times, or the bootloader refused it three times. A release with files counts likewise, by its id. A new signature does not change that.",
    cases: [
      [
        " rolled back on this device before",
        "`getStatus().rolledBack` lists the digests, `rollbackReason` says why the last one was left",
        "Publish another one. `allowRolledBack` installs this one once more",
      ],
    ],
  },
  OTA_PARTITION_CONFLICT: {
    means: "The slot to write is the one that runs, or one that somebody selected meanwhile.",
    cases: [
      [" is running", "`partition` names the running slot", "Leave `partition` out"],
      ["otadata selects slot ", "Another program selected the slot that is being written", "One updater on a device"],
    ],
  },
  OTA_SELECT_INFO_INVALID: {
    means: "otadata has no room for another entry: its sequence number is at the end. No real device gets there.",
    cases: [
      [
        "no sequence number above ",
        "otadata is damaged",
        "Erase its two sectors ([rescue.md](rescue.md)). The first slot starts then",
      ],
    ],
  },
  OTA_VALIDATE_FAILED: {
    means: "The image or the manifest is not what it should be. The slot holds nothing that could start.",
    cases: [
      [
        "the manifest is not signed by a trusted key",
        "Another key, a changed manifest, or no manifest at all (an HTML page). With `threshold: 2`: one signature is missing",
        "`npx https-ota verify FILE --key key.pub.jwk` on your computer. Does `url` name the manifest and not the image?",
      ],
      [
        "fs-verity digest ",
        "The image on the server is not the one that was signed",
        "Publish image and manifest together. `retry` is true when parts of two files were mixed",
      ],
      [
        "first byte ",
        "The file is no app image. 0xff: a dump of the whole flash. 0x65: a manifest, and `keys` are missing",
        "Serve the app's own file (`espruino_esp32.bin`)",
      ],
      [
        "not an app: its first segment is for ",
        "A bootloader, or bootloader, table and app merged into one file",
        "The app's own file",
      ],
      ["segment ", "The image is cut or damaged, or the bootloader would crash in it", "`npx https-ota inspect FILE`"],
      ["image incomplete: ", "`finish()` before the last byte", "Call `perform()` until it resolves with `ERR.OK`"],
      [
        " is not the one that the manifest names",
        "The server has another file under this name, or a part of it. What was fetched is erased; `retry` is true when parts of two files were mixed",
        "Publish files and manifest together",
      ],
      ["image checksum ", "A byte of the image changed on the way (`insecure` only)", "Sign your releases"],
    ],
  },
  OTA_SMALL_SEC_VER: {
    means: "The release is older than the newest one that was confirmed on this device.",
    cases: [
      [
        "manifest has sequence ",
        "A replayed old release, or two computers that count differently",
        "Sign again with a higher `--sequence`, or set `allowDowngrade`",
      ],
    ],
  },
  OTA_ROLLBACK_FAILED: {
    means:
      "There is no other slot with a whole image, so `rollback()` has nothing to go back to. The running image stays.",
  },
  OTA_ROLLBACK_INVALID_STATE: {
    means: "The running image is on trial. An update would overwrite the slot to go back to.",
    cases: [
      [
        "the running image is on trial",
        "`boot()` or `confirmAfter()` has not confirmed it yet",
        "Wait for the end of the trial, or call `markValid()`. `allowUnconfirmed` updates nevertheless",
      ],
      ["the running image is not confirmed", "The same, on a bootloader with rollback", "`markValid()`"],
      [
        "the running image was rolled back",
        "`rollback({ restart: false })` was called, and the device has not restarted",
        "`restart()`",
      ],
    ],
  },
  OTA_ALREADY_IN_PROGRESS: {
    means: "One at a time: an update, a check, or the choice of a slot is not finished.",
    cases: [
      [
        "an update is running, or a slot is being selected",
        "Two timers or two messages start an update, or a handle was lost",
        "Wait and call again. `abort()` ends what is under way, also when its handle was lost",
      ],
    ],
  },
  OTA_SPI_MODE_MISMATCH: {
    means:
      "The image is built for another SPI mode of the flash chip (QIO, DIO) than the one that runs. The bootloader could not start it.",
    cases: [
      ["image for SPI mode ", "The numbers are those of the image's header", "Firmware built as the running one"],
    ],
  },
  FLASH_OP_FAIL: {
    means:
      "What was written or erased does not read back. The ESP32 port of Espruino drops the errors of the flash driver, so the module reads everything back.",
    cases: [
      [
        " is not blank after its erase",
        "Builds for ESP-IDF 5 from before September 2026 cannot erase flash from JavaScript. Else the flash is worn or protected",
        "[boards.md](boards.md). Flash a newer build by USB",
      ],
      [
        " differs from what was written",
        "The flash is worn or its power is bad",
        "Try again. When it stays, the board is broken",
      ],
      [
        "Storage did not take ",
        "Three tries to create a file of Storage failed",
        "Erase files and compact Storage on the bench",
      ],
      ["Storage does not hold what is written into file ", "Three tries to write a boot record failed", "As above"],
    ],
  },
  HTTP_MAX_REDIRECT: {
    means: "More redirects than `maxRedirects` (5): a loop, most of the time. Use the final URL.",
  },
  HTTP_CONNECT: {
    means: "No connection to the server, or none any more.",
    cases: [
      ["no network", "Wi-Fi is not connected", "Connect first"],
      [
        "no answer from ",
        "The host is unknown or refuses the connection, or TLS failed. -15 and -8 with `https:`: the handshake failed, or the port does not speak TLS",
        "Try the URL on a computer in the same network. A server that needs a host name (SNI) refuses builds up to 2v29: use `http:` with `keys`. Builds with an 8 KB TLS buffer fail with records of 16 KB ([boards.md](boards.md))",
      ],
    ],
  },
  HTTP_NOT_MODIFIED: {
    means:
      "The server answered 304 although it was not asked to compare. Remove `If-None-Match` and `If-Modified-Since` from `headers`, or the cache in between.",
  },
  HTTP_RANGE_NOT_SATISFIABLE: {
    means: "The file became shorter during the download, twice. Publish it under a new name, and call again.",
  },
  HTTP_READ_TIMEOUT: {
    means:
      "No byte for `timeout` ms (20000), and that `retries` times (5) without progress. Call it again: it goes on where it was.",
  },
  HTTP_INCOMPLETE_DATA: {
    means: "The connection broke, and that `retries` times (5) without progress.",
    cases: [
      [
        "connection lost",
        "A bad line, or a server that ends connections early",
        "Call it again: it goes on where it was. `maxRequestSize: 65536` asks for shorter pieces",
      ],
      [
        "the file began again too often",
        "The update has erased twice the sectors of the file",
        "A server with `Range`",
      ],
    ],
  },
  HTTP_REDIRECT_DOWNGRADE: {
    means:
      "The server redirects from https to http. Use the http URL directly if that is what you want: with `keys` it is safe.",
  },
};
