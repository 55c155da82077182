// What each error code of src/errors.ts means and what to do about it, for docs/errors.md. The build does not read this.
// `cases`: [text in the message, what happened, what to do]. The text must be in a string of src/, word for word.

export default {
  OK: {
    means:
      "Success. `perform()`, `finish()`, `setBootPartition()` and `rollback()` resolve with it. No call fails with it.",
  },
  IN_PROGRESS: {
    means: "Not an error: `perform()` resolves with it while bytes are missing. Call `perform()` again.",
  },
  FAIL: {
    means:
      "The server answered with a status of 400 or above, the engine threw an error of its own, or `source` reported one.",
    cases: [
      [
        "HTTP status ",
        "`error.status` has the number. 401, 403: the server wants other credentials. 404, 410: the server does not have the file. 5xx, 408, 425, 429: the server is busy; the update has asked again already",
        "Open the URL in a browser. For 401 and 403: `headers` ([proxy.js](../examples/proxy.js)). For 404: is the image beside the manifest, under the name that `sign` was given? `retry` is true for 404, 410 and a busy server, because the release may be there later",
      ],
    ],
    else: "A message that begins with `source: ` is what the function `source` reported. Any other message without a status is the engine's own.",
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
        "Memory ran out during the update. No broken image was selected",
        "As above. The next update continues where this one stopped",
      ],
      [
        " of erased files, ",
        "Storage has too little room behind its last file: for the boot record, or for the files of the release. The message says how much is free, how much erased files take, and how much is needed. Nothing was fetched",
        "Erase files, then call `compactStorage()`, with a power supply that cannot fail: a loss of power during a compaction can erase all of Storage",
      ],
    ],
  },
  INVALID_ARG: {
    means: "The call was wrong: an unknown field, a wrong type, a bad URL or key. Nothing was done.",
    cases: [
      [
        "unknown field ",
        "The module does not know this field. It is often misspelt (`timeOut`)",
        "[The fields](api.md#config)",
      ],
      ["expected a partition or its label", "`getDescription()` was called with neither", '`getDescription("ota_0")`'],
      [
        "headers() threw: ",
        "`headers` is a function, and it threw this error before a connection was opened",
        "Before the update, prepare what the function needs: a token, the clock. The update does not try again",
      ],
      [
        "headers must be an object",
        "`headers`, or what its function returned, is not an object",
        '`{ "X-Key": "abc" }`',
      ],
      [" must be a ", 'A field has the wrong type: `timeout: "20000"`', "The message names the field and the type"],
      [
        "expected exactly one of keys, digest, insecure",
        "None or several of these fields were given. Exactly one must say which image may run",
        "`keys` for signed releases; `digest` for one known image; `insecure` for experiments",
      ],
      [
        "keys: expected RSA keys of 2048 to 4096 bits as JWK",
        "A key is not an RSA key, or `n` or `e` is incomplete",
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
        "The digest is incomplete, or of another kind",
        "`npx https-ota inspect FILE` prints it in this form",
      ],
      ["expected http:// or https://", "The URL has another protocol, or none", "Write the whole URL"],
      [
        "checkForUpdate needs keys",
        "Only a signed manifest says which release is offered",
        "Call `update` with `digest` or `insecure`",
      ],
      [
        "confirmAfter(ms, check)",
        "The arguments are in the wrong order, or missing. Nothing was decided",
        "`confirmAfter(60000, function () { return true; })`",
      ],
    ],
  },
  INVALID_STATE: {
    means: "The call does not fit the state of the handle, the program or the flash.",
    cases: [
      [
        "aborted",
        "`abort()`, `rollback()`, `save()`, `load()` or `reset()` ended the update, or the selection of a slot",
        "Call it again. An update keeps the bytes that are in flash",
      ],
      [
        "after the update ended",
        "A handle was used after `finish`, `abort` or an error",
        "Call `begin` for a new handle",
      ],
      ["after the last byte", "`perform()` or `write()` was called although every byte is in flash", "Call `finish()`"],
      [
        "before the previous call ended",
        "The promise of another call of this handle was still pending",
        "Wait for the promise of `perform()`, `write()` or `finish()` first",
      ],
      [
        "save() keeps the program (Storage file .varimg)",
        "Other firmware deletes a program that `save()` has kept, at its first start",
        "Keep the program in `.bootcde` or `.boot0` and erase `.varimg`, or set `allowSavedState`",
      ],
      [
        "partition ",
        "A row of the partition table is not aligned, overlaps another row, or ends behind the flash",
        "`npx https-ota partitions --check` shows it. Flash a good table by USB ([boards.md](boards.md))",
      ],
      [
        "the manifest has files, and no loader runs them",
        "`.boot0` is not the loader, or it was written since the last start. Nothing was fetched",
        "`npx https-ota init`, once, then a restart ([program.md](program.md#a-new-version-of-the-program))",
      ],
      ["an update is running", "`compactStorage()` was called during an update", "Wait until the update has ended"],
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
        "Check that it is the file that was signed. A server can send an HTML error page with status 200",
      ],
      [" bytes, an image has at least ", "The file is much too short", "As above"],
      ["the file is empty", "The server has an empty file", "Upload the file again"],
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
        "Nothing: this is normal for the first image of a device",
      ],
      [
        "the table has no partition ",
        "`getDescription()`: no partition has this label, or the partition has another address",
        "`findPartition` finds one by its label",
      ],
      [
        "no app descriptor in ",
        "`getDescription()`: the slot holds no image, an unfinished one, or one of ESP-IDF before 3.3",
        "Nothing: this is normal for a slot that was never written",
      ],
      [
        "no bootloader at ",
        "The byte at the address of the bootloader is not the first byte of an image, or the flash is encrypted",
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
        "The table is from an Espruino build of 2019 or 2020",
        "Flash a current Espruino with its own table by USB",
      ],
      [
        "the partition table has a gap or a duplicate",
        "`ota_0`, `ota_1` ... are not numbered without a gap",
        "Correct the table (`npx https-ota partitions --check`)",
      ],
      [
        "flash encryption is on",
        "The bootloader decrypts what it reads, and the module cannot encrypt what it writes",
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
        "After this update Espruino could not read the files in Storage: neither the program nor this module",
        "Builds from 2v26 on keep Storage elsewhere. Flash such a build once by USB ([program.md](program.md#the-border-of-2v26)), or set `allowStorageLoss`",
      ],
      [
        ", this module knows ",
        "The manifest has a newer format. Format 2 came with files and rollouts; older modules know format 1 only",
        "Install a newer module first",
      ],
      [
        "push brings the bytes of an image only",
        "The manifest has files, and `push` was given",
        "Use `source`: it is called for each file, with the name of the file",
      ],
      [
        "server ignored Range: expected byte ",
        "The server ignores `Range`, and the connection was lost too often",
        "Use a server with ranges, such as `npx https-ota serve`, or a better connection",
      ],
      ["factory has no state", "otadata has no entry for `factory`", "Nothing: `getState` cannot answer for it"],
    ],
  },
  TIMEOUT: {
    means: "The time limit of the whole update has passed, or the manifest has expired.",
    cases: [
      [
        "not done within ",
        "The update, with all pauses between the steps of a handle, took longer than `deadline` (an hour)",
        "Call it again: it continues where it stopped. For a slow connection set `deadline` higher",
      ],
      [
        "manifest expired at ",
        "The release was signed with an expiry date, and this date is in the past. `retry` is false",
        "Check the clock of the device. Sign the same image again and replace the manifest",
      ],
    ],
  },
  INVALID_RESPONSE: {
    means: "The answer of the server is not valid or not supported, or a manifest is not well formed.",
    cases: [
      [
        "neither Content-Length nor chunked",
        "The engine would end such a body after its first piece",
        "Make the server send `Content-Length`: serve a file, not the output of a program",
      ],
      [
        "not supported: Content-Encoding ",
        "The server compresses the file. The device cannot decompress it",
        "Turn compression off for `.bin` and `.jws`",
      ],
      [
        "not supported: Transfer-Encoding ",
        "The answer has another transfer coding than `chunked`, or `chunked` together with `Content-Length`",
        "Correct the server, or the proxy in between",
      ],
      ["invalid Content-Length ", "The length is not a whole number", "Correct the server, or the proxy in between"],
      [
        "invalid Content-Range ",
        "The range is not well formed, or it does not fit `Content-Length`",
        "Use another server, or a proxy that does not change ranges",
      ],
      [
        "Content-Range starts at ",
        "The server sent another range than the one that was asked for",
        "Use another server, or a proxy that does not change ranges",
      ],
      [
        "the file changed again",
        "The file on the server was replaced twice during one download",
        "Call it again when the release is complete. Give the files of each release names of their own",
      ],
      ["redirect without Location", "The server redirects without an address", "Correct the server"],
      [
        "manifest: ",
        "A claim is missing, has a wrong type, or the text is not strict JSON",
        "`npx https-ota verify FILE` reports it. Make manifests with `sign`",
      ],
      [
        "file name ",
        "A name comes twice, has more than 28 characters, has `..` in its path, or is one that Espruino or this module uses",
        "Rename the file. [The rules](formats.md#files-and-entry)",
      ],
      [
        "claim files ",
        "The list is empty, is not a list, or its manifest has format 1",
        "Make manifests with `sign --files`",
      ],
      [
        "claim entry ",
        "`entry` is missing, or the program that it names is not among the files, or is empty",
        "`sign --files DIR --entry app.js`, with a file of `DIR`",
      ],
    ],
  },
  INVALID_VERSION: {
    means: "The release is valid, but it is not for this device, or it runs already.",
    cases: [
      [
        "what the manifest names is running already",
        "`begin()` only: the device is up to date",
        "Nothing. `update()` resolves with `upToDate: true`",
      ],
      ["what the manifest names is installed and waits for the restart", "`begin()` only", "`restart()`"],
      [
        "manifest is for ",
        "The manifest is for another chip, board or project, or its sequence is more than 2^32 above that of the device",
        "The message has both values. Use `sign --board`, `--project`, `--sequence`, or `project` in the configuration",
      ],
      ["image for chip id ", "The firmware is for another chip", "ESP32 has 0, ESP32-C3 has 5, ESP32-S3 has 9"],
      [
        "image for chip revision",
        "The chip is older or newer than the image allows",
        "Use firmware that is built for this revision",
      ],
    ],
  },
  NOT_ALLOWED: {
    means:
      "This image, or this release of files, counts as bad on this device. Its program gave it up (`confirmAfter`, `rollback()`), its starts ran out three times, or the bootloader refused it three times. The same holds for a release with files, by its id. A new signature does not change that.",
    cases: [
      [
        " rolled back on this device before",
        "`getStatus().rolledBack` lists the digests, `rollbackReason` says why the last one was rolled back",
        "Publish another release. `allowRolledBack` installs this one again",
      ],
    ],
  },
  OTA_PARTITION_CONFLICT: {
    means: "The slot to write is the running one, or it was selected during the update.",
    cases: [
      [" is running", "`partition` names the running slot", "Leave `partition` out"],
      ["otadata selects slot ", "Another program selected the slot that is being written", "Use one updater only"],
    ],
  },
  OTA_SELECT_INFO_INVALID: {
    means:
      "otadata cannot have another entry, because its sequence number has reached the largest value. Only damage can cause this.",
    cases: [
      [
        "no sequence number above ",
        "otadata is damaged",
        "Erase its two sectors ([rescue.md](rescue.md)). Then the first slot starts",
      ],
    ],
  },
  OTA_VALIDATE_FAILED: {
    means: "The image or the manifest failed its verification. The slot that was written cannot start.",
    cases: [
      [
        "the manifest is not signed by a trusted key",
        "It was signed with another key, was changed, or is not a manifest (an HTML page). With `threshold: 2`: one signature is missing",
        "`npx https-ota verify FILE --key key.pub.jwk` on your computer. Check that `url` names the manifest and not the image",
      ],
      [
        "fs-verity digest ",
        "The image on the server is not the one that was signed",
        "Publish image and manifest together. `retry` is true when parts of two files were mixed",
      ],
      [
        "first byte ",
        "The file is not an app image. 0xff: a dump of the whole flash. 0x65: a manifest, and `keys` are missing",
        "Serve the app's own file (`espruino_esp32.bin`)",
      ],
      [
        "not an app: its first segment is for ",
        "The file is a bootloader, or bootloader, table and app merged into one file",
        "Serve the app's own file",
      ],
      [
        "segment ",
        "The image is incomplete or damaged, or the bootloader would crash when it loads it",
        "`npx https-ota inspect FILE`",
      ],
      [
        "image incomplete: ",
        "`finish()` was called before the last byte",
        "Call `perform()` until it resolves with `ERR.OK`",
      ],
      [
        " is not the one that the manifest names",
        "The server has another file under this name, or a part of the file. The fetched bytes are erased; `retry` is true when parts of two files were mixed",
        "Publish files and manifest together",
      ],
      ["image checksum ", "A byte of the image changed during the transfer (`insecure` only)", "Sign your releases"],
    ],
  },
  OTA_SMALL_SEC_VER: {
    means: "The release is older than the newest one that was confirmed on this device.",
    cases: [
      [
        "manifest has sequence ",
        "Somebody replays an old release, or two computers count sequences differently",
        "Sign again with a higher `--sequence`, or set `allowDowngrade`",
      ],
    ],
  },
  OTA_ROLLBACK_FAILED: {
    means: "No other slot holds a whole image, so `rollback()` cannot go back to one. The running image stays.",
  },
  OTA_ROLLBACK_INVALID_STATE: {
    means: "The running image is on trial, or was rolled back. An update would overwrite the slot to go back to.",
    cases: [
      [
        "the running image is on trial",
        "`boot()` or `confirmAfter()` has not confirmed it yet",
        "Wait for the end of the trial, or call `markValid()`. `allowUnconfirmed` permits the update",
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
    means: "An update, a check or the selection of a slot has not ended, and only one may run at a time.",
    cases: [
      [
        "an update is running, or a slot is being selected",
        "Two timers or two messages have started an update, or a handle was not ended",
        "Wait and call again. `abort()` ends what is running, even when the program has lost its handle",
      ],
    ],
  },
  OTA_SPI_MODE_MISMATCH: {
    means:
      "The image is built for another SPI mode of the flash chip (QIO, DIO) than the running one. The bootloader could not start it.",
    cases: [
      [
        "image for SPI mode ",
        "The numbers are the `spi_flash_mode` of both app descriptors",
        "Use firmware that is built for the mode of the running one",
      ],
    ],
  },
  FLASH_OP_FAIL: {
    means:
      "Flash does not read back as it was written or erased. The ESP32 port of Espruino ignores errors of the flash driver, so the module reads everything back.",
    cases: [
      [
        " is not blank after its erase",
        "Builds for ESP-IDF 5 from before September 2026 cannot erase flash from JavaScript. With other builds the flash is worn or protected",
        "Flash a newer build by USB ([boards.md](boards.md))",
      ],
      [
        " differs from what was written",
        "The flash is worn or its power is bad",
        "Try again. If it happens again, the board is broken",
      ],
      [
        "Storage did not take ",
        "Three attempts to create a file in Storage failed",
        "Erase files and compact Storage on the bench",
      ],
      ["Storage does not hold what is written into file ", "Three attempts to write a boot record failed", "As above"],
    ],
  },
  HTTP_MAX_REDIRECT: {
    means: "The server answered with more redirects than `maxRedirects` (5), usually a loop. Use the final URL.",
  },
  HTTP_CONNECT: {
    means: "No connection to the server, or it was lost before an answer came.",
    cases: [
      ["no network", "Wi-Fi is not connected", "Connect the device to Wi-Fi first"],
      [
        "no answer from ",
        "The host is unknown or refuses the connection, or TLS failed. -15 and -8 with `https:`: the handshake failed, or the port does not speak TLS",
        "Try the URL on a computer in the same network. A server that needs a host name (SNI) refuses builds up to 2v29: use `http:` with `keys`. Builds with an 8 KB TLS buffer fail with records of 16 KB ([boards.md](boards.md))",
      ],
    ],
  },
  HTTP_NOT_MODIFIED: {
    means:
      "The server answered 304 although the module sends no condition. Remove `If-None-Match` and `If-Modified-Since` from `headers`, or the cache between device and server.",
  },
  HTTP_RANGE_NOT_SATISFIABLE: {
    means: "The file became shorter twice during the download. Publish it under a new name, and call again.",
  },
  HTTP_READ_TIMEOUT: {
    means:
      "No byte came for `timeout` ms (20000), and `retries` (5) further attempts made no progress. Call it again: it continues where it stopped.",
  },
  HTTP_INCOMPLETE_DATA: {
    means: "The connection was lost, and `retries` (5) further attempts made no progress.",
    cases: [
      [
        "connection lost",
        "The connection is bad, or the server ends connections early",
        "Call it again: it continues where it stopped. `maxRequestSize: 65536` asks for smaller ranges",
      ],
      [
        "the file began again too often",
        "The update has erased twice as many sectors as the file needs",
        "Use a server with ranges",
      ],
    ],
  },
  HTTP_REDIRECT_DOWNGRADE: {
    means:
      "The server redirects from https to http. Use the http URL directly if that is what you want: with `keys` it is safe.",
  },
};
