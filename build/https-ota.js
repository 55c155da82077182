/* https-ota (MIT): over-the-air firmware update for the ESP32, in Espruino. Built from src/; do not edit. */
// Outcome codes with ESP-IDF's own numbers and names, and the one place where an Error is built.
// Source: docs/design.md#errors. Read in IDF 6.2.0-dev, commit 1021229 of July 2026: esp_err.h, esp_http_client.h,
// esp_ota_ops.h, esp_https_ota.h. OTA_ALREADY_IN_PROGRESS and OTA_SPI_MODE_MISMATCH came with v6.1-beta1.
/**
 * ESP-IDF's numbers by their names without `ESP_` or `ESP_ERR_`; `IN_PROGRESS` is ESP_ERR_HTTPS_OTA_IN_PROGRESS. The
 * table is created at each read, because it takes 85 JsVars.
 * More than 30 lines: a table.
 */
function errorNumbers() {
    return {
        OK: 0 /* Code.OK */,
        FAIL: -1 /* Code.FAIL */,
        NO_MEM: 257 /* Code.NO_MEM */,
        INVALID_ARG: 258 /* Code.INVALID_ARG */,
        INVALID_STATE: 259 /* Code.INVALID_STATE */,
        INVALID_SIZE: 260 /* Code.INVALID_SIZE */,
        NOT_FOUND: 261 /* Code.NOT_FOUND */,
        NOT_SUPPORTED: 262 /* Code.NOT_SUPPORTED */,
        TIMEOUT: 263 /* Code.TIMEOUT */,
        INVALID_RESPONSE: 264 /* Code.INVALID_RESPONSE */,
        INVALID_VERSION: 266 /* Code.INVALID_VERSION */,
        NOT_ALLOWED: 269 /* Code.NOT_ALLOWED */,
        OTA_PARTITION_CONFLICT: 5377 /* Code.OTA_PARTITION_CONFLICT */,
        OTA_SELECT_INFO_INVALID: 5378 /* Code.OTA_SELECT_INFO_INVALID */,
        OTA_VALIDATE_FAILED: 5379 /* Code.OTA_VALIDATE_FAILED */,
        OTA_SMALL_SEC_VER: 5380 /* Code.OTA_SMALL_SEC_VER */,
        OTA_ROLLBACK_FAILED: 5381 /* Code.OTA_ROLLBACK_FAILED */,
        OTA_ROLLBACK_INVALID_STATE: 5382 /* Code.OTA_ROLLBACK_INVALID_STATE */,
        OTA_ALREADY_IN_PROGRESS: 5383 /* Code.OTA_ALREADY_IN_PROGRESS */,
        OTA_SPI_MODE_MISMATCH: 5384 /* Code.OTA_SPI_MODE_MISMATCH */,
        FLASH_OP_FAIL: 24577 /* Code.FLASH_OP_FAIL */,
        HTTP_MAX_REDIRECT: 28673 /* Code.HTTP_MAX_REDIRECT */,
        HTTP_CONNECT: 28674 /* Code.HTTP_CONNECT */,
        HTTP_NOT_MODIFIED: 28681 /* Code.HTTP_NOT_MODIFIED */,
        HTTP_RANGE_NOT_SATISFIABLE: 28682 /* Code.HTTP_RANGE_NOT_SATISFIABLE */,
        HTTP_READ_TIMEOUT: 28683 /* Code.HTTP_READ_TIMEOUT */,
        HTTP_INCOMPLETE_DATA: 28684 /* Code.HTTP_INCOMPLETE_DATA */,
        HTTP_REDIRECT_DOWNGRADE: 28685 /* Code.HTTP_REDIRECT_DOWNGRADE */,
        IN_PROGRESS: 36865 /* Code.IN_PROGRESS */,
    };
}

/**
 * Builds the error for `code` with `message`. Errors are built only here; the caller throws the error or passes it on.
 */
function otaError(code, message, retry) {
    /** The most characters that a message has. */
    var MAX_MESSAGE = 500;
    // the message may quote bytes that a stranger has sent, and a terminal would obey control characters in it
    var printable = "";
    for (var i = 0; i < message.length && i < MAX_MESSAGE; i++) {
        var c = message.charCodeAt(i);
        printable += c < 32 || c > 126 ? "?" : message[i];
    }
    var error = new Error(printable);
    var names = errorNumbers();
    for (var name in names)
        if (names[name] === code)
            error.name = (code < 0 ? "ESP_" : "ESP_ERR_") + name;
    error.code = code;
    error.retry = !!retry;
    return error;
}
/**
 * Turns what was thrown into an OtaError. An OtaError is returned unchanged; anything else becomes ESP_FAIL with its own
 * message.
 */
function toOtaError(thrown) {
    return thrown && thrown.code !== undefined && thrown.retry !== undefined
        ? thrown
        : otaError(-1 /* Code.FAIL */, "" + ((thrown && thrown.message) || thrown));
}
/** A callback that does nothing. */
function noop() { }
/**
 * Runs `body`, and passes what it throws to `reject` as an OtaError. The body of every callback of the engine or of a
 * promise must run in it: the engine only prints what a callback throws.
 */
function tryOr(body, reject) {
    try {
        body();
    }
    catch (thrown) {
        reject(toOtaError(thrown));
    }
}
/** Throws NO_MEM: there was no memory for `what`. */
function noMemory(what) {
    throw otaError(257 /* Code.NO_MEM */, "out of memory: " + what, true);
}

function lazyBytes() {
    // Little-endian numbers and NUL-ended text in a Uint8Array. Every ESP32 flash format is little-endian. Pure.
    function u16(bytes, offset) {
        return bytes[offset] | (bytes[offset + 1] << 8);
    }
    function u32(bytes, offset) {
        return (u16(bytes, offset) | (u16(bytes, offset + 2) << 16)) >>> 0;
    }
    function setU32(bytes, offset, value) {
        for (var i = 0; i < 4; i++)
            bytes[offset + i] = value >>> (8 * i);
    }
    /** Text of at most `length` bytes, which a NUL may end earlier. */
    function zText(bytes, offset, length) {
        var text = "";
        for (var i = offset; i < offset + length && bytes[i]; i++)
            text += String.fromCharCode(bytes[i]);
        return text;
    }
    function hex(value) {
        return "0x" + value.toString(16);
    }
    /** The bytes of a binary string. */
    function bytesOf(text) {
        var bytes = new Uint8Array(text.length);
        // only Espruino accepts a string here; the command on the host does not call this function
        bytes.set(text);
        return bytes;
    }
    /** The digits of "<prefix><64 hexadecimal digits>", in lower case; "" for any other text. */
    function parseDigest(text, prefix) {
        var digits = text.substr(prefix.length).toLowerCase();
        if (text.substr(0, prefix.length) !== prefix || digits.length !== 64)
            return "";
        for (var i = 0; i < 64; i++)
            if ("0123456789abcdef".indexOf(digits[i]) < 0)
                return "";
        return digits;
    }
    // The interpreter's base64 (RFC 4648 4) of binary strings.
    function base64(text) {
        return btoa(text);
    }
    /** The bytes of base64 text as a binary string. The result is not defined for characters outside of the alphabet. */
    function fromBase64(text) {
        return atob(text);
    }
    return { u16_: u16, u32_: u32, setU32_: setU32, zText_: zText, hex_: hex, bytesOf_: bytesOf, parseDigest_: parseDigest, base64_: base64, fromBase64_: fromBase64 };
}







// Flash: read, erase, write, compare. The result of every read is checked: out of memory shows as undefined, and
// undefined equals undefined. Every erase and write is read back, here or by the caller, because the ESP32 port ignores
// flash errors (targets/esp32/jshardware.c; with IDF 5 its erase silently does nothing).
var flash = require("Flash");
/** It is computed because a minifier would turn a literal into the characters themselves, which are not ASCII. */
var BLANK = E.toString(new Uint8Array(16).fill(0xff));
/** `length` bytes of flash at `addr`. */
function read$1(addr, length) {
    var bytes = flash.read(length, addr);
    if (!bytes || bytes.length !== length)
        return noMemory("flash read of " + length + " at " + lazyBytes().hex_(addr));
    return bytes;
}
/** `bytes` as a binary string. A string is returned unchanged; the string of a whole typed array shares its memory. */
function binary(bytes) {
    var text = E.toString(bytes);
    if (typeof text !== "string" || text.length !== bytes.length)
        return noMemory("string of " + bytes.length);
    return text;
}
/** As read(), but a binary string. One function and not binary(read()), because each call takes time. */
function readText(addr, length) {
    var bytes = flash.read(length, addr);
    var text = bytes && E.toString(bytes);
    return typeof text === "string" ? text : noMemory("flash read of " + length + " at " + lazyBytes().hex_(addr));
}
/** Is `bytes`, a binary string, what flash holds at `addr`? */
function holds(addr, bytes) {
    return readText(addr, bytes.length) === bytes;
}



// Timers and the clock of the interpreter, and the watchdog of the lock (boot/lock.ts). When no JsVar is left, the
// interpreter aborts the running callback, and nothing throws. The watchdog detects this: no timer is left that could
// continue the work.
/** ms until the last timer of an update is due; negative when it is overdue. */
var graceMs = 0;
/** ms since 1970 at the last call of watchdogExpired(); 0: not called since the reset */
var lastSampleMs = 0;
/** Calls `callback` once, in `ms`. `unwatched`: the watchdog ignores this timer, because no update waits for it. */
function after(ms, callback, unwatched) {
    var timer = setTimeout(callback, ms);
    if (timer === undefined)
        return noMemory("timer");
    if (!unwatched && ms > graceMs)
        graceMs = ms;
    return timer;
}





/** Ends a timer or an interval. */
var cancel = clearTimeout;

function lazyEngine() {
    // What the module uses of the interpreter, besides flash, chip, http, crypto and timers: Storage, memory, and state
    // that outlives an instance of this module. The result of every native call is checked: when memory runs out it is
    // undefined.
    /** Free JsVars. */
    function freeVars() {
        return process.memory().free;
    }
    /**
     * Makes the engine print `thrown`, an error of a callback of the user, as it prints any uncaught error. The error must
     * not end the update, and must not be lost.
     */
    function printLater(thrown) {
        tryOr(function () {
            after(0, function () {
                throw thrown;
            }, true);
        }, noop);
    }
    /** Calls a callback of the user. An error that it throws must not end the running update: the engine prints it. */
    function callUser(callback) {
        try {
            callback();
        }
        catch (thrown) {
            printLater(thrown);
        }
    }
    /** Espruino's name of the board. */
    function boardName() {
        return process.env.BOARD;
    }
    /** ms since 1970, by a clock that starts near 1970 and is wrong until the program sets it. */
    function now() {
        return Date.now();
    }
    /** The serial number, which no other device has: on an ESP32 the MAC address. */
    function serialNumber() {
        return getSerial();
    }
    /**
     * A number from 0 to below 1. It differs from device to device and from `round` to `round`. Math.random() cannot give
     * it: its seed is a constant (src/jsutils.c), so its numbers are the same after every start on every board. Without the
     * factor two devices with close numbers in one round would have close numbers in every round: the checksums of two serial
     * numbers would differ by the same bits each time.
     */
    function spread(round) {
        return ((E.CRC32(serialNumber()) * (1 + 40503 * round)) / 4294967296) % 1;
    }
    /** A file of Espruino's Storage, undefined when it does not exist. */
    function readFile(name) {
        return require("Storage").read(name);
    }
    /** `length` bytes of a file from `offset` on, fewer at its end; "" when it does not exist. */
    function readPart(name, offset, length) {
        return require("Storage").read(name, offset, length) || "";
    }
    /** Names of all files. */
    function listFiles() {
        return require("Storage").list() || noMemory("Storage.list");
    }
    /**
     * Writes `data` at `offset` of a file of Storage. At offset 0 the file is created with `size` bytes. Throws the
     * engine's errors.
     */
    function writeFile(name, data, offset, size) {
        require("Storage").write(name, data, offset, size);
    }
    function eraseFile(name) {
        require("Storage").erase(name);
    }
    function compact() {
        require("Storage").compact();
    }
    /** Use of Storage, in bytes. */
    function storageStats() {
        var stats = require("Storage").getStats();
        return stats || noMemory("Storage.getStats");
    }
    /**
     * The set of files that the loader has started; "" when it has started none, undefined when no loader has run since the
     * start.
     */
    function runningSet() {
        return E.otaSet;
    }
    function startState() {
        return E.otaStart || 0;
    }
    function setStartState(state) {
        E.otaStart = state;
    }
    /**
     * Has a slot been selected since the device started? This is kept in an object of the engine, where every instance of
     * this module finds it.
     */
    function isRestartPending() {
        return !!E.otaRestartPending;
    }
    /**
     * The lock (boot/lock.ts) while it is held, null otherwise. It is kept in an object of the engine too: a second instance
     * of this module (after Modules.removeCached, or sent again by the Web IDE) must not write a slot that the first one is
     * writing.
     */
    function heldLock() {
        return E.otaLock || null;
    }
    function setHeldLock(lock) {
        E.otaLock = lock;
    }
    /** Adds or removes a listener that is called before save(), load() and reset() end the program. */
    function listenForKill(listener, add) {
        if (add)
            E.on("kill", listener);
        else
            E.removeListener("kill", listener);
    }
    /** Notes that a slot was selected. `rolledBack`: because the running image was rolled back. */
    function setRestartPending(rolledBack) {
        E.otaRestartPending = rolledBack ? 2 /* Pending.ROLLED_BACK */ : 1 /* Pending.SELECTED */;
    }
    /** Was the running image rolled back, and has the device not restarted since? */
    function isRolledBack() {
        return E.otaRestartPending === 2 /* Pending.ROLLED_BACK */;
    }
    /** Espruino's version, such as "2v27.45". */
    function firmwareVersion() {
        return process.env.VERSION;
    }
    return { freeVars_: freeVars, printLater_: printLater, callUser_: callUser, boardName_: boardName, now_: now, serialNumber_: serialNumber, spread_: spread, readFile_: readFile, readPart_: readPart, listFiles_: listFiles, writeFile_: writeFile, eraseFile_: eraseFile, compact_: compact, storageStats_: storageStats, runningSet_: runningSet, startState_: startState, setStartState_: setStartState, isRestartPending_: isRestartPending, heldLock_: heldLock, setHeldLock_: setHeldLock, listenForKill_: listenForKill, setRestartPending_: setRestartPending, isRolledBack_: isRolledBack, firmwareVersion_: firmwareVersion };
}































function lazyImage() {
    /** RAM that every bootloader of IDF 3.1 to 5.5 can load: pairs of the first address and the first one behind the range. */
    function loadableRam(chipId) {
        // IDF soc.h of each chip, without what its bootloader occupies while it loads: stack, data, loader code
        // (bootloader.ld, process_segment in esp_image_format.c), and on the ESP32 without the ROM's data below 0x3ffb0000
        // (memory_layout.c)
        if (!chipId)
            return [
                // of SOC_DRAM, SOC_IRAM, SOC_RTC_IRAM, SOC_RTC_DRAM, SOC_RTC_DATA
                0x3ffb0000, 0x3ffdb000, 0x40080000, 0x400a0000, 0x400c0000, 0x400c2000, 0x3ff80000, 0x3ff82000, 0x50000000,
                0x50002000,
            ];
        // of SOC_DIRAM_DRAM, SOC_DIRAM_IRAM, SOC_RTC_DATA
        if (chipId === 5 /* Esp32c3.ESP_CHIP_ID */)
            return [0x3fc80000, 0x3fcce710, 0x40380000, 0x403ce710, 0x50000000, 0x50002000];
        // of SOC_DRAM, SOC_IRAM, SOC_RTC_DRAM, SOC_RTC_DATA
        return [0x3fc88000, 0x3fcca000, 0x40374000, 0x403ba000, 0x600fe000, 0x60100000, 0x50000000, 0x50002000];
    }
    /** Is a segment for `addr` mapped from flash, and not loaded into RAM? All of these chips have MMU pages of 64 KB. */
    function isMapped(chipId, addr) {
        var page = addr >>> 16;
        if (!chipId)
            return ((page >= 1061158912 /* Esp32.SOC_DROM_LOW */ >>> 16 && page < 1065353216 /* Esp32.SOC_DROM_HIGH */ >>> 16) ||
                (page >= 1074593792 /* Esp32.SOC_IROM_LOW */ >>> 16 && page < 1077936128 /* Esp32.SOC_IROM_HIGH */ >>> 16));
        var pages = chipId === 9 /* Esp32s3.ESP_CHIP_ID */ ? 512 /* Esp32s3.SOC_MMU_ENTRY_NUM */ : 128 /* Esp32c3.SOC_MMU_ENTRY_NUM */;
        return ((page >= 1006632960 /* Esp32c3.SOC_DROM_LOW */ >>> 16 && page < (1006632960 /* Esp32c3.SOC_DROM_LOW */ >>> 16) + pages) ||
            (page >= 1107296256 /* Esp32c3.SOC_IROM_LOW */ >>> 16 && page < (1107296256 /* Esp32c3.SOC_IROM_LOW */ >>> 16) + pages));
    }
    /**
     * Can a bootloader load, map or skip a segment at `addr`? It skips segments below 0x10000000 (should_load). At other
     * addresses it refuses the image or crashes, at every start and without a fallback. Bootloaders of IDF 3 and 4.0 crash at
     * addresses without RAM. All of them crash at an odd address in instruction RAM, which takes only whole words (IDF
     * memory-types.rst).
     */
    function isLoadable(chipId, addr, length) {
        if (addr < 0x10000000 || isMapped(chipId, addr))
            return true;
        var ram = loadableRam(chipId);
        // before IDF 4.3.2 a segment must end below the end of its RAM
        for (var i = 0; i < ram.length; i += 2)
            if (addr >= ram[i] && addr + length < ram[i + 1])
                return addr % 4 === 0;
        return false;
    }
    // An ESP firmware image: header, segments, app descriptor, tail. Pure: it works on bytes that the caller has read.
    // Source: docs/formats.md#image (IDF esp_app_format.h, esp_image_format.c, esp_app_desc.h).
    // esp_app_desc.h. Not an enum: it is used twice, and a variable is shorter than the number
    var ESP_APP_DESC_MAGIC_WORD = 0xabcd5432;
    // mmu.h of the ESP32; the C3 and the S3 have pages of this size too
    var SPI_FLASH_MMU_PAGE_SIZE = 0x10000;
    /**
     * The header and the first segment's, or null when the first byte is not the magic number of an image.
     *
     *     esp_image_header_t                         esp_image_segment_header_t, 24 bytes behind its start
     *      0  uint8_t  magic                          24  uint32_t load_addr
     *      1  uint8_t  segment_count                  28  uint32_t data_len
     *      2  uint8_t  spi_mode
     *      3  uint8_t  spi_speed : 4, spi_size : 4
     *      4  uint32_t entry_addr
     *      8  uint8_t  wp_pin, spi_pin_drv[3]
     *     12  uint16_t chip_id
     *     14  uint8_t  min_chip_rev
     *     15  uint16_t min_chip_rev_full
     *     17  uint16_t max_chip_rev_full
     *     19  uint8_t  reserved[4]
     *     23  uint8_t  hash_appended
     */
    function parseHeader$1(head) {
        if (head[0] !== 233 /* Esp.IMAGE_HEADER_MAGIC */)
            return null;
        return {
            segments_: head[1],
            chipId_: lazyBytes().u16_(head, 12),
            minMajor_: head[14],
            minRevision_: lazyBytes().u16_(head, 15),
            maxRevision_: lazyBytes().u16_(head, 17),
            hashAppended_: head[23] !== 0,
            loadAddr_: lazyBytes().u32_(head, 24 /* Size.HEADER */),
            length_: lazyBytes().u32_(head, 24 /* Size.HEADER */ + 4),
        };
    }
    /**
     * The app descriptor in the first 288 bytes of an image; null for an image without one (IDF 3.2 and older).
     *
     *     esp_app_desc_t, 32 bytes behind the image's start
     *      32  uint32_t magic_word                    176  uint8_t  app_elf_sha256[32]
     *      36  uint32_t secure_version                208  uint16_t min_efuse_blk_rev_full
     *      40  uint32_t reserv1[2]                    210  uint16_t max_efuse_blk_rev_full
     *      48  char     version[32]                   212  uint8_t  mmu_page_size
     *      80  char     project_name[32]              213  uint8_t  spi_flash_mode (after v6.0.2)
     *     112  char     time[16], date[16]
     *     144  char     idf_ver[32]
     */
    function parseDesc(head) {
        if (head.length < 288 /* Size.DESC_END */ || lazyBytes().u32_(head, 32 /* Size.FIRST_SEGMENT */) !== ESP_APP_DESC_MAGIC_WORD)
            return null;
        var sha = "";
        for (var i = 176; i < 208; i++)
            sha += (256 + head[i]).toString(16).substr(1);
        return {
            secureVersion: lazyBytes().u32_(head, 36),
            version: lazyBytes().zText_(head, 48, 32),
            projectName: lazyBytes().zText_(head, 80, 32),
            time: lazyBytes().zText_(head, 112, 16),
            date: lazyBytes().zText_(head, 128, 16),
            idfVer: lazyBytes().zText_(head, 144, 32),
            appElfSha256: sha,
        };
    }
    /** The descriptor's spi_flash_mode, 0 when it is unknown or the image has no descriptor. */
    function spiModeOf(head) {
        return lazyBytes().u32_(head, 32 /* Size.FIRST_SEGMENT */) === ESP_APP_DESC_MAGIC_WORD ? head[213] : 0;
    }
    /** Can the image of `header` run on `chipId`? Its first segment must be mapped as data. */
    function isRunnable(header, chipId) {
        return !!header && header.chipId_ === chipId && header.loadAddr_ < 0x40000000 && isMapped(chipId, header.loadAddr_);
    }
    function refuse$3(fact) {
        throw otaError(5379 /* Code.OTA_VALIDATE_FAILED */, fact);
    }
    function checkSegment(chipId, loadAddr, length, offset, limit) {
        if (length % 4 || length > limit - offset)
            refuse$3("segment of " + length + " bytes at offset " + offset + " of " + limit);
        // slots begin on a 64 KB page, so the offset in the slot can be used instead of the address in flash
        if (isMapped(chipId, loadAddr) && (loadAddr - offset) % SPI_FLASH_MMU_PAGE_SIZE)
            refuse$3("segment at offset " + offset + " can't be mapped at " + lazyBytes().hex_(loadAddr));
        if (!isLoadable(chipId, loadAddr, length))
            refuse$3("segment at offset " +
                offset +
                " would be loaded at " +
                lazyBytes().hex_(loadAddr) +
                "+" +
                lazyBytes().hex_(length) +
                ", which no app can use");
    }
    /** The first segment of an app is mapped as data. That of a bootloader is loaded into RAM. */
    function checkFirst(chipId, header) {
        if (!isRunnable(header, chipId))
            refuse$3("not an app: its first segment is for " +
                lazyBytes().hex_(header.loadAddr_) +
                ": is it a bootloader, or a merged image? Expected the app's own file");
    }
    /**
     * Checks the first Size.DESC_END bytes of an image against this device, before anything is erased. `chipId` is that of
     * the running image, and `running` its first bytes. `revision` is that of the chip, -1 where it cannot be read. `limit`:
     * the most bytes that the image can have. `tell` is called with what the image requires, before it is checked.
     * Throws OTA_VALIDATE_FAILED, INVALID_VERSION or OTA_SPI_MODE_MISMATCH.
     * More than 30 lines: one check after the other, in the order of the header.
     */
    function checkHead(head, chipId, revision, running, limit, tell) {
        var header = parseHeader$1(head);
        if (!header)
            return refuse$3("first byte " +
                lazyBytes().hex_(head[0]) +
                ", an app image begins with " +
                lazyBytes().hex_(233 /* Esp.IMAGE_HEADER_MAGIC */) +
                (head[0] === 0xff ? " (is it an image of the whole flash?)" : ""));
        tell("VERIFY_CHIP_ID", header.chipId_);
        tell("VERIFY_CHIP_REVISION", header.minRevision_);
        if (header.chipId_ !== chipId)
            throw otaError(266 /* Code.INVALID_VERSION */, "image for chip id " + header.chipId_ + ", this is chip id " + chipId);
        if (revision >= 0 &&
            (header.minRevision_ > revision ||
                (header.maxRevision_ && header.maxRevision_ !== 0xffff && header.maxRevision_ < revision)))
            throw otaError(266 /* Code.INVALID_VERSION */, "image for chip revisions " + header.minRevision_ + " to " + header.maxRevision_ + ", this is " + revision);
        if (revision >= 0 && header.minMajor_ > Math.floor(revision / 100))
            throw otaError(266 /* Code.INVALID_VERSION */, "image for chip revision " +
                header.minMajor_ +
                " and later (min_chip_rev), this is " +
                Math.floor(revision / 100));
        if (!header.segments_ || header.segments_ > 16 /* Esp.IMAGE_MAX_SEGMENTS */)
            refuse$3(header.segments_ + " segments, expected 1 to 16");
        checkFirst(chipId, header);
        checkSegment(chipId, header.loadAddr_, header.length_, 32 /* Size.FIRST_SEGMENT */, limit);
        var mode = spiModeOf(head);
        var spiMode = spiModeOf(running);
        if (mode && spiMode && mode !== spiMode)
            throw otaError(5384 /* Code.OTA_SPI_MODE_MISMATCH */, "image for SPI mode " + mode + ", this device runs " + spiMode);
    }
    /** esp_image_segment_header_t: uint32_t load_addr, uint32_t data_len. */
    function parseSegment(bytes) {
        return { loadAddr_: lazyBytes().u32_(bytes, 0), length_: lazyBytes().u32_(bytes, 4) };
    }
    /**
     * Walks the segments of an image for `chipId` in a file of `size` bytes and returns its own length, which is less than
     * `size` where a signature sector or padding follows. `read(offset, length)` gives its bytes. `onData(offset, length)`,
     * if given, is called for each segment's data. Throws OTA_VALIDATE_FAILED.
     */
    function walkSegments(chipId, size, read, onData) {
        var header = parseHeader$1(read(0, 32 /* Size.FIRST_SEGMENT */));
        if (!header)
            return refuse$3("the slot holds no image");
        if (header.chipId_ !== chipId)
            refuse$3("image for chip id " + header.chipId_ + ", this is chip id " + chipId);
        if (!header.segments_ || header.segments_ > 16 /* Esp.IMAGE_MAX_SEGMENTS */)
            refuse$3(header.segments_ + " segments, expected 1 to 16");
        checkFirst(chipId, header);
        var offset = 24 /* Size.HEADER */;
        for (var i = 0; i < header.segments_; i++) {
            if (offset + 8 /* Size.SEGMENT_HEADER */ > size)
                refuse$3("segment " + i + " begins at " + offset + " of " + size);
            var segment = parseSegment(read(offset, 8 /* Size.SEGMENT_HEADER */));
            offset += 8 /* Size.SEGMENT_HEADER */;
            checkSegment(header.chipId_, segment.loadAddr_, segment.length_, offset, size);
            if (onData)
                onData(offset, segment.length_);
            offset += segment.length_;
        }
        // the checksum is the last byte of the last line of 16 bytes
        var end = (offset + 16) & -16;
        var length = header.hashAppended_ ? end + 32 /* Esp.IMAGE_HASH_LEN */ : end;
        if (length > size)
            refuse$3("image of " + length + " bytes, found " + size);
        return length;
    }
    /** Offset of the checksum byte of an image of `length` bytes whose header is `head`. */
    function checksumOffset(head, length) {
        return length - 1 - (head[23] ? 32 /* Esp.IMAGE_HASH_LEN */ : 0);
    }
    return { parseHeader_: parseHeader$1, parseDesc_: parseDesc, isRunnable_: isRunnable, checkHead_: checkHead, walkSegments_: walkSegments, checksumOffset_: checksumOffset };
}

















function lazyRecords() {
    // Creates a file of Storage in a way that neither a loss of power nor a full Storage can destroy another file.
    // Hazards (src/jsflash.c, docs/espruino.md#compaction-can-lose-every-file):
    // - If the room behind the last file is too small, the engine compacts, and a loss of power during a compaction can erase
    //   all of Storage. So a file is created only where there is room for it.
    // - A loss of power can tear the header of a new file. The engine writes the next header on top of it, which makes that one
    //   wrong too, and reports success. So a file is created blank and looked up; if it is not found, it is created again.
    // - The engine removes a file of the same name before the new one is there. So a new version of a file has another name.
    var REMEDY = ": erase files and compact Storage while the power is safe";
    /** Bytes of Storage that a file of `size` bytes takes. */
    function roomOf(size) {
        return size + (-size & 3) + 32 /* RecordFile.FILE_HEADER */;
    }
    /** Throws NO_MEM unless Storage has `needed` bytes behind its last file, for `what`. */
    function checkRoom(needed, what) {
        var stats = lazyEngine().storageStats_();
        var free = stats.freeBytes;
        if (free < needed)
            throw otaError(257 /* Code.NO_MEM */, "Storage has " +
                free +
                " bytes free and " +
                stats.trashBytes +
                " of erased files, " +
                what +
                " needs " +
                needed +
                REMEDY);
    }
    /**
     * Creates the blank file `name` of `size` bytes; an older one is erased. Throws NO_MEM without room, FLASH_OP_FAIL if it
     * does not exist after three attempts.
     */
    function createFile(name, size, what) {
    var lazyEngineOnce = lazyEngine();
        for (var tries = 3; tries--;) {
            checkRoom(roomOf(size), what);
            lazyEngineOnce.eraseFile_(name);
            tryOr(function () {
                lazyEngine().writeFile_(name, String.fromCharCode(255), 0, size);
            }, noop);
            if (lazyEngineOnce.readPart_(name, size - 1, 1).length)
                return;
        }
        throw otaError(24577 /* Code.FLASH_OP_FAIL */, "Storage did not take " + what + ", file " + name + REMEDY);
    }
    // The set of files of a release, as Storage keeps it: docs/formats.md#set-of-files. Pure.
    // Each file is stored under a name that is computed from its content, and so is the list of the files. A file with such a
    // name is never changed.
    /** The first Name.DIGITS characters of `base64`, with the alphabet of base64url (RFC 4648 5). */
    function urlSafe(base64) {
        var text = "";
        for (var i = 0; i < 20 /* Name.DIGITS */; i++) {
            var at = "+/".indexOf(base64[i]);
            text += at < 0 ? base64[i] : "-_"[at];
        }
        return text;
    }
    /** The name in Storage of a file whose SHA-256 is this, in base64. */
    function storedName(base64) {
        return "~" /* Name.MARK */ + urlSafe(base64);
    }
    /** Is `name` one that storedName() can return? Files with other names are never touched. */
    function isStoredName(name) {
        var alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        var ok = name.length === 20 /* Name.DIGITS */ + 1 && name[0] === "~" /* Name.MARK */;
        for (var i = 1; i < name.length; i++)
            if (alphabet.indexOf(name[i]) < 0)
                ok = false;
        return ok;
    }
    /** The SHA-256 of this text is the id of a release: manifests that install the same image and files have the same id. */
    function releaseText(image, entry, files) {
        var text = (image ? image.fsverity.toLowerCase() : "") + "\n" + entry;
        for (var i = 0; i < files.length; i++)
            text += "\n" + files[i].sha256.toLowerCase() + " " + files[i].name;
        return text;
    }
    /** The list of the set as it is stored, JSON. */
    function setText(set) {
        return JSON.stringify([set.id, set.version, set.entry, set.files.map(function (file) { return [file.name, file.size, file.stored]; })]);
    }
    /** Parses a text of setText(). */
    function parseSet(text) {
        var fields = JSON.parse(text);
        return {
            id: fields[0],
            version: fields[1],
            entry: fields[2],
            files: fields[3].map(function (file) { return ({ name: file[0], size: file[1], stored: file[2] }); }),
        };
    }
    // A file of records that are appended and never changed: docs/formats.md, "Boot record". Pure: it works on the text of
    // the file. A record is a whole number of units. Its first character is this number. Then come the CRC-32 of the rest as
    // eight hexadecimal digits, and JSON padded with blanks. A record of "+" alone counts one more start since the record
    // before. If a loss of power has torn a record, its CRC is wrong: it is skipped, and the next one is written behind it.
    function crcDigits(text) {
        return ("0000000" + E.CRC32(text).toString(16)).substr(-8);
    }
    /** The record with this text. */
    function sealRecord(text) {
        var units = Math.ceil((9 /* RecordFile.HEAD */ + text.length) / 64 /* RecordFile.UNIT */);
        var padded = text;
        while (padded.length < units * 64 /* RecordFile.UNIT */ - 9 /* RecordFile.HEAD */)
            padded += " ";
        return String.fromCharCode(units) + crcDigits(padded) + padded;
    }
    /** Reads `file`, which may be "", from its beginning to its end. */
    function readRecords(file) {
        var found = { fields_: null, ticks_: 0, end_: 0 };
        var blank = String.fromCharCode(255); // the Web IDE's minifier turns an escape into a character that is not ASCII
        while (blank.length < 64 /* RecordFile.UNIT */)
            blank += blank;
        var offset = 0;
        while (offset < file.length) {
            var length = file.charCodeAt(offset) * 64 /* RecordFile.UNIT */;
            var text = file.substr(offset + 9 /* RecordFile.HEAD */, length ? length - 9 /* RecordFile.HEAD */ : 0);
            if (length && offset + length <= file.length && crcDigits(text) === file.substr(offset + 1, 8)) {
                if (text[0] === "+")
                    found.ticks_++;
                else {
                    found.fields_ = JSON.parse(text);
                    found.ticks_ = 0;
                }
                offset += length;
                found.end_ = offset;
            }
            else {
                // torn, or not written
                if (file.substr(offset, 64 /* RecordFile.UNIT */) !== blank)
                    found.end_ = offset + 64 /* RecordFile.UNIT */;
                offset += 64 /* RecordFile.UNIT */;
            }
        }
        return found;
    }
    // What must survive a restart, besides otadata: docs/formats.md, "Boot record". Records are appended to a Storage file;
    // when it is full, the next record goes into a second file. The last whole record counts. Its file stays until the next
    // record is whole in the other file, so it survives a loss of power and a full Storage. A file is created with its full
    // size: storage-file.ts.
    /** The files are NAME0 and NAME1. A file NAME has an older form: it is read once, and replaced. */
    var NAME = ".https-ota";
    /** Fills `record` from the file of the older form. Invalid fields count as absent. */
    function takeOver(record) {
        var old = {};
        tryOr(function () {
            var parsed = JSON.parse(lazyEngine().readFile_(NAME) || "");
            // own fields only: the engine's JSON.parse turns "__proto__" into the prototype
            Object.keys(parsed).forEach(function (name) {
                old[name] = parsed[name];
            });
        }, noop);
        var names = ["sequence", "slot", "previous", "boots", "next", "aborted"];
        for (var i = 0; i < names.length; i++) {
            var field = names[i] === "aborted" ? "refused" : names[i];
            var value = old[names[i]];
            var count = value >= -2 /* Boots.CONFIRMED */ && value <= 9007199254740991 /* Whole.MAX */ && Math.floor(value) === value;
            if (typeof value === typeof record[field] && (count || typeof value === "string"))
                record[field] = value;
        }
        if (record.slot && typeof old.digest === "string")
            record.images.push({ label: record.slot, size: 0, digest: old.digest, tail: 0, version: "" });
        if (typeof old.badDigest === "string" && old.badDigest)
            record.bad.push(old.badDigest);
    }
    /** Fills `record` from file NAME + `file`, if the last whole record there is newer. */
    function takeNewer(record, file) {
        var found = readRecords(lazyEngine().readFile_(NAME + file) || "");
        var fields = found.fields_;
        if (!fields || fields[0] <= record.serial_)
            return;
        record.serial_ = fields[0];
        record.sequence = fields[1];
        record.slot = fields[2];
        record.previous = fields[3];
        record.boots = fields[4] + found.ticks_;
        record.next = fields[5];
        record.refused = fields[7];
        record.images = fields[8].map(function (image) { return ({
            label: image[0],
            size: image[1],
            digest: image[2],
            tail: image[3],
            version: image[4],
        }); });
        record.bad = fields[9];
        record.project = fields[10] || "";
        record.reason = fields[11] || "";
        record.given = fields[13] || "";
        record.sets = (fields[12] || []).map(function (one) { return ({ label: one[0], set: one[1], before: one[2] }); });
        record.file_ = file;
        record.end_ = found.end_;
    }
    function loadRecord() {
        var record = {
            sequence: 0,
            slot: "",
            previous: "",
            boots: 0,
            next: 0,
            project: "",
            refused: 0,
            images: [],
            bad: [],
            reason: "",
            sets: [],
            given: "",
            serial_: 0,
            file_: -1,
            end_: 0,
        };
        takeNewer(record, 0);
        takeNewer(record, 1);
        if (record.file_ < 0)
            takeOver(record);
        return record;
    }
    /** Appends `sealed` to the file of `record`; false if the file does not have it afterwards. */
    function append(record, sealed) {
        tryOr(function () {
            // at offset 0 the engine creates the file again, unless it has this size and is blank there
            lazyEngine().writeFile_(NAME + record.file_, sealed, record.end_, record.end_ ? 0 : 4096 /* RecordFile.SIZE */);
        }, noop);
        return (lazyEngine().readFile_(NAME + record.file_) || "").substr(record.end_, sealed.length) === sealed;
    }
    /** Creates file NAME + `file` and writes `sealed` into it. The file with the last record stays. Throws as createFile(). */
    function create(record, file, sealed) {
        for (var tries = 3; tries--;) {
            createFile(NAME + file, 4096 /* RecordFile.SIZE */, "the boot record");
            record.file_ = file;
            record.end_ = 0;
            if (append(record, sealed))
                return;
        }
        throw otaError(24577 /* Code.FLASH_OP_FAIL */, "Storage does not hold what is written into file " + NAME + file);
    }
    function seal(record) {
        return sealRecord(JSON.stringify([
            record.serial_ + 1,
            record.sequence,
            record.slot,
            record.previous,
            record.boots,
            record.next,
            0, // not used
            record.refused,
            record.images.map(function (image) { return [image.label, image.size, image.digest, image.tail, image.version]; }),
            record.bad,
            record.project,
            record.reason,
            record.sets.map(function (one) { return (one.before === undefined ? [one.label, one.set] : [one.label, one.set, one.before]); }),
            record.given,
        ]));
    }
    /** The most bytes that `count` more records and the starts of a trial can take. */
    function roomFor(sealed, count) {
        return count * (sealed.length + 4 * 64 /* RecordFile.UNIT */) + 8 /* Trial.STARTS */ * 64 /* RecordFile.UNIT */;
    }
    /**
     * Saves `record`. `spare`: the file must have room for this many more records, and for the starts of a trial.
     * Throws when Storage is full; then the last record still counts.
     */
    function saveRecord(record, spare) {
        var sealed = seal(record);
        var before = record.file_;
        var end = record.end_ + sealed.length + (spare ? roomFor(sealed, spare) : 0);
        if (before < 0 || end > 4096 /* RecordFile.SIZE */ || !append(record, sealed))
            create(record, before ? 0 : 1, sealed);
        if (before < 0)
            lazyEngine().eraseFile_(NAME);
    }
    /** Counts one more start of the image on trial. Throws like saveRecord. */
    function countStart(record) {
        if (record.boots === -3 /* Boots.REFUSED */) {
            // the image does run: a reset of JavaScript alone had looked as if the bootloader had refused it
            record.boots = 1;
            record.refused--;
            return saveRecord(record);
        }
        var tick = sealRecord("+");
        record.boots++;
        if (record.file_ < 0 || record.end_ + tick.length > 4096 /* RecordFile.SIZE */ || !append(record, tick))
            saveRecord(record);
    }
    /** CRC-32 of the end of the image in `slot`; 0 if the image is not whole. */
    function tailOf(slot) {
        var crc = 0;
        tryOr(function () {
            var chip = lazyBytes().u16_(read$1(slot.address, 24 /* Size.HEADER */), 12);
            var length = lazyImage().walkSegments_(chip, slot.size, function (offset, bytes) { return read$1(slot.address + offset, bytes); });
            crc = E.CRC32(binary(read$1(slot.address + length - 64 /* Tail.LENGTH */, 64 /* Tail.LENGTH */)));
        }, noop);
        return crc;
    }
    function findImage(record, label) {
        for (var i = 0; i < record.images.length; i++)
            if (record.images[i].label === label)
                return record.images[i];
        return null;
    }
    /** Notes the image in `slot`, as the first of the list. */
    function noteImage(record, slot, size, digest, version) {
        var image = {
            label: slot.label,
            size: size,
            digest: digest,
            tail: tailOf(slot),
            version: version.substr(0, 32 /* Length.NAME */),
        };
        record.images = [image].concat(record.images.filter(function (one) { return one.label !== slot.label; }));
        while (record.images.length > 3 /* Kept.IMAGES */)
            record.images.pop();
    }
    /** The recorded image in `slot`; null without a record, or when flash has changed since. */
    function knownImage(slot) {
        var record = loadRecord();
        var image = findImage(record, slot.label);
        return image && image.size && tailOf(slot) === image.tail ? image : null;
    }
    /** The set that runs with the slot called `label`; null before the first release with files. */
    function bindingOf(record, label) {
        for (var i = 0; i < record.sets.length; i++)
            if (record.sets[i].label === label)
                return record.sets[i];
        var first = record.sets[0];
        // a set that is on trial in another slot does not run with this slot
        return first ? { label: label, set: first.before === undefined ? first.set : first.before } : null;
    }
    /** Binds `set` to the slot called `label`, as the first of the list. */
    function bind(record, label, set, before) {
        var binding = { label: label, set: set, before: before };
        record.sets = [binding].concat(record.sets.filter(function (one) { return one.label !== label; }));
        while (record.sets.length > 3 /* Kept.IMAGES */)
            record.sets.pop();
    }
    /** Did the last update bring files without an image, and are they neither confirmed nor rolled back? */
    function isFilesAlone(record, label) {
        var binding = bindingOf(record, label);
        return record.slot === label && record.previous === label && !!binding && binding.before !== undefined;
    }
    /**
     * Does `slot` hold the image that the last update selected? An image that was flashed by USB since does not count. After an
     * update of files alone: do these files run? Until the restart the program of the set before runs.
     */
    function isSelected(record, slot) {
        if (isFilesAlone(record, slot.label))
            return lazyEngine().runningSet_() === bindingOf(record, slot.label).set;
        var image = findImage(record, slot.label);
        return record.slot === slot.label && (!image || !image.size || tailOf(slot) === image.tail);
    }
    /** Are files without an image on trial, and do they run? Then a rollback is one record. */
    function isFilesTrial(record, running) {
        return isFilesAlone(record, running.label) && isSelected(record, running);
    }
    /** Records the digest of the running image, which was hashed, if Storage has room. */
    function recordHashed(slot, size, digest) {
        tryOr(function () {
            var record = loadRecord();
            noteImage(record, slot, size, digest, "");
            saveRecord(record);
        }, noop);
    }
    /**
     * The lowest sequence that may be installed while the slot `running` runs: the larger one of the confirmed image's and the
     * running image's.
     */
    function lowestSequence(record, running) {
        return isSelected(record, running) ? Math.max(record.sequence, record.next) : record.sequence;
    }
    /**
     * Throws NOT_ALLOWED if the image or the release of `plan` counts as bad on this device: an image by its digest, also in a
     * release with files; the release by its name (Bad).
     */
    function checkNotRolledBack(plan) {
        var bad = loadRecord().bad;
        var release = bad.indexOf(plan.bad_) >= 0;
        if (!plan.allowRolledBack_ && (release || bad.indexOf(plan.digest_) >= 0))
            throw otaError(269 /* Code.NOT_ALLOWED */, (release ? "this release was" : "this image was") +
                " rolled back on this device before, or its bootloader refused it; allowRolledBack installs it");
    }
    /**
     * Throws while boot() or confirmAfter() has the image in the slot `running` on trial: an update would overwrite the slot to
     * fall back to.
     */
    function checkNotOnTrial(running) {
        var record = loadRecord();
        if (record.boots > 0 && isSelected(record, running))
            throw otaError(5382 /* Code.OTA_ROLLBACK_INVALID_STATE */, "the running image is on trial: call markValid() first, or set allowUnconfirmed");
    }
    /** To be called before a slot is written: reserves room in Storage for all records of a trial; throws without room. */
    function reserveRecords() {
        var record = loadRecord();
        // updates that fail one after the other write one record only: the next one finds this room
        if (record.file_ < 0 || record.end_ + roomFor(seal(record), 2) > 4096 /* RecordFile.SIZE */)
            saveRecord(record, 2);
    }
    /**
     * To be called before `slot` is selected while `running` runs: records the trial. `size`: bytes of the image file. `set_`:
     * the set of files that comes with it, "" to keep the set that runs now. If `slot` is the running one, the release has files
     * alone, and this record is the commit point.
     * More than 30 lines: one field of the record after the other.
     */
    function recordSelected(slot, running, size, image) {
        var record = loadRecord();
        var files = slot.address === running.address;
        var before = findImage(record, slot.label);
        var bound = bindingOf(record, running.label);
        // a running image that installs the next one counts as confirmed
        record.sequence = lowestSequence(record, running);
        // for a release with files giveUp() resets the number
        if ((!before || before.digest !== image.digest_) && !(image.set_ && record.given))
            record.refused = 0;
        if (!files)
            noteImage(record, slot, size, image.digest_, image.version_);
        if (bound || image.set_) {
            // the set that runs, and not one that another update has bound since the start
            var current = lazyEngine().runningSet_();
            var set = current !== undefined ? current : bound ? bound.set : "";
            // the running slot keeps its set when it starts again
            bind(record, running.label, set);
            bind(record, slot.label, image.set_ || set, image.set_ ? set : undefined);
        }
        record.slot = slot.label;
        record.previous = running.label;
        record.boots = 0;
        record.next = image.sequence_;
        record.reason = "";
        if (image.project_ && image.project_.length <= 32 /* Length.NAME */)
            record.project = image.project_;
        saveRecord(record, 1);
    }
    /**
     * Notes that the trial in the slot called `label` has failed. `verdict`: the program has rejected it, and it
     * counts as bad at once; otherwise at the third time. `release`: where a release has brought files, the release counts as
     * bad and not the image.
     */
    function giveUp(record, label, verdict, reason, release) {
        record.reason = reason.substr(0, 80 /* Length.REASON */);
        var image = findImage(record, label);
        var binding = bindingOf(record, label);
        var digest = image && image.digest;
        var given = "";
        if (release && binding && binding.before !== undefined) {
            // if the list is damaged nothing counts as bad: after files alone the image in this slot runs on
            digest = "";
            tryOr(function () {
                digest = given = "release-sha256:" /* Bad.RELEASE */ + parseSet(lazyEngine().readFile_(binding.set)).id;
            }, noop);
        }
        if (record.given !== given)
            record.refused = 0;
        record.given = given;
        if (++record.refused < 3 /* Trial.REFUSALS */ && !verdict)
            return;
        record.boots = -1 /* Boots.GIVEN_UP */;
        if (!digest)
            return;
        record.bad = [digest].concat(record.bad.filter(function (one) { return one !== digest; }));
        while (record.bad.length > 4 /* Kept.BAD */)
            record.bad.pop();
    }
    /**
     * Records that the bootloader did not start the image in the slot called `label`, or rolled it back. Each selection counts
     * once. The trial stays, because the image may start later.
     */
    function recordRefused(label) {
        var record = loadRecord();
        if (record.slot !== label || record.boots === -1 /* Boots.GIVEN_UP */ || record.boots === -3 /* Boots.REFUSED */)
            return;
        record.boots = -3 /* Boots.REFUSED */;
        giveUp(record, label, false, "the bootloader did not start it", false);
        saveRecord(record);
    }
    /** Records that the image in the slot `running` is confirmed: its trial ends. */
    function recordConfirmed(running) {
        var record = loadRecord();
        if (record.boots === -2 /* Boots.CONFIRMED */ || !isSelected(record, running))
            return;
        record.sequence = Math.max(record.sequence, record.next);
        record.boots = -2 /* Boots.CONFIRMED */;
        record.refused = 0;
        var binding = bindingOf(record, running.label);
        record.sets = binding && binding.set ? [{ label: running.label, set: binding.set }] : [];
        saveRecord(record);
    }
    /**
     * Records the rollback of the image in the slot `running`, before it happens. `verdict`: the program has asked for it; else
     * the starts ran out, or a check failed. `reason`: printable text, for getStatus().
     */
    function recordRolledBack(running, verdict, reason) {
        var record = loadRecord();
        if (record.boots === -1 /* Boots.GIVEN_UP */ || !isSelected(record, running))
            return;
        var label = running.label;
        var before = isFilesAlone(record, label) ? bindingOf(record, label).before : undefined;
        record.boots = -1 /* Boots.GIVEN_UP */;
        giveUp(record, label, verdict, reason, true);
        if (before !== undefined) {
            // the slot stays: the set before was confirmed
            record.boots = -2 /* Boots.CONFIRMED */;
            record.next = 0;
            bind(record, label, before);
        }
        else {
            // this slot does not need its set any more. If it starts again, it uses the set of the other slot. The only entry of the
            // list stays, because the other slot uses it too
            var others = record.sets.filter(function (one) { return one.label !== label; });
            if (others.length)
                record.sets = others;
        }
        saveRecord(record);
    }
    return { roomOf_: roomOf, checkRoom_: checkRoom, createFile_: createFile, storedName_: storedName, isStoredName_: isStoredName, releaseText_: releaseText, setText_: setText, parseSet_: parseSet, loadRecord_: loadRecord, countStart_: countStart, findImage_: findImage, knownImage_: knownImage, bindingOf_: bindingOf, isSelected_: isSelected, isFilesTrial_: isFilesTrial, recordHashed_: recordHashed, lowestSequence_: lowestSequence, checkNotRolledBack_: checkNotRolledBack, checkNotOnTrial_: checkNotOnTrial, reserveRecords_: reserveRecords, recordSelected_: recordSelected, recordRefused_: recordRefused, recordConfirmed_: recordConfirmed, recordRolledBack_: recordRolledBack };
}











































// The interpreter's SHA-256, of a whole text at once. On a build without its crypto module `require` of this module throws.
var crypto;
try {
    crypto = require("crypto");
}
catch (_) {
    throw otaError(262 /* Code.NOT_SUPPORTED */, "this Espruino (" + process.env.BOARD + ") has no crypto module: https-ota needs a build with it (docs/boards.md)");
}
function sha256(data) {
    var digest = crypto.SHA256(data);
    if (!digest || digest.byteLength !== 32)
        return noMemory("SHA-256");
    return new Uint8Array(digest);
}

function lazyFiles() {
    // The files of releases in Storage: which of them exist, are whole, or are not needed any more. Their names:
    // docs/formats.md#set-of-files.
    // A file is never replaced: it is created, filled and verified, and then a boot record names its set.
    /** The name in Storage of a file with this content. */
    function nameOf(text) {
        return lazyRecords().storedName_(lazyBytes().base64_(binary(sha256(text))) || noMemory("base64"));
    }
    /** Is file `stored` there with all its bytes? Its name is computed from its content, so this verifies the content. */
    function isWhole$1(stored, size) {
        var text = size ? lazyEngine().readFile_(stored) : "";
        return !size || (text !== undefined && text.length === size && nameOf(text) === stored);
    }
    /** Does it exist with this size? It may not be filled yet. */
    function isCreated(stored, size) {
        return lazyEngine().readPart_(stored, size - 1, 1).length > 0 && !lazyEngine().readPart_(stored, size, 1);
    }
    /** Writes `text` at `offset` of a created file of `size` bytes. Throws FLASH_OP_FAIL if it does not read back. */
    function fillFile(stored, text, offset, size) {
        lazyEngine().writeFile_(stored, text, offset, offset ? 0 : size);
        if (lazyEngine().readPart_(stored, offset, text.length) !== text)
            throw otaError(24577 /* Code.FLASH_OP_FAIL */, "Storage file " + stored + " at " + offset + " differs from what was written" /* Fact.DIFFERS */);
    }
    /** The set in Storage that is called `name`; null if it does not exist, or is damaged. */
    function readSet(name) {
        var text = name ? lazyEngine().readFile_(name) : undefined;
        return text !== undefined && nameOf(text) === name ? lazyRecords().parseSet_(text) : null;
    }
    /** Writes the list of `set` and returns its name. Throws as createFile() and fillFile(). */
    function writeSet(set) {
        var text = lazyRecords().setText_(set);
        var name = nameOf(text);
        if (lazyEngine().readFile_(name) !== text) {
            lazyRecords().createFile_(name, text.length, "the list of the release's files");
            fillFile(name, text, 0, text.length);
        }
        return name;
    }
    /** Bytes of Storage that the list of `set` takes. */
    function roomOfSet(set) {
        return lazyRecords().roomOf_(lazyRecords().setText_(set).length);
    }
    /** The set whose program runs; null if the loader has started none. */
    function currentSet() {
        return readSet(lazyEngine().runningSet_() || "");
    }
    /** The name of the set that runs with the slot called `label`, "" for none. */
    function boundSet(record, label) {
        var binding = lazyRecords().bindingOf_(record, label);
        return binding ? binding.set : "";
    }
    /**
     * Erases files of releases that the record does not name: the releases were replaced or rolled back, or their update did
     * not end. The files of `coming`, the set that is being fetched, stay, and so do the files of the running program. If the
     * list of a set is damaged, nothing is erased, because the files of this set are unknown.
     */
    function eraseUnused(coming) {
    var lazyEngineOnce = lazyEngine();
        var names = [lazyEngineOnce.runningSet_() || ""];
        var sets = [coming];
        var kept = [];
        lazyRecords().loadRecord_().sets.forEach(function (one) {
            names.push(one.set);
            names.push(one.before || "");
        });
        for (var i = 0; i < names.length; i++) {
            if (!names[i])
                continue;
            kept.push(names[i]);
            var set = readSet(names[i]);
            // if the list does not exist any more, the files of its set cannot be used
            if (!set && lazyEngineOnce.readFile_(names[i]) !== undefined)
                return;
            sets.push(set);
        }
        sets.forEach(function (set) {
            if (set)
                for (var i = 0; i < set.files.length; i++)
                    kept.push(set.files[i].stored);
        });
        lazyEngineOnce.listFiles_().forEach(function (name) {
            if (lazyRecords().isStoredName_(name) && kept.indexOf(name) < 0)
                lazyEngine().eraseFile_(name);
        });
    }
    return { isWhole_: isWhole$1, isCreated_: isCreated, fillFile_: fillFile, readSet_: readSet, writeSet_: writeSet, roomOfSet_: roomOfSet, currentSet_: currentSet, boundSet_: boundSet, eraseUnused_: eraseUnused };
}







/**
 * The name in Storage of a file of the release that runs, for `require("Storage").read()`: pictures, fonts, tables. An
 * empty file is not stored: reading it gives undefined. Throws ESP_ERR_NOT_FOUND when no release of files runs, or when the
 * release does not have this file.
 */
function file(name) {
    var set = lazyFiles().currentSet_();
    if (set)
        for (var i = 0; i < set.files.length; i++)
            if (set.files[i].name === name)
                return set.files[i].stored;
    throw otaError(261 /* Code.NOT_FOUND */, set ? "release " + set.version + " has no file " + name : "no release of files runs: has the loader started one?");
}
/**
 * Compacts Storage, which frees the room of erased files. **A loss of power during this can destroy every file in Storage**,
 * also this module and the program: call it only while the power supply cannot fail. No other function of this module
 * compacts. Throws ESP_ERR_INVALID_STATE while an update runs. It takes seconds, in which nothing else runs.
 */
function compactStorage() {
    if (lazyEngine().heldLock_())
        throw otaError(259 /* Code.INVALID_STATE */, "an update is running");
    lazyEngine().compact_();
}




/** `esp_chip_id_t` of the chip that this Espruino was built for, by its board name. */
function chipId() {
    var board = process.env.BOARD;
    // not by indexOf: at the end of a text the engine takes the beginning of a needle for the whole needle (2v29)
    for (var i = 0; i < board.length; i++)
        if (board.substr(i, 5) === "ESP32") {
            var series = board.substr(i + 5, 2);
            return series === "C3" ? 5 /* Esp32c3.ESP_CHIP_ID */ : series === "S3" ? 9 /* Esp32s3.ESP_CHIP_ID */ : 0 /* Esp32.ESP_CHIP_ID */;
        }
    // both are C3 (boards/EPAPER_BADGE.py, boards/CURIO.py)
    if (board === "EPAPER_BADGE" || board === "CURIO")
        return 5 /* Esp32c3.ESP_CHIP_ID */;
    throw otaError(262 /* Code.NOT_SUPPORTED */, "board " + board + " is not an ESP32 that this module knows");
}





/** Restarts the device at once. `esp_restart` */
function restart() {
    ESP32.reboot();
}

function lazyBlocks() {
    // Whole sectors of flash, blocks that come in pieces, and a write that reads back. They are not in flash.ts because they
    // are seldom called: the functions of flash.ts stay in memory (docs/decisions/lazy-scopes.md).
    /** `pieces` as one binary string. */
    function join(pieces) {
        var text = E.toString(pieces);
        return typeof text === "string" ? text : noMemory("string of pieces");
    }
    /**
     * The block of Flash.SECTOR bytes at `addr`, of a file that has `rest` bytes from `addr` on. Bytes behind the end of the
     * file are zero. `start` replaces the first bytes.
     */
    function readBlock(addr, rest, start) {
        var block = read$1(addr, Math.min(rest, 4096 /* Flash.SECTOR */));
        if (rest < 4096 /* Flash.SECTOR */) {
            var padded = new Uint8Array(4096 /* Flash.SECTOR */);
            padded.set(block);
            block = padded;
        }
        if (start)
            block.set(start);
        return block;
    }
    /** Is the whole sector at `addr` erased? */
    function isBlank(addr) {
        // no local variable: it would keep one block alive while the next is allocated
        for (var offset = 0; offset < 4096 /* Flash.SECTOR */; offset += 512 /* Flash.SMALL_PIECE */)
            if (E.CRC32(read$1(addr + offset, 512 /* Flash.SMALL_PIECE */)) !== 3179004831 /* Flash.BLANK_CRC */)
                return false;
        return true;
    }
    /** Erases the sector at `addr` and reads all of it back. */
    function erase(addr) {
        flash.erasePage(addr);
        if (!isBlank(addr))
            throw otaError(24577 /* Code.FLASH_OP_FAIL */, "sector " + lazyBytes().hex_(addr) + " is not blank after its erase" /* Fact.NOT_BLANK */);
    }
    /** Writes `bytes`, a binary string, at `addr`, which is erased, and reads them back. */
    function write(addr, bytes) {
        flash.write(bytes, addr);
        if (!holds(addr, bytes))
            throw otaError(24577 /* Code.FLASH_OP_FAIL */, "flash at " + lazyBytes().hex_(addr) + " differs from what was written" /* Fact.DIFFERS */);
    }
    // The first word of a slot holds the magic number of an image. It is written last, after the rest was verified in
    // flash. So no bootloader takes a refused or unverified file for an image, whatever otadata says.
    /** `length` erased bytes, as a binary string. */
    function blank(length) {
        return binary(new Uint8Array(length).fill(0xff));
    }
    /**
     * Makes the first word of the slot at `addr` blank, so that it holds no image. A loss of power in between loses the
     * rest of the sector.
     */
    function clearWord(addr) {
        if (holds(addr, blank(4 /* Size.WORD */)))
            return;
        var rest = binary(read$1(addr + 4 /* Size.WORD */, 4096 /* Flash.SECTOR */ - 4 /* Size.WORD */));
        erase(addr);
        // the beginning is written last, because an update must not resume from a torn sector
        write(addr + 1024 /* Size.HEAD */, rest.substr(1024 /* Size.HEAD */ - 4 /* Size.WORD */));
        write(addr + 4 /* Size.WORD */, rest.substr(0, 1024 /* Size.HEAD */ - 4 /* Size.WORD */));
    }
    /** Writes the first `word` of the slot at `addr`, after the rest was verified: now the slot holds an image. */
    function completeImage(addr, word) {
        if (holds(addr, word))
            return;
        clearWord(addr);
        write(addr, word);
    }
    return { join_: join, readBlock_: readBlock, isBlank_: isBlank, erase_: erase, write_: write, blank_: blank, clearWord_: clearWord, completeImage_: completeImage };
}















/**
 * Which bootloader this device has: what its descriptor says (IDF 5.2 and later), else what is known about the ones that
 * came with published Espruino builds for the classic ESP32. For any other one `idfVer` is "". Throws ESP_ERR_NOT_FOUND if
 * flash has no bootloader at its address, or is encrypted. `esp_ota_get_bootloader_description`
 */
function getBootloaderDescription() {
    // Which bootloader the device has. It is known by its own descriptor (IDF 5.2 and later), or by its CRC if it came with a
    // published Espruino build. Reads flash, writes nothing.
    // Source: docs/formats.md#bootloader (IDF esp_bootloader_desc.h, esp_ota_ops.c).
    /** CRC-32 of the bootloader at `address`, without its header and the SHA-256 at its end; 0 if its segments are too long. */
    function contentCrc(address, segments) {
    var lazyBytesOnce = lazyBytes();
        var end = 24 /* Size.HEADER */;
        for (var i = 0; i < segments; i++) {
            end += 8 /* Size.SEGMENT_HEADER */ + lazyBytesOnce.u32_(read$1(address + end, 8 /* Size.SEGMENT_HEADER */), 4);
            if (address + end >= 32768 /* Table.ADDR */)
                return 0;
        }
        end = (end + 16) & -16;
        var crc = 0;
        for (var offset = 24 /* Size.HEADER */; offset < end; offset += 1024 /* Flash.PIECE */) {
            var piece = read$1(address + offset, Math.min(1024 /* Flash.PIECE */, end - offset));
            // E.CRC32 has no start value: to continue a CRC, it is xored into the first four bytes
            lazyBytesOnce.setU32_(piece, 0, lazyBytesOnce.u32_(piece, 0) ^ crc);
            crc = E.CRC32(binary(piece));
        }
        return crc;
    }
    // More than 30 lines: the descriptor, then the known bootloaders.
    var chip = chipId();
    var address = chip ? 0 /* Boot.OFFSET */ : 4096 /* Boot.OFFSET_ESP32 */;
    var head = read$1(address, 112 /* Boot.DESC_END */);
    if (head[0] !== 233 /* Esp.IMAGE_HEADER_MAGIC */)
        throw otaError(261 /* Code.NOT_FOUND */, "no bootloader at " + lazyBytes().hex_(address) + ", found " + lazyBytes().hex_(head[0]));
    var found = {
        version: 0,
        secureVersion: 0,
        idfVer: "",
        dateTime: "",
        // IDF has no release for the C3 and the S3 before 4.3
        states: chip ? true : undefined,
        rollback: undefined,
    };
    // esp_bootloader_desc_t, 32 bytes behind the image's start
    //      32  uint8_t  magic_byte, reserved[2], secure_version      72  char     date_time[24]
    //      36  uint32_t version                                      96  uint8_t  reserved2[16]
    //      40  char     idf_ver[32]
    // IDF checks the magic byte alone. An older bootloader may have any byte there, so more bytes are checked here
    if (head[32] === 80 /* Boot.DESC_MAGIC_BYTE */ && !(head[33] | head[34] | head[71] | head[95]) && head[40]) {
        found.version = lazyBytes().u32_(head, 36);
        found.secureVersion = head[35];
        found.idfVer = lazyBytes().zText_(head, 40, 32);
        found.dateTime = lazyBytes().zText_(head, 72, 24);
        found.states = true;
        return found;
    }
    var crc = contentCrc(address, head[1]);
    if (crc === 539012833 /* Known.IDF_3_3_6 */ || crc === 1337555535 /* Known.IDF_3_1_3 */) {
        found.idfVer = crc === 539012833 /* Known.IDF_3_3_6 */ ? "v3.3.6" : "v3.1.3";
        found.states = crc === 539012833 /* Known.IDF_3_3_6 */;
        found.rollback = false;
    }
    return found;
}
function lazyOtadata() {
    /** Calls IDF's esp_ota_mark_app_valid_cancel_rollback, where this Espruino has it. It does not report success. */
    function markValidNatively() {
        if (ESP32.setOTAValid)
            ESP32.setOTAValid(true);
    }
    // otadata: two copies of a 32-byte select entry, one sector each; the valid one with the higher seq is active. Pure.
    // Source: docs/formats.md#otadata (IDF esp_flash_partitions.h, bootloader_common_loader.c, esp_ota_ops.c).
    // esp_ota_select_entry_t, esp_flash_partitions.h of IDF v5.5:
    //      0  uint32_t ota_seq
    //      4  uint8_t  seq_label[20]
    //     24  uint32_t ota_state
    //     28  uint32_t crc            of ota_seq alone
    var CRC = 28;
    var ERASED = 0xffffffff; // an ota_seq of UINT32_MAX names no slot (bootloader_common_ota_select_invalid)
    /** IDF's CRC of seq: a reflected CRC-32 whose register starts at 0. After four bytes it is seq, shifted 32 times. */
    function entryCrc(seq) {
        var crc = seq;
        for (var i = 0; i < 32; i++)
            crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
        return ~crc >>> 0;
    }
    function parseEntry(bytes) {
        var seq = lazyBytes().u32_(bytes, 0);
        var state = lazyBytes().u32_(bytes, 24 /* Entries.STATE */);
        var whole = seq !== ERASED && lazyBytes().u32_(bytes, CRC) === entryCrc(seq);
        return {
            seq_: seq,
            state_: state,
            whole_: whole,
            valid_: whole && state !== 3 /* State.INVALID */ && state !== 4 /* State.ABORTED */,
        };
    }
    /** A copy of the 32 bytes `old` with `seq` and `state`. The label stays, as in IDF. */
    function buildEntry(old, seq, state) {
        var bytes = new Uint8Array(32 /* Entries.LENGTH */);
        bytes.set(old);
        lazyBytes().setU32_(bytes, 0, seq);
        lazyBytes().setU32_(bytes, 24 /* Entries.STATE */, state);
        lazyBytes().setU32_(bytes, CRC, entryCrc(seq));
        return bytes;
    }
    /** The N of the ota_N that `seq` names, of `count` slots. */
    function slotOfSeq(seq, count) {
        return ((seq - 1) >>> 0) % count;
    }
    /** The copy that the bootloader obeys, 0 or 1; -1 for none. With equal seqs it is copy 0. */
    function activeCopy(entries) {
        if (!entries[0].valid_)
            return entries[1].valid_ ? 1 : -1;
        return entries[1].valid_ && entries[1].seq_ > entries[0].seq_ ? 1 : 0;
    }
    /** The smallest seq above `seq` that names slot `index` of `count`; 0 if it would need more than 32 bits. */
    function nextSeq(seq, index, count) {
        var next = seq + 1 + ((index - slotOfSeq(seq + 1, count) + count) % count);
        return next < ERASED ? next : 0;
    }
    /** Does the bootloader obey the states of otadata, as far as is known? */
    function obeysStates() {
        var known = false;
        tryOr(function () {
            known = !!getBootloaderDescription().states;
        }, noop);
        return known;
    }
    // Writes otadata: which slot the bootloader starts. The only writer of otadata; `select` is the commit point.
    // Source: docs/formats.md#otadata, docs/design.md#slots. Unlike IDF, decisions depend on the running slot
    // and not on the highest seq: otherwise the entry of the running slot would be overwritten after a fallback.
    /** The entries of both copies; without an otadata partition they are blank. */
    function readEntries(otadata) {
        function entryAt(offset) {
            return parseEntry(otadata ? read$1(otadata.address + offset, 32 /* Entries.LENGTH */) : new Uint8Array(32 /* Entries.LENGTH */).fill(255));
        }
        return [entryAt(0), entryAt(4096 /* Flash.SECTOR */)];
    }
    /** Is `entry` whole, and does it name `slot`? No entry names factory, whose subtype is below those of ota_N. */
    function names(layout, entry, slot) {
        return entry.whole_ && slotOfSeq(entry.seq_, layout.ota_.length) === slot.subtype - 16 /* Subtype.OTA_0 */;
    }
    /** The copy that names `slot`, in any state; the newer one if both do, -1 if none does. */
    function copyOf(layout, entries, slot) {
        var copy = -1;
        for (var i = 0; i < 2; i++)
            if (names(layout, entries[i], slot) && (copy < 0 || entries[i].seq_ > entries[copy].seq_))
                copy = i;
        return copy;
    }
    /**
     * The slot that the entries select by their states. The bootloader starts it, or another one if its image is broken.
     */
    function slotByState(layout, entries) {
        var ota = layout.ota_;
        var copy = activeCopy(entries);
        if (copy >= 0 && ota.length)
            return ota[slotOfSeq(entries[copy].seq_, ota.length)];
        return layout.factory_ || ota[0];
    }
    /**
     * Must an entry that is marked bad count as active? A bootloader of IDF 3.1 or 3.2 ignores states: it obeys the newest
     * entry even when this is marked bad. The bootloader is taken for one of these if the newest entry is marked bad, names the
     * running slot, and the states select another slot. This looks the same in two other cases, which are excluded as far as
     * possible: rollback() has marked the entry since the start, or a later bootloader fell back from a broken image, which is
     * known only if the bootloader is known to obey states.
     */
    function runningEntryIsMarkedBad(layout, entries) {
        var own = copyOf(layout, entries, layout.running_);
        var other = entries[1 - own];
        return (own >= 0 &&
            !entries[own].valid_ &&
            !(other.whole_ && other.seq_ > entries[own].seq_) &&
            slotByState(layout, entries).address !== layout.running_.address &&
            !lazyEngine().isRolledBack_() &&
            !obeysStates());
    }
    /** The slot that otadata selects. */
    function selectedSlot(layout, entries) {
        return runningEntryIsMarkedBad(layout, entries) ? layout.running_ : slotByState(layout, entries);
    }
    /**
     * The copy that must stay while the other one is written: the newest entry of the running slot, else the active one, else
     * none (-1).
     */
    function copyToKeep(layout, entries) {
        var keep = copyOf(layout, entries, layout.running_);
        return keep >= 0 && (entries[keep].valid_ || runningEntryIsMarkedBad(layout, entries)) ? keep : activeCopy(entries);
    }
    /** Writes an entry into `copy`. If it does not read back as written, it is erased: the bootloader might obey it. */
    function writeEntry(layout, copy, seq, state) {
        var addr = layout.otadata_.address + copy * 4096 /* Flash.SECTOR */;
        var entry = binary(buildEntry(read$1(addr, 32 /* Entries.LENGTH */), seq, state));
        lazyBlocks().erase_(addr);
        try {
            lazyBlocks().write_(addr, entry);
        }
        catch (thrown) {
            lazyBlocks().erase_(addr);
            throw thrown;
        }
    }
    /**
     * Erases the active copy, so that factory starts. If the erase fails although the copy is blank, the entry is written
     * again.
     */
    function eraseActive(addr) {
        var entry = binary(read$1(addr, 32 /* Entries.LENGTH */));
        try {
            lazyBlocks().erase_(addr);
        }
        catch (thrown) {
            if (lazyBlocks().isBlank_(addr))
                lazyBlocks().write_(addr, entry);
            throw thrown;
        }
    }
    /** A seq for `slot` above every whole entry: a bootloader of IDF 3.1 or 3.2 obeys entries that are marked INVALID too. */
    function seqFor(layout, entries, slot) {
        var highest = 0;
        for (var i = 0; i < 2; i++)
            if (entries[i].whole_ && entries[i].seq_ > highest)
                highest = entries[i].seq_;
        var seq = nextSeq(highest, slot.subtype - 16 /* Subtype.OTA_0 */, layout.ota_.length);
        if (!seq)
            throw otaError(5378 /* Code.OTA_SELECT_INFO_INVALID */, "no sequence number above " + highest);
        return seq;
    }
    /**
     * Makes the bootloader start `slot` at the next restart. `state` is NEW for an image that must be confirmed: a
     * bootloader with rollback puts it on trial, others start it like any other (docs/formats.md#what-a-bootloader-starts).
     * Throws when flash fails; then the old selection stays.
     */
    function select(layout, slot, state) {
        var entries = readEntries(layout.otadata_);
        var markedBad = runningEntryIsMarkedBad(layout, entries);
        lazyEngine().setRestartPending_();
        if (!markedBad && slotByState(layout, entries).address === slot.address)
            return;
        if (slot.subtype === 0 /* Subtype.FACTORY */) {
            // without an entry factory starts. The inactive copy is erased first: left alone, it would select an older slot
            var active = (markedBad ? copyToKeep(layout, entries) : activeCopy(entries)) === 1 ? 1 : 0;
            entries = []; // from here on memory is shortest
            lazyBlocks().erase_(layout.otadata_.address + (1 - active) * 4096 /* Flash.SECTOR */);
            eraseActive(layout.otadata_.address + active * 4096 /* Flash.SECTOR */);
            return;
        }
        var copy = copyToKeep(layout, entries) === 0 ? 1 : 0;
        var seq = seqFor(layout, entries, slot);
        entries = [];
        writeEntry(layout, copy, seq, state);
    }
    /**
     * Before `target` is erased: makes sure that otadata selects the running slot, then erases every entry that names
     * `target`, so that a half-written slot is never selected. If a third slot was selected, this selection is undone: if the
     * image of that slot is broken, the bootloader could fall back to `target`, whole but without the record of its trial.
     */
    function deselect(layout, target) {
        var entries = readEntries(layout.otadata_);
        var own = copyOf(layout, entries, layout.running_);
        var selected = slotByState(layout, entries).address;
        // if so, the entry of the running slot becomes the active one when the entry of `target` is erased
        var left = selected === target.address && own >= 0 && entries[own].valid_;
        if (selected !== layout.running_.address && !left) {
            entries = []; // select() reads them again, and memory is shortest here
            select(layout, layout.running_, 2 /* State.VALID */);
            entries = readEntries(layout.otadata_);
        }
        // the active copy last
        var last = activeCopy(entries) === 0 ? 0 : 1;
        if (names(layout, entries[1 - last], target))
            lazyBlocks().erase_(layout.otadata_.address + (1 - last) * 4096 /* Flash.SECTOR */);
        if (names(layout, entries[last], target))
            eraseActive(layout.otadata_.address + last * 4096 /* Flash.SECTOR */);
    }
    /** State of the entry that names `slot`; undefined if no entry does, as for factory. */
    function stateOf(layout, slot) {
        var entries = readEntries(layout.otadata_);
        var copy = copyOf(layout, entries, slot);
        return copy < 0 ? undefined : entries[copy].state_;
    }
    // Marks the running image in otadata as valid or invalid, by the functions of boot-selection.ts.
    // Source: docs/design.md#slots, docs/formats.md#otadata.
    /** Is the running image on trial, by this module or by a bootloader with rollback? */
    function isOnTrial(layout) {
        var record = lazyRecords().loadRecord_();
        return (((record.boots >= 0 || record.boots === -3 /* Boots.REFUSED */) && lazyRecords().isSelected_(record, layout.running_)) ||
            stateOf(layout, layout.running_) === 1 /* State.PENDING_VERIFY */);
    }
    /**
     * Throws while the bootloader has the running image on trial, as esp_ota_begin does; and between a rollback and its
     * restart, because an update would overwrite the slot that starts next.
     */
    function checkConfirmed(layout) {
        if (lazyEngine().isRolledBack_())
            throw otaError(5382 /* Code.OTA_ROLLBACK_INVALID_STATE */, "the running image was rolled back: restart() first");
        if (stateOf(layout, layout.running_) === 1 /* State.PENDING_VERIFY */)
            throw otaError(5382 /* Code.OTA_ROLLBACK_INVALID_STATE */, "the running image is not confirmed: call markValid() first");
    }
    /**
     * Marks the running image as valid. Normally the new entry is written into the other copy, with a higher seq, and the
     * present entry is erased after that: the running slot always has a valid entry. In two cases the entry is
     * rewritten in place:
     * - PENDING_VERIFY: after a loss of power a bootloader with rollback would abort the present entry anyway. IDF rewrites
     *   it in place too, and the other copy stays to fall back to. IDF's own call is used if this entry is the active one,
     *   because it marks the active entry.
     * - The other copy selects a slot that was chosen since the start.
     * Factory does not need a mark, and neither does a slot that no entry names.
     */
    function confirm(layout) {
        var entries = readEntries(layout.otadata_);
        var copy = copyOf(layout, entries, layout.running_);
        if (copy < 0 || entries[copy].state_ === 2 /* State.VALID */)
            return;
        if (entries[copy].state_ === 1 /* State.PENDING_VERIFY */) {
            if (activeCopy(entries) === copy)
                markValidNatively();
            if (stateOf(layout, layout.running_) !== 2 /* State.VALID */)
                writeEntry(layout, copy, entries[copy].seq_, 2 /* State.VALID */);
            return;
        }
        if (lazyEngine().isRestartPending_() && activeCopy(entries) !== copy)
            return writeEntry(layout, copy, entries[copy].seq_, 2 /* State.VALID */);
        writeEntry(layout, 1 - copy, seqFor(layout, entries, layout.running_), 2 /* State.VALID */);
        lazyBlocks().erase_(layout.otadata_.address + copy * 4096 /* Flash.SECTOR */);
    }
    /**
     * Selects `slot`, which ran before, and marks the entry of the running image INVALID. The selection comes first: the
     * mark only informs, except for an entry that a bootloader with rollback would abort anyway (PENDING_VERIFY).
     */
    function reject(layout, slot) {
        var before = readEntries(layout.otadata_);
        var own = copyOf(layout, before, layout.running_);
        var pending = own >= 0 && before[own].state_ === 1 /* State.PENDING_VERIFY */;
        if (pending)
            writeEntry(layout, own, before[own].seq_, 3 /* State.INVALID */);
        // PENDING_VERIFY shows that the bootloader obeys states
        var selected = pending && slotByState(layout, readEntries(layout.otadata_)).address === slot.address;
        // VALID and not NEW: during a trial of `slot` the bootloader could fall back to the image that is rejected now
        if (!selected)
            select(layout, slot, 2 /* State.VALID */);
        lazyEngine().setRestartPending_(true);
        if (pending)
            return;
        var entries = readEntries(layout.otadata_);
        var copy = copyOf(layout, entries, layout.running_);
        if (copy >= 0)
            writeEntry(layout, copy, entries[copy].seq_, 3 /* State.INVALID */);
    }
    return { readEntries_: readEntries, copyOf_: copyOf, selectedSlot_: selectedSlot, select_: select, deselect_: deselect, stateOf_: stateOf, isOnTrial_: isOnTrial, checkConfirmed_: checkConfirmed, confirm_: confirm, reject_: reject };
}










































/** Result of the last update since the device started, as text; "" before the first. It is kept in RAM only. */
var lastResult = "";

/**
 * Acquires the lock. Throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another holder has it. `stop` is called when the
 * holder must end: with ESP_ERR_NO_MEM after a callback was aborted, with ESP_ERR_TIMEOUT after `deadline` ms (counted
 * in whole seconds; 0: no limit), with the error that the caller of stop_() gives, or without an error before save(),
 * load() and reset(). These three end the update because save() would store a half-done update, and it could be loaded when
 * another slot runs.
 * More than 30 lines: a closure, whose three functions share the watchdog.
 */
function acquireLock(stop, deadline) {
    /** Calls `callback` every `ms` until it is cancelled. An interval needs no memory to start again, a timer does. */
    function every(ms, callback) {
        var timer = setInterval(callback, ms);
        return timer === undefined ? noMemory("interval") : timer;
    }
    /** Restarts the watchdog after a pause in which watchdogExpired() was not called. */
    function resetWatchdog() {
        lastSampleMs = 0;
        if (graceMs < 0)
            graceMs = 0;
    }
    /** Forgets the timers of an update that has ended. */
    function forgetTimers() {
        lastSampleMs = graceMs = 0;
    }
    /**
     * Is every timer overdue that an update could wait for? To be called every `intervalMs`. At most `intervalMs` count as
     * passed since the last call: while something blocks the device (a lookup, a connection), no timer can fire, and
     * afterwards the engine makes up for the missed calls of an interval, one in each idle pass (src/jsinteractive.c).
     */
    function watchdogExpired(intervalMs) {
        var time = Date.now();
        var past = lastSampleMs && time - lastSampleMs;
        // the clock may be set, in either direction
        if (past < 0)
            past = 0;
        if (past > intervalMs)
            past = intervalMs;
        lastSampleMs = time;
        graceMs -= past;
        return graceMs < -2e3;
    }
    // The lock: only one update or one selection of a slot runs at a time, because an update would erase a slot that is being
    // verified. When Espruino runs out of JsVars it aborts the running callback, and nothing throws. The watchdog of the lock
    // detects this: no timer is left that could continue the work of the holder.
    var WATCHDOG_MS = 1000;
    if (lazyEngine().heldLock_())
        throw otaError(5383 /* Code.OTA_ALREADY_IN_PROGRESS */, "an update is running, or a slot is being selected", true);
    var watchdog;
    var lock = { watchdogPaused_: false, ageMs_: 0, stop_: stop };
    function tick() {
        var id = watchdog;
        var error;
        if (lazyEngine().heldLock_() === lock) {
            lock.ageMs_ += WATCHDOG_MS;
            if (deadline && lock.ageMs_ >= deadline)
                error = otaError(263 /* Code.TIMEOUT */, "not done within " + deadline + " ms", true);
            else if (lock.watchdogPaused_)
                resetWatchdog();
            else if (watchdogExpired(WATCHDOG_MS))
                error = otaError(257 /* Code.NO_MEM */, "out of memory: the call was interrupted", true);
            if (!error)
                return;
            // the engine drops an interval whose callback runs out of memory, and stop() needs memory: so first a new interval
            watchdog = undefined;
            lock.armWatchdog_();
            stop(error);
        }
        else
            watchdog = undefined;
        if (id !== undefined)
            cancel(id);
    }
    lock.armWatchdog_ = function () {
        if (watchdog === undefined) {
            resetWatchdog();
            watchdog = every(WATCHDOG_MS, tick);
        }
        lock.watchdogPaused_ = false;
    };
    lock.release_ = function () {
        lazyEngine().setHeldLock_(undefined);
        lazyEngine().listenForKill_(stop, false);
        forgetTimers();
        // if clearInterval failed, the next tick cancels it
        if (watchdog !== undefined)
            cancel(watchdog);
    };
    lock.armWatchdog_(); // first, because it allocates and may fail
    lazyEngine().listenForKill_(stop, true);
    lazyEngine().setHeldLock_(lock);
    return lock;
}




/**
 * For the file in flash at `addr`. It may have 64 MB: up to this size one block holds the digests of all full blocks of
 * the level below. `start`: bytes that replace the first ones in flash.
 * More than 30 lines: a closure, whose variables would take more JsVars as fields of an object.
 */
function createFsVerityHasher(addr, start) {
    // The fs-verity digest of a file in flash: a tree of SHA-256 over 4096-byte blocks. Each hash is one native call, with
    // one block in memory.
    // Source: docs/formats.md#fs-verity (Linux Documentation/filesystems/fsverity.rst: 4096-byte blocks, SHA-256, no salt).
    var BLOCK = 4096;
    var HASH$1 = 32; // of a SHA-256
    var DESCRIPTOR_LENGTH = 256;
    // digests of blocks of the file, then zeros. A string that grows would take 100 JsVars more
    var leaves;
    var filled = 0; // bytes of `leaves`
    var above = ""; // the level above: one digest of `leaves` for each time that it was full
    var next = 0; // offset of the first block that is not hashed
    function add(offset, hash) {
        if (offset !== next)
            return;
        if (!leaves)
            leaves = new Uint8Array(BLOCK);
        if (filled === BLOCK) {
            above += binary(sha256(leaves));
            leaves.fill(0);
            filled = 0;
        }
        leaves.set(hash, filled);
        filled += HASH$1;
        next = offset + BLOCK;
    }
    function step(size) {
        if (next >= size)
            return false;
        // most blocks are read without another call, because memory is shortest here; the block is freed before add()
        var whole = next && next + BLOCK <= size;
        var hash = sha256(whole ? read$1(addr + next, BLOCK) : lazyBlocks().readBlock_(addr + next, size - next, next ? "" : start));
        add(next, hash);
        return next < size;
    }
    function digest(size) {
        var descriptor = new Uint8Array(DESCRIPTOR_LENGTH);
        descriptor[0] = 1; // version
        descriptor[1] = 1; // SHA-256
        descriptor[2] = 12; // log2 of the block size
        lazyBytes().setU32_(descriptor, 8, size);
        if (leaves) {
            var root = leaves; // the digest of a single block is the root
            if (size > BLOCK) {
                above += binary(sha256(leaves));
                leaves.fill(0);
                leaves.set(above);
                if (above.length > HASH$1)
                    root = sha256(leaves);
            }
            descriptor.set(root.subarray(0, HASH$1), 16);
        }
        var hash = sha256(descriptor);
        var text = "";
        for (var i = 0; i < hash.length; i++)
            text += (256 + hash[i]).toString(16).substr(1);
        return text;
    }
    return { add_: add, step_: step, digest_: digest };
}


/**
 * Runs `step` until it returns false, `perSlice` steps in each pass of the idle loop, then `finish`. Then it calls `done`,
 * with the error if one of them threw. The first slice runs in a later pass too, because the stack is deep when the caller
 * runs in a data event.
 */
function inSlices(perSlice, step, finish, done) {
    // Runs long computations in slices from the idle loop, so that timers, sockets and the watchdog run in between.
    /**
     * ms before the first slice. In this time the engine closes the connection that brought the last byte, and frees its
     * memory.
     */
    var SETTLE = 20;
    var pause = SETTLE;
    var next;
    function slice() {
        var error = null;
        var more = true;
        try {
            for (var i = 0; more && i < perSlice; i++)
                more = step();
            if (!more)
                finish();
        }
        catch (thrown) {
            error = toOtaError(thrown);
        }
        if (!more || error)
            done(error);
        else
            next();
    }
    next = function () {
        tryOr(function () {
            after(pause, slice);
            pause = 0;
        }, done);
    };
    next();
}

function lazyVerify() {
    // Verifies an image in a slot: its segments, its length, and its fs-verity digest. Without a digest its checksum is
    // compared. The work is done in slices from the idle loop, so that the device stays responsive.
    // Source: docs/formats.md#checksum-and-hash (IDF esp_image_format.c), docs/decisions/fs-verity.md.
    var CHECKSUM_SEED = 0xef;
    /** XOR of `length` bytes (a multiple of 4) of flash at `addr`, as one word. By words, because JavaScript is slow. */
    function xorWords(addr, length) {
        var words = new Uint32Array(read$1(addr, length).buffer);
        var x = 0;
        var i = 0;
        for (; i + 8 <= words.length; i += 8)
            x ^=
                words[i] ^ words[i + 1] ^ words[i + 2] ^ words[i + 3] ^ words[i + 4] ^ words[i + 5] ^ words[i + 6] ^ words[i + 7];
        for (; i < words.length; i++)
            x ^= words[i];
        return x;
    }
    /** The image's XOR checksum over the data of all segments. `ranges`: pairs of an offset and a length. */
    function checksum(addr, ranges) {
        var word = 0;
        var range = 0;
        var offset = 0;
        return {
            step: function () {
                if (range >= ranges.length)
                    return false;
                var rest = ranges[range + 1] - offset;
                var length = Math.min(rest, 4096 /* Flash.SECTOR */);
                if (length)
                    word ^= xorWords(addr + ranges[range] + offset, length);
                offset += length;
                if (offset === ranges[range + 1]) {
                    offset = 0;
                    range += 2;
                }
                return true;
            },
            value: function () { return (word ^ (word >>> 8) ^ (word >>> 16) ^ (word >>> 24) ^ CHECKSUM_SEED) & 0xff; },
        };
    }
    /**
     * Calls `done` with the fs-verity digest of the `size` bytes of flash at `addr`, or with an error. `start`: see
     * verifyImage. `expected`: any other digest is OTA_VALIDATE_FAILED; "" accepts every digest. The digest is compared here
     * because the functions of a caller that compares it would stay in memory while the hash is computed. `startedHasher`: has
     * hashed the first blocks of the same file.
     */
    function hashFlash(addr, size, start, expected, done, startedHasher) {
        var hasher = startedHasher || createFsVerityHasher(addr, start);
        var digest = "";
        inSlices(8 /* Slice.BLOCKS */, function () { return hasher.step_(size); }, function () {
            digest = hasher.digest_(size);
            if (expected && digest !== expected)
                throw otaError(5379 /* Code.OTA_VALIDATE_FAILED */, "fs-verity digest " + digest + ", expected " + expected);
        }, function (error) { return done(error, digest); });
    }
    /**
     * Verifies the file of `size` bytes of flash at `address` as an image for `chipId`. `digest`: the fs-verity digest that
     * it must have, 64 hexadecimal digits; "" compares the image's own checksum instead. `start`: bytes that replace the
     * first ones in flash, "" for an image that is complete in flash. `startedHasher`: see hashFlash. Calls `done` once: with
     * null, and the digest if it was given; or with OTA_VALIDATE_FAILED.
     * More than 30 lines: its steps are closures that share the segments.
     */
    function verifyImage(chipId, address, size, digest, start, done, startedHasher) {
        var ranges = [];
        function readSlot(offset, length) {
            var bytes = read$1(address + offset, length);
            if (!offset)
                bytes.set(start);
            return bytes;
        }
        var length = 0;
        try {
            length = lazyImage().walkSegments_(chipId, size, readSlot, function (offset, bytes) {
                ranges.push(offset, bytes);
            });
        }
        catch (thrown) {
            return done(toOtaError(thrown));
        }
        if (digest)
            return /*@__NOINLINE__*/ hashFlash(address, size, start, digest, done, startedHasher);
        var sum = checksum(address, ranges);
        inSlices(8 /* Slice.BLOCKS */, sum.step, function () {
            var expected = readSlot(lazyImage().checksumOffset_(readSlot(0, 32 /* Size.FIRST_SEGMENT */), length), 1)[0];
            if (sum.value() !== expected)
                throw otaError(5379 /* Code.OTA_VALIDATE_FAILED */, "image checksum " + lazyBytes().hex_(sum.value()) + ", expected " + lazyBytes().hex_(expected));
        }, done);
    }
    return { hashFlash_: hashFlash, verifyImage_: verifyImage };
}





function lazySlots() {
    // The chip: which one it is, its revision, its memory map, and registers that JavaScript can read. Their addresses and
    // bits: soc.ts.
    /** The `length` bytes that the running program's memory map shows at `addr`. */
    function mapped(addr, length) {
        var area = E.memoryArea(addr, length);
        if (typeof area !== "string" || area.length !== length)
            return noMemory("memory area at " + lazyBytes().hex_(addr));
        return area;
    }
    /**
     * Is flash encryption on? JavaScript can read only the eFuse of the classic ESP32. On other chips flash encryption is
     * noticed because the partition table cannot be read.
     */
    function isEncrypted(chip) {
        var odd = false;
        if (chip === 0 /* Esp32.ESP_CHIP_ID */) {
            var word0 = peek32(1073061888 /* Esp32.EFUSE_BLK0_RDATA0_REG */, 1);
            var bits = (word0 >>> 20 /* Esp32.EFUSE_RD_FLASH_CRYPT_CNT_S */) & 127 /* Esp32.EFUSE_RD_FLASH_CRYPT_CNT_V */;
            for (; bits; bits >>>= 1)
                odd = odd !== !!(bits & 1);
        }
        return odd;
    }
    /** The flash address that the MMU maps at `addr`, rounded down to its page of 64 KB; -1 when `addr` is not mapped. */
    function mappedFlash(chip, addr) {
        var classic = chip === 0 /* Esp32.ESP_CHIP_ID */;
        var s3 = chip === 9 /* Esp32s3.ESP_CHIP_ID */;
        var index = (addr & (classic ? 4194303 /* Esp32.SOC_MMU_VADDR_MASK */ : s3 ? 33554431 /* Esp32s3.SOC_MMU_VADDR_MASK */ : 8388607 /* Esp32c3.SOC_MMU_VADDR_MASK */)) >>> 16;
        var entry = peek32((classic ? 1072758784 /* Esp32.DPORT_PRO_FLASH_MMU_TABLE */ : 1611419648 /* Esp32c3.DR_REG_MMU_TABLE */) + 4 * index, 1);
        // the ESP32 has the masks of the C3
        return entry & (s3 ? 16384 /* Esp32s3.SOC_MMU_INVALID */ | 32768 /* Esp32s3.SOC_MMU_ACCESS_SPIRAM */ : 256 /* Esp32c3.SOC_MMU_INVALID */)
            ? -1
            : (entry & (s3 ? 16383 /* Esp32s3.SOC_MMU_VALID_VAL_MASK */ : 255 /* Esp32c3.SOC_MMU_VALID_VAL_MASK */)) * 0x10000;
    }
    // The partition table: rows of 32 bytes at flash address 0x8000. Pure.
    // Source: docs/formats.md#partition-table (IDF esp_flash_partitions.h, flash_partitions.c, gen_esp32part.py).
    // The bootloader has checked the table's MD5 before this module runs. Here the rows are checked for alignment, bounds and
    // overlap, because a write to the wrong place could destroy the device.
    /** Is it one of ota_0 to ota_15? */
    function isOta(row) {
        return row.type === 0 /* Type.APP */ && row.subtype >= 16 /* Subtype.OTA_0 */ && row.subtype <= 31 /* Subtype.OTA_15 */;
    }
    /** A slot: an app partition that can hold an image and be selected. The test app (0x20) is not a slot. */
    function isSlot(row) {
        return row.type === 0 /* Type.APP */ && (row.subtype === 0 /* Subtype.FACTORY */ || isOta(row));
    }
    function isOtadata(row) {
        return row.type === 1 /* Type.DATA */ && row.subtype === 0 /* DataSubtype.OTADATA */;
    }
    function parseRow(table, offset) {
        return {
            label: lazyBytes().zText_(table, offset + 12, 16),
            type: table[offset + 2],
            subtype: table[offset + 3],
            address: lazyBytes().u32_(table, offset + 4),
            size: lazyBytes().u32_(table, offset + 8),
        };
    }
    /** Are these the two rows that name one Storage for Espruino builds of both kinds (storage.ts)? */
    function isStorageTwice(a, b) {
        var names = a.label + " " + b.label;
        return (a.type === 1 /* Type.DATA */ &&
            b.type === 1 /* Type.DATA */ &&
            a.address === b.address &&
            (names === "js_code storage" || names === "storage js_code"));
    }
    /** Does an update need this row, or does Espruino keep Storage there? */
    function isNeeded(row) {
        return (isSlot(row) || isOtadata(row) || (row.type === 1 /* Type.DATA */ && (row.label === "js_code" || row.label === "storage")));
    }
    function checkRow(row, others) {
        var end = row.address + row.size;
        var problem = "";
        if (row.address % (row.type === 0 /* Type.APP */ ? 0x10000 : 0x1000))
            problem = "is not aligned";
        else if (row.type === 0 /* Type.APP */ && row.size % 0x1000)
            problem = "must have whole sectors";
        else if (!row.size)
            problem = "has 0 bytes";
        else if (end > 16777216 /* Table.FLASH_END */ && isNeeded(row))
            problem = "ends at " + lazyBytes().hex_(end) + ": Espruino addresses 16 MB of flash";
        // only the primary rows of the types bootloader (2) and partition_table (3) may be there
        else if (row.address < 32768 /* Table.ADDR */ + 0x1000 && (row.subtype || (row.type !== 2 && row.type !== 3)))
            problem = "lies on bootloader or table";
        for (var i = 0; !problem && i < others.length; i++)
            if (row.address < others[i].address + others[i].size && others[i].address < end && !isStorageTwice(row, others[i]))
                problem = "overlaps " + others[i].label;
        if (problem)
            throw otaError(259 /* Code.INVALID_STATE */, "partition " + row.label + " at " + lazyBytes().hex_(row.address) + "+" + lazyBytes().hex_(row.size) + " " + problem);
    }
    /**
     * The rows of a table of Table.LENGTH bytes. Throws NOT_SUPPORTED if it is not a table, INVALID_STATE if a row is bad.
     */
    function parseTable(table) {
    var lazyBytesOnce = lazyBytes();
        var rows = [];
        for (var offset = 0; offset < 3072 /* Table.LENGTH */; offset += 32 /* Table.ROW_LENGTH */) {
            var magic = lazyBytesOnce.u16_(table, offset);
            if (rows.length && (magic === 60395 /* Magic.ESP_PARTITION_MD5 */ || magic === 65535 /* Magic.NO_ROW */))
                return rows;
            if (magic !== 20650 /* Magic.ESP_PARTITION */)
                throw otaError(262 /* Code.NOT_SUPPORTED */, "no partition table row at " +
                    lazyBytesOnce.hex_(32768 /* Table.ADDR */ + offset) +
                    ", found " +
                    lazyBytesOnce.hex_(magic) +
                    " (is the flash encrypted?)");
            var row = parseRow(table, offset);
            checkRow(row, rows);
            rows.push(row);
        }
        throw otaError(262 /* Code.NOT_SUPPORTED */, "the partition table has no end");
    }
    // Which slots this device has, which one runs, and which one an update writes. Reads flash, writes nothing.
    // Source: docs/design.md#slots, docs/formats.md#partition-table, docs/espruino.md#no-call-names-the-running-slot.
    var OTADATA_SIZE = 0x2000;
    function notSupported(fact) {
        throw otaError(262 /* Code.NOT_SUPPORTED */, fact);
    }
    /** The otadata partition, or null. The bootloader obeys the last row of its type, so a table with two of them is refused. */
    function findOtadata(rows) {
        var found = null;
        for (var i = 0; i < rows.length; i++)
            if (isOtadata(rows[i])) {
                if (found)
                    notSupported("the partition table has two otadata rows, " +
                        found.label +
                        " and " +
                        rows[i].label +
                        " (Espruino builds of 2019 and 2020): flash a current Espruino with its table once by USB");
                found = rows[i];
            }
        if (found && found.size !== OTADATA_SIZE)
            notSupported("otadata " + found.label + " has " + lazyBytes().hex_(found.size) + " bytes, expected 0x2000");
        return found;
    }
    /** ota_0, ota_1 ... in order. A gap is refused: IDF's app counts slots up to the first gap, its bootloader counts all. */
    function findOta(rows) {
        var ota = [];
        var count = 0;
        for (var i = 0; i < rows.length; i++)
            if (isOta(rows[i])) {
                ota[rows[i].subtype - 16 /* Subtype.OTA_0 */] = rows[i];
                count++;
            }
        var whole = ota.length === count;
        for (var i = 0; i < count; i++)
            if (!ota[i])
                whole = false;
        if (!whole)
            notSupported("the partition table has a gap or a duplicate in its ota_N slots");
        return ota;
    }
    function findFactory(rows) {
        for (var i = 0; i < rows.length; i++)
            if (rows[i].type === 0 /* Type.APP */ && rows[i].subtype === 0 /* Subtype.FACTORY */)
                return rows[i];
        return null;
    }
    /** The header of the image in `slot`, if the MMU maps its first segment from this slot; else null. */
    function mappedHeader(slot, chip) {
        var header = lazyImage().parseHeader_(read$1(slot.address, 32 /* Size.FIRST_SEGMENT */));
        return header && lazyImage().isRunnable_(header, chip) && mappedFlash(chip, header.loadAddr_) === slot.address ? header : null;
    }
    /**
     * The running slot: the MMU maps the first segment of its image from the flash of this slot. The bytes in flash are
     * compared with the mapped ones, so an error about the MMU throws and does not return the wrong slot. Only mapped addresses
     * are read, because a read of an unmapped one resets the chip.
     */
    function findRunning(rows, chip) {
        for (var i = 0; i < rows.length; i++) {
            var slot = rows[i];
            var header = isSlot(slot) ? mappedHeader(slot, chip) : null;
            if (!header)
                continue;
            var length = Math.min(header.length_, 4096 /* Flash.SECTOR */);
            if (binary(read$1(slot.address + 32 /* Size.FIRST_SEGMENT */, length)) === mapped(header.loadAddr_, length))
                return slot;
            throw otaError(261 /* Code.NOT_FOUND */, "the MMU maps slot " + slot.label + ", but its flash differs from the mapped code");
        }
        throw otaError(261 /* Code.NOT_FOUND */, "cannot determine the running slot: the MMU maps none of them");
    }
    /**
     * Reads and checks the device's partitions. Throws NOT_SUPPORTED with the remedy if the table is wrong, or has no slot for
     * another image. With `oneSlot` the latter is accepted, because a release of files alone needs no other slot: then
     * `otadata_` is null. Throws NOT_FOUND if the running slot is unknown.
     */
    function readLayout(oneSlot) {
        var chip = chipId();
        if (isEncrypted(chip))
            notSupported("flash encryption is on: raw writes would be garbage to the bootloader");
        var rows = parseTable(read$1(32768 /* Table.ADDR */, 3072 /* Table.LENGTH */));
        var otadata = findOtadata(rows);
        var ota = findOta(rows);
        var factory = findFactory(rows);
        var missing = !otadata ? "no otadata partition" : ota.length + (factory ? 1 : 0) < 2 ? "only one slot" : "";
        if (missing && !oneSlot)
            notSupported(missing + ": flash a table with two slots once by USB (boards/)");
        return {
            chip_: chip,
            otadata_: missing ? null : otadata,
            ota_: ota,
            factory_: factory,
            running_: findRunning(rows, chip),
        };
    }
    /**
     * The slot that an update writes when `start` runs: the next ota_N. After the last one, and after factory, it is the first
     * one. If this is `start` itself, it is factory (docs/design.md#slots).
     */
    function nextSlot(layout, start) {
        var ota = layout.ota_;
        var next = start.subtype === 0 /* Subtype.FACTORY */ ? ota[0] : ota[(start.subtype - 16 /* Subtype.OTA_0 */ + 1) % ota.length];
        return next.address === start.address ? layout.factory_ : next;
    }
    /** The partition called `label`, and of type `type` if it is given; or null. */
    function partitionByLabel(label, type) {
        var rows = parseTable(read$1(32768 /* Table.ADDR */, 3072 /* Table.LENGTH */));
        for (var i = 0; i < rows.length; i++)
            if (rows[i].label === label && (type === undefined || rows[i].type === type))
                return rows[i];
        return null;
    }
    /** The slot called `label`, or null. */
    function slotByLabel(layout, label) {
        for (var i = 0; i < layout.ota_.length; i++)
            if (layout.ota_[i].label === label)
                return layout.ota_[i];
        return layout.factory_ && layout.factory_.label === label ? layout.factory_ : null;
    }
    // Which slot starts: the calls of IDF's esp_ota_ops.h that do not write an image.
    // Source: docs/design.md#slots (IDF esp_ota_ops.c). Unlike IDF, they depend on the running slot and not on the entry with
    // the highest seq.
    function slotOf(layout, given) {
        var label = typeof given === "string" ? given : given && given.label;
        var slot = slotByLabel(layout, label);
        if (!slot || (typeof given !== "string" && slot.address !== given.address))
            throw otaError(261 /* Code.NOT_FOUND */, "this device has no slot " + label + ": getStatus().slots lists them");
        return slot;
    }
    /**
     * Verifies the slots of `list` by their checksums, one after the other, and calls `choose` with the first good one. It
     * holds the lock, so that no update erases them in this time. `none`: the message of the error when no slot is good; with it
     * a running update is stopped first. Without `none` the error is that of the last slot, and while an update runs it is
     * OTA_ALREADY_IN_PROGRESS.
     * More than 30 lines: each callback needs the lock and both ends of the promise.
     */
    function chooseSlot(list, choose, none) {
        return new Promise(function (resolve, reject) {
            tryOr(function () {
                var layout = readLayout();
                var holder = lazyEngine().heldLock_();
                var lock;
                function fail(error) {
                    lock.release_();
                    reject(error || otaError(259 /* Code.INVALID_STATE */, "selection of a slot aborted"));
                }
                if (none && holder)
                    holder.stop_();
                lock = acquireLock(fail, 0);
                function attempt(slots, error) {
                    var slot = slots.shift();
                    if (!slot)
                        return fail(none ? otaError(5381 /* Code.OTA_ROLLBACK_FAILED */, none) : error);
                    lazyVerify().verifyImage_(layout.chip_, slot.address, slot.size, "", "", function (failure) {
                        if (lazyEngine().heldLock_() !== lock)
                            return;
                        if (failure)
                            return attempt(slots, failure);
                        tryOr(function () {
                            choose(layout, slot, function () {
                                lock.release_();
                                resolve(0 /* Code.OK */);
                            });
                        }, fail);
                    });
                }
                tryOr(function () {
                    attempt(list(layout), null);
                }, fail);
            }, reject);
        });
    }
    /** The other slots: first the one that ran before the trial, then those whose entry shows that their image has run. */
    function slotsToFallBackTo(layout) {
    var lazyOtadataOnce = lazyOtadata();
        var slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
        var entries = lazyOtadataOnce.readEntries_(layout.otadata_);
        var record = lazyRecords().loadRecord_();
        var previous = record.slot === layout.running_.label ? record.previous : "";
        var first = [];
        var rest = [];
        for (var i = 0; i < slots.length; i++) {
            if (slots[i].address === layout.running_.address)
                continue;
            var copy = lazyOtadataOnce.copyOf_(layout, entries, slots[i]);
            if (slots[i].label === previous)
                first.unshift(slots[i]);
            else if (copy >= 0 && entries[copy].valid_ && entries[copy].state_ !== 0 /* State.NEW */)
                first.push(slots[i]);
            else
                rest.push(slots[i]);
        }
        return first.concat(rest);
    }
    /**
     * Rolls back. `verdict`: the program has asked for it; else the starts ran out, or a check failed. `reason`: for
     * getStatus(). `stay`: do not restart.
     * More than 30 lines: its callbacks share both ends of the promise.
     */
    function fallBack(verdict, reason, stay) {
        return new Promise(function (resolve, reject$1) {
            tryOr(function () {
                var running = readLayout(true).running_;
                // a second rollback must not change what the first one has selected
                var again = lazyEngine().isRolledBack_();
                if (again || lazyRecords().isFilesTrial_(lazyRecords().loadRecord_(), running)) {
                    // only the record must change, and at once: the loader calls this before it starts a program
                    var lock = lazyEngine().heldLock_();
                    if (lock)
                        lock.stop_();
                    if (!again)
                        lazyRecords().recordRolledBack_(running, verdict, reason);
                    lazyEngine().setRestartPending_(true);
                    resolve(0);
                    if (!stay)
                        restart();
                    return;
                }
                chooseSlot(slotsToFallBackTo, function (layout, slot, done) {
                    tryOr(function () {
                        // a failed record must not stop the rollback
                        lazyRecords().recordRolledBack_(layout.running_, verdict, reason);
                    }, noop);
                    lazyOtadata().reject_(layout, slot);
                    done();
                    if (!stay)
                        restart();
                }, "no other slot holds a whole image").then(resolve, reject$1);
            }, reject$1);
        });
    }
    // Where an Espruino build keeps Storage, which holds the program and this module. A build finds the headers of files at
    // an address that is compiled in, and reads their contents through the partition with a certain label, at any address
    // (targets/esp32/main.c): `js_code` with 256 KB up to 2v25, `storage` with 896 KB from 2v26 on (boards/ESP32*.py). If the
    // table does not have the partition of an image, no program runs after the restart, and so nothing rolls the image back.
    function refuse(fact) {
        throw otaError(262 /* Code.NOT_SUPPORTED */, "Storage would be lost: " +
            fact +
            "; flash that build once by USB with its own partition table, or set allowStorageLoss");
    }
    /**
     * The label of the partition through which the running build reads. The version alone, such as "2v27.45", does not tell it:
     * some builds of 2v25 are of the new kind, and have a larger Storage.
     */
    function ownPartition() {
        var version = lazyEngine().firmwareVersion_();
        var old = version[0] === "2" && +version.substr(2, 2) <= 25 /* Kind.LAST_OLD */;
        return old && lazyEngine().storageStats_().totalBytes <= 262144 /* Kind.OLD_SIZE */ ? "js_code" : "storage";
    }
    /**
     * Throws NOT_SUPPORTED with the remedy if the image of `claim` could not read the files of the running build.
     * More than 30 lines: one rule after the other, each with its message.
     */
    function checkStorage(claim) {
    var lazyBytesOnce = lazyBytes();
    var lazyBlocksOnce = lazyBlocks();
        var label = claim.partition;
        var row = partitionByLabel(label, 1 /* Type.DATA */);
        if (!row)
            return refuse("the image reads its files through partition " + label + ", which this table does not have");
        if (row.address !== claim.address)
            refuse("the image keeps its files at " +
                lazyBytesOnce.hex_(claim.address) +
                " and reads them through partition " +
                label +
                ", which this table has at " +
                lazyBytesOnce.hex_(row.address));
        if (row.size < claim.size)
            refuse("the image needs " + claim.size + " bytes in partition " + label + ", which has " + row.size);
        var own = ownPartition();
        var ownRow = own === label ? row : partitionByLabel(own, 1 /* Type.DATA */);
        if (!ownRow || ownRow.address !== claim.address)
            refuse("this firmware keeps its files in another place than the image, " + lazyBytesOnce.hex_(claim.address));
        var stats = lazyEngine().storageStats_();
        // the boot record may still grow by this much
        var used = stats.totalBytes - stats.freeBytes + 2 * (4096 /* RecordFile.SIZE */ + 32 /* RecordFile.FILE_HEADER */);
        // if files lie behind the end of a smaller Storage, the build takes this for damage and erases all files
        if (claim.size < stats.totalBytes && used > claim.size)
            refuse("Storage needs " + used + " bytes, with erased files and the boot record; the image has room for " + claim.size);
        // a build with a larger Storage takes bytes behind the present Storage for files
        for (var offset = stats.totalBytes; offset < claim.size; offset += 4096 /* Flash.SECTOR */)
            if (!lazyBlocksOnce.isBlank_(claim.address + offset))
                refuse("flash at " + lazyBytesOnce.hex_(claim.address + offset) + " is not blank, and the image takes it for Storage");
    }
    /**
     * Searches the verified image at `addr` for the text that names the partition of its Storage. The first segment holds
     * the constants of a build. Calls `done` with what such a build claims of this table, null if the image has no such text.
     * More than 30 lines: its steps are closures that share the result.
     */
    function findStorage(addr, done) {
        var end = 32 /* Size.FIRST_SEGMENT */ + lazyBytes().u32_(read$1(addr, 32 /* Size.FIRST_SEGMENT */), 24 /* Size.HEADER */ + 4);
        var offset = 0;
        var found = null;
        function look(label, text, quote) {
            if (text.substr(13 /* Kind.NEEDLE_LENGTH */, label.length + 2 * quote.length) !== quote + label + quote)
                return;
            var row = partitionByLabel(label, 1 /* Type.DATA */);
            found = {
                partition: label,
                address: row ? row.address : 0,
                size: !row || label === "js_code" ? 262144 /* Kind.OLD_SIZE */ : row.size,
            };
        }
        inSlices(8 /* Slice.BLOCKS */, function () {
            var piece = binary(read$1(addr + offset, 1024 /* Flash.PIECE */));
            // at the end of a text the engine's indexOf reports the beginning of a needle as found, repeatedly (2v29)
            for (var from = 0, index = 0;; from = index + 1) {
                index = piece.indexOf("Couldn't map ", from);
                if (index < from)
                    break;
                var text = binary(read$1(addr + offset + index, 22 /* Kind.TEXT_LENGTH */));
                look("js_code", text, "");
                look("storage", text, "'");
            }
            offset += 1024 /* Flash.PIECE */ - 13 /* Kind.NEEDLE_LENGTH */;
            return !found && offset < end;
        }, noop, function (error) { return done(error, found); });
    }
    return { readLayout_: readLayout, nextSlot_: nextSlot, partitionByLabel_: partitionByLabel, slotByLabel_: slotByLabel, slotOf_: slotOf, chooseSlot_: chooseSlot, slotsToFallBackTo_: slotsToFallBackTo, fallBack_: fallBack, checkStorage_: checkStorage, findStorage_: findStorage };
}
/** The partition called `label`, of any type; null when the table has none. `esp_partition_find_first` */
function findPartition(label) {
    return lazySlots().partitionByLabel_(label);
}
/** The slot whose image is running. `esp_ota_get_running_partition` */
function getRunningPartition() {
    return lazySlots().readLayout_(true).running_;
}
/**
 * The slot that otadata selects. It differs from the running one after an update and after a fallback.
 * `esp_ota_get_boot_partition`
 */
function getBootPartition() {
    var layout = lazySlots().readLayout_();
    return lazyOtadata().selectedSlot_(layout, lazyOtadata().readEntries_(layout.otadata_));
}
/**
 * The slot that an update would write. With `from`, a slot or its label, the result is the slot that an update would write
 * if `from` were running, as with IDF's `start_from`. It can then be the running slot, which an update never writes. Throws
 * ESP_ERR_NOT_FOUND when this device has no slot `from`. `esp_ota_get_next_update_partition`
 */
function getNextUpdatePartition(from) {
    var layout = lazySlots().readLayout_();
    return lazySlots().nextSlot_(layout, from ? lazySlots().slotOf_(layout, from) : layout.running_);
}
/**
 * The app descriptor of the image in a partition, given as a partition or by its label, with the fields of
 * `handle.getImgDesc()`. Throws ESP_ERR_NOT_FOUND when the table has no such partition, or when the partition holds no
 * image, or an image without descriptor (IDF 3.2 and older); ESP_ERR_NOT_SUPPORTED when it is not for an app;
 * ESP_ERR_INVALID_ARG when neither a partition nor a label is given. Unlike IDF, it finds no image in a slot whose last
 * update did not end, or was refused. `esp_ota_get_partition_description`
 */
function getDescription(partition) {
    var label = typeof partition === "string" ? partition : partition && partition.label;
    if (typeof label !== "string")
        throw otaError(258 /* Code.INVALID_ARG */, "expected a partition or its label");
    var row = lazySlots().partitionByLabel_(label);
    if (!row || (typeof partition !== "string" && row.address !== partition.address))
        throw otaError(261 /* Code.NOT_FOUND */, "the table has no partition " + label);
    if (row.type !== 0 /* Type.APP */)
        throw otaError(262 /* Code.NOT_SUPPORTED */, "partition " + label + " is not for an app");
    var head = read$1(row.address, 288 /* Size.DESC_END */);
    var desc = lazyImage().parseHeader_(head) && lazyImage().parseDesc_(head);
    if (!desc)
        throw otaError(261 /* Code.NOT_FOUND */, "no app descriptor in " + label + ": expected a whole image of IDF 3.3 or later");
    return desc;
}
/** The slot last marked INVALID or ABORTED, or null. `esp_ota_get_last_invalid_partition` */
function getLastInvalidPartition() {
    var lazyOtadataOnce = lazyOtadata();
    var layout = lazySlots().readLayout_();
    var entries = lazyOtadataOnce.readEntries_(layout.otadata_);
    var found = null;
    var seq = 0;
    for (var i = 0; i < layout.ota_.length; i++) {
        var copy = lazyOtadataOnce.copyOf_(layout, entries, layout.ota_[i]);
        if (copy >= 0 && !entries[copy].valid_ && (!found || entries[copy].seq_ < seq)) {
            found = layout.ota_[i];
            seq = entries[copy].seq_;
        }
    }
    return found;
}
/**
 * `esp_ota_img_states_t` of a slot, given as a partition or by its label: 0 new, 1 pending verify, 2 valid, 3 invalid,
 * 4 0xffffffff undefined. Throws ESP_ERR_NOT_SUPPORTED for factory, ESP_ERR_NOT_FOUND when otadata does not name the
 * slot. `esp_ota_get_state_partition`
 */
function getState(partition) {
    var layout = lazySlots().readLayout_();
    var slot = lazySlots().slotOf_(layout, partition);
    if (slot.subtype === 0 /* Subtype.FACTORY */)
        throw otaError(262 /* Code.NOT_SUPPORTED */, "factory has no state");
    var state = lazyOtadata().stateOf_(layout, slot);
    if (state === undefined)
        throw otaError(261 /* Code.NOT_FOUND */, "otadata does not name " + slot.label);
    return state;
}

/**
 * Verifies the image in a slot, given as a partition or by its label, then makes it the one that starts next. Rejects
 * with ESP_ERR_OTA_ALREADY_IN_PROGRESS while an update is running. `esp_ota_set_boot_partition`
 */
function setBootPartition(partition) {
    return lazySlots().chooseSlot_(function (layout) { return [lazySlots().slotOf_(layout, partition)]; }, function (layout, slot, done) {
        lazyOtadata().select_(layout, slot, 0 /* State.NEW */);
        done();
    });
}
/**
 * Marks the running image and its files as good, so that nothing rolls them back, and erases the files that they
 * replace. `esp_ota_mark_app_valid_cancel_rollback`
 */
function markValid() {
    var layout = lazySlots().readLayout_(true);
    lazyOtadata().confirm_(layout);
    lazyRecords().recordConfirmed_(layout.running_);
    // if this fails, the next update erases them
    tryOr(function () { return lazyFiles().eraseUnused_(null); }, noop);
}

/**
 * Does a slot hold an image that `rollback()` could go back to? It checks the slots that `rollback()` would check, but only
 * header, segments and length of an image. The checksum takes seconds: `rollback()` verifies it before it selects a slot,
 * while IDF verifies it here too. Also true while files alone are on trial, because the files before them come back. Else
 * false on a table with one slot.
 * `esp_ota_check_rollback_is_possible`
 */
function canRollback() {
    var possible = false;
    // any other error, such as NO_MEM, does not answer the question, so it is thrown
    function ignore(error) {
        if (error.code !== 5379 /* Code.OTA_VALIDATE_FAILED */ && error.code !== 262 /* Code.NOT_SUPPORTED */)
            throw error;
    }
    tryOr(function () {
        var layout = lazySlots().readLayout_(true);
        possible = lazyRecords().isFilesTrial_(lazyRecords().loadRecord_(), layout.running_);
        // without otadata no other slot can start
        if (layout.otadata_)
            lazySlots().slotsToFallBackTo_(layout).forEach(function (slot) {
                tryOr(function () {
                    lazyImage().walkSegments_(layout.chip_, slot.size, function (offset, length) { return read$1(slot.address + offset, length); });
                    possible = true;
                }, ignore);
            });
    }, ignore);
    return possible;
}

/**
 * Marks the running image as bad, selects another slot that holds a whole image, and restarts. While a release of files
 * alone is on trial, the files before it come back, and the slot stays. A running update is
 * ended. With `{ restart: false }` it does not restart (`esp_ota_mark_app_invalid_rollback`), and resolves with 0 when
 * the other slot is selected; until the restart an update is refused with ESP_ERR_OTA_ROLLBACK_INVALID_STATE, because it
 * would overwrite that slot. Any other argument is ignored, such as the error in `check().then(ota.markValid,
 * ota.rollback)`: a rollback must not fail because of it. Rejects with ESP_ERR_OTA_ROLLBACK_FAILED when no other slot holds
 * a whole image.
 * `esp_ota_mark_app_invalid_rollback_and_reboot`
 */
function rollback(options) {
    var reason = options && options.reason;
    return lazySlots().fallBack_(true, typeof reason === "string" ? reason : "rollback() was called", !!options && options.restart === false);
}

function lazyExchange() {
    // Requests of Espruino's `http`, and the internal fields of the engine that they have (libs/network/http/jswrap_http.c,
    // libs/network/socketserver.c).
    /**
     * Checks the caller's headers and returns a copy, which the caller cannot change any more. Throws INVALID_ARG if they are
     * not an object, or contain a control character: a line end would begin another header.
     */
    function checkHeaders(headers) {
        var checked = {};
        if (typeof headers !== "object" || !headers)
            throw otaError(258 /* Code.INVALID_ARG */, "headers must be an object");
        Object.keys(headers).forEach(function (name) {
            var value = "" + headers[name];
            var line = name + value;
            for (var i = 0; i < line.length; i++)
                if (line.charCodeAt(i) < 32)
                    throw otaError(258 /* Code.INVALID_ARG */, "header " + name + " has a control character");
            checked[name] = value;
        });
        return checked;
    }
    /**
     * Makes a request, with `body` if it is given. Throws what the engine throws: unknown host, refused connection, no memory
     * for TLS.
     */
    function request(options, onResponse, onError, body) {
        var outgoing = require("http").request(options, onResponse);
        if (!outgoing)
            throw otaError(28674 /* Code.HTTP_CONNECT */, "no network", true);
        outgoing.on("error", onError);
        outgoing.end(body);
        return outgoing;
    }
    /** Frees the options of the request and the headers of the answer: they are not needed while the body arrives. */
    function dropHead(outgoing, response) {
        response.headers = undefined;
        outgoing.opt = undefined;
    }
    /** Makes the engine close a connection. */
    function disconnect$1(outgoing, response) {
        if (outgoing) {
            outgoing.clsNow = true;
            outgoing.dRcv = "";
        }
        // the engine never closes while it waits for the rest of a chunk, or while received data was not taken
        if (response)
            response.chunked = false;
    }
    // What the head of an answer says about its body: status, length, range, validators, Retry-After. Pure.
    // Source: RFC 9110; IDF esp_https_ota.c for what each status means.
    /**
     * In ms. Last-Modified is strong if the file was at least this old when it was sent: no other version of the file can have
     * the same time. RFC 9110 8.8.2.2 asks for a second; RFC 7232 asked for a minute, because Date and Last-Modified may come
     * from two clocks.
     */
    var OLD = 60000;
    /** The value of a decimal number of at most ten digits without a sign; -1 for any other text. */
    function digits(text) {
        var value = text.length && text.length < 11 ? 0 : -1 /* Length.UNKNOWN */;
        for (var i = 0; i < text.length && value >= 0; i++) {
            var digit = text.charCodeAt(i) - 48;
            value = digit >= 0 && digit <= 9 ? value * 10 + digit : -1 /* Length.UNKNOWN */;
        }
        return value;
    }
    /** The value of a header by its lower-case name, "" when it is absent. The engine keeps each spelling as another key. */
    function header(headers, name) {
        var value;
        for (var key in headers)
            if (key.toLowerCase() === name) {
                if (value !== undefined)
                    throw otaError(264 /* Code.INVALID_RESPONSE */, "header " + name + " came twice");
                value = headers[key];
            }
        return value || "";
    }
    /** Retry-After in ms, RFC 9110 10.2.3: seconds, or a date, compared with the Date of the answer. 0 when absent. */
    function retryAfter(headers) {
        var text = header(headers, "retry-after");
        var seconds = digits(text);
        if (seconds >= 0)
            return seconds * 1000;
        var sent = Date.parse(header(headers, "date"));
        // the engine's Date.parse returns 0 for a text that is not a date
        var wait = sent > 0 ? Date.parse(text) - sent : 0;
        if (wait > 0)
            return wait;
        return 0; // absent, in the past, or not a date
    }
    /** Throws unless the status is 200 or 206, with ESP-IDF's code for it (esp_https_ota.c _http_handle_response_code). */
    function checkStatus(status, headers) {
        if (status === 200 || status === 206)
            return;
        if (status === 416 && header(headers, "content-range") === "bytes */0")
            throw otaError(260 /* Code.INVALID_SIZE */, "the file is empty");
        var code = 264 /* Code.INVALID_RESPONSE */;
        if (status === 304)
            code = 28681 /* Code.HTTP_NOT_MODIFIED */;
        else if (status === 416)
            code = 28682 /* Code.HTTP_RANGE_NOT_SATISFIABLE */;
        else if (status >= 400)
            code = -1 /* Code.FAIL */;
        // the engine takes an interim answer (1xx) for the final one
        var busy = status === 408 || status === 425 || status === 429 || status >= 500 || (status > 0 && status < 200);
        var error = otaError(code, "HTTP status " + status, busy);
        if (status === 416)
            error.total_ = digits(header(headers, "content-range").substr(8)); // "bytes */1000"
        if (busy)
            error.wait_ = retryAfter(headers);
        throw error;
    }
    /** Content-Range of a 206, RFC 9110 14.4: "bytes 0-99/1000", or "bytes 0-99/*" where the server does not know the total. */
    function parseRange(text, head) {
        var dash = text.indexOf("-");
        var slash = text.indexOf("/");
        var first = digits(text.substring(6, dash));
        var last = digits(text.substring(dash + 1, slash));
        var size = text.substr(slash + 1);
        var total = digits(size);
        if (text.substr(0, 6).toLowerCase() !== "bytes " || first < 0 || last < first || (total <= last && size !== "*"))
            throw otaError(264 /* Code.INVALID_RESPONSE */, "invalid Content-Range " + text);
        if (head.length_ !== -1 /* Length.UNKNOWN */ && head.length_ !== last - first + 1)
            throw otaError(264 /* Code.INVALID_RESPONSE */, "invalid Content-Range " + text + " with Content-Length " + head.length_);
        head.start_ = first;
        head.length_ = last - first + 1;
        head.total_ = total;
    }
    /**
     * What the head of the final answer says; or the Location of a redirect. Throws for every other answer.
     * More than 30 lines: one header after the other.
     */
    function parseAnswer(status, headers) {
        if (status === 301 || status === 302 || status === 303 || status === 307 || status === 308) {
            var location = header(headers, "location");
            if (!location)
                throw otaError(264 /* Code.INVALID_RESPONSE */, "redirect without Location");
            return location;
        }
        checkStatus(status, headers);
        var length = header(headers, "content-length");
        var transfer = header(headers, "transfer-encoding").toLowerCase();
        var coding = header(headers, "content-encoding").toLowerCase();
        if (coding && coding !== "identity")
            throw otaError(264 /* Code.INVALID_RESPONSE */, "not supported: Content-Encoding " + coding);
        if (transfer && (transfer !== "chunked" || length))
            throw otaError(264 /* Code.INVALID_RESPONSE */, "not supported: Transfer-Encoding " + transfer + (length ? " with Content-Length" : ""));
        // the engine ends a body without either of them after its first piece
        if (!transfer && digits(length) < 0)
            throw otaError(264 /* Code.INVALID_RESPONSE */, length ? "invalid Content-Length " + length : "neither Content-Length nor chunked");
        var tag = header(headers, "etag");
        var strong = tag[0] === '"';
        if (!tag) {
            tag = header(headers, "last-modified");
            var modified = Date.parse(tag);
            strong = modified > 0 && Date.parse(header(headers, "date")) - modified >= OLD;
        }
        var head = {
            status_: status,
            start_: 0,
            length_: transfer ? -1 /* Length.UNKNOWN */ : digits(length),
            total_: -1 /* Length.UNKNOWN */,
            tag_: tag,
            strong_: strong,
        };
        if (status === 206)
            parseRange(header(headers, "content-range"), head);
        else
            head.total_ = head.length_;
        return head;
    }
    // URLs: parsed for `http.request`, and resolved against the page that has named them (RFC 3986 5.2). Pure.
    // The engine's own url.parse does not know user:password and relative references.
    var MAX_HOST = 127; // the engine copies the host into 128 bytes (libs/network/socketserver.c)
    function bad(url, why) {
        throw otaError(258 /* Code.INVALID_ARG */, "invalid URL " + url + ": " + why);
    }
    /**
     * Parses an absolute http or https URL; throws INVALID_ARG. A fragment is dropped.
     * More than 30 lines: one part of a URL after the other, from left to right.
     */
    function parseUrl(url) {
        for (var i = 0; i < url.length; i++) {
            var code = url.charCodeAt(i);
            // a blank or a line end would end the request line early
            if (code <= 32 || code >= 127)
                bad(url, "character code " + code);
        }
        var hash = url.indexOf("#");
        var text = hash < 0 ? url : url.substr(0, hash);
        var colon = text.indexOf(":");
        var protocol = text.substr(0, colon + 1).toLowerCase();
        if ((protocol !== "http:" && protocol !== "https:") || text.substr(colon, 3) !== "://")
            bad(url, "expected http:// or https://");
        var rest = text.substr(colon + 3);
        var end = rest.length;
        var slash = rest.indexOf("/");
        var query = rest.indexOf("?");
        if (slash >= 0)
            end = slash;
        if (query >= 0 && query < end)
            end = query;
        var path = rest.substr(end);
        if (path[0] !== "/")
            path = "/" + path;
        rest = rest.substr(0, end);
        var at = rest.lastIndexOf("@");
        var host = rest.substr(at + 1);
        var portAt = host.indexOf(":");
        var name = portAt < 0 ? host : host.substr(0, portAt);
        var port = 0;
        for (var i = portAt + 1; portAt >= 0 && i < host.length; i++) {
            var digit = host.charCodeAt(i) - 48;
            port = digit >= 0 && digit <= 9 ? port * 10 + digit : 65536;
        }
        var auth = "";
        try {
            if (at > 0)
                auth = decodeURIComponent(rest.substr(0, at));
        }
        catch (_) {
            bad(url, "user and password");
        }
        var noPort = portAt >= 0 && portAt < host.length - 1 && !port;
        if (!name || name.length > MAX_HOST || name[0] === "[" || port > 65535 || noPort)
            bad(url, "host " + host);
        return {
            protocol_: protocol,
            host_: name.toLowerCase(),
            port_: port,
            path_: path,
            auth_: auth,
        };
    }
    function portOf(url) {
        return url.port_ || (url.protocol_ === "https:" ? 443 : 80);
    }
    function sameOrigin(a, b) {
        return a.protocol_ === b.protocol_ && a.host_ === b.host_ && portOf(a) === portOf(b);
    }
    /**
     * Removes dot segments (RFC 3986 5.2.4) from a path that begins with "/". Only called for relative references: an absolute
     * URL is sent as it was given. It takes one segment at a time, because a server chooses their number.
     */
    function withoutDots(path) {
        var kept = "";
        var at = 0;
        while (at < path.length) {
            var end = path.indexOf("/", at + 1);
            if (end < 0)
                end = path.length;
            var part = path.substring(at, end);
            if (part === "/..")
                kept = kept.substr(0, Math.max(0, kept.lastIndexOf("/")));
            if (part !== "/.." && part !== "/.")
                kept += part;
            else if (end === path.length)
                kept += "/";
            at = end;
        }
        return kept;
    }
    /** The absolute URL of a reference on a page at `base`. `given` is absolute, //host/path, /path, path or ?query. */
    function resolveUrl(base, given) {
        var page = parseUrl(base);
        var hash = given.indexOf("#");
        var reference = hash < 0 ? given : given.substr(0, hash);
        var question = reference.indexOf("?");
        var beforeQuery = question < 0 ? reference : reference.substr(0, question);
        var colon = beforeQuery.indexOf(":");
        var slash = beforeQuery.indexOf("/");
        if (colon >= 0 && (slash < 0 || colon < slash))
            return reference;
        if (reference.substr(0, 2) === "//")
            return page.protocol_ + reference;
        var origin = page.protocol_ + "//" + page.host_ + (page.port_ ? ":" + page.port_ : "");
        var pageQuery = page.path_.indexOf("?");
        var pagePath = pageQuery < 0 ? page.path_ : page.path_.substr(0, pageQuery);
        if (!reference)
            return origin + page.path_;
        if (!beforeQuery)
            return origin + pagePath + reference;
        var path = slash === 0 ? beforeQuery : pagePath.substr(0, pagePath.lastIndexOf("/") + 1) + beforeQuery;
        return origin + withoutDots(path) + reference.substr(beforeQuery.length);
    }
    // One exchange: a GET, its redirects, the status and length of its answer, the body as it arrives, a stall timer. Callbacks
    // come from the engine's idle loop.
    //
    //   state                       left when
    //   no answer yet               an answer comes, or an error; after a redirect the state begins again
    //   body of a known length      its last byte comes, or the connection is lost before
    //   body of an unknown length   the connection ends
    //   done                        never: no event comes any more
    //
    // `end` and `close` of the engine come after a complete body and after a cut one. So the bytes are counted. A chunked body
    // says no length: there only the content of the file shows whether it is complete.
    // Source: docs/design.md#answers-of-a-server, docs/espruino.md#http.
    function giveUpConnection(exchange) {
        exchange.inbox_.room_ = 0; // now a late listener of this connection adds nothing to the inbox
        disconnect$1(exchange.outgoing_, exchange.incoming_);
        exchange.outgoing_ = exchange.incoming_ = undefined;
    }
    function closeExchange(exchange) {
        exchange.done_ = true;
        giveUpConnection(exchange);
        if (exchange.timer_ !== undefined)
            cancel(exchange.timer_);
        exchange.timer_ = undefined;
    }
    function endExchange(exchange, error) {
        if (exchange.done_)
            return;
        if (error && exchange.incoming_ && exchange.status_ > 0)
            error.status = exchange.status_;
        closeExchange(exchange);
        exchange.onEnd_(error);
    }
    /** The caller's headers. If they are a function, it is called; an error that it throws becomes INVALID_ARG. */
    function ownHeaders(options) {
        var given = options.headers || {};
        if (typeof given !== "function")
            return given;
        var headers;
        try {
            headers = given();
        }
        catch (thrown) {
            throw otaError(258 /* Code.INVALID_ARG */, "headers() threw: " + toOtaError(thrown).message);
        }
        // the function may have ended the update: then nothing is sent any more
        if (!options.cancel_)
            throw otaError(259 /* Code.INVALID_STATE */, "update aborted");
        return checkHeaders(headers);
    }
    /** Options of a request to `target` that sends `headers`. */
    function requestTo(target, method, headers) {
        var wanted = {
            protocol: target.protocol_,
            host: target.host_,
            path: target.path_,
            method: method,
            headers: headers,
        };
        if (target.port_)
            wanted.port = target.port_;
        return wanted;
    }
    /** Makes the request. An error of the engine (unknown host, refused connection) becomes HTTP_CONNECT with `retry`. */
    function openRequest(wanted, onResponse, onError, body) {
        try {
            return request(wanted, onResponse, onError, body);
        }
        catch (thrown) {
            throw thrown.retry !== undefined ? thrown : otaError(28674 /* Code.HTTP_CONNECT */, wanted.host + ": " + thrown.message, true);
        }
    }
    /**
     * Sends the request. Headers, password, certificate and key of the user go only to the origin of `options.url`, and not
     * even there after a redirect by another origin.
     */
    function send(exchange, onResponse, onError) {
        var options = exchange.options_;
        var origin = parseUrl(options.url);
        var target = parseUrl(exchange.url_);
        var headers = {};
        var wanted = requestTo(target, "GET", headers);
        if (exchange.trusted_ && sameOrigin(origin, target)) {
            var own = ownHeaders(options);
            for (var name in own)
                headers[name] = own[name];
            if (origin.auth_)
                headers.Authorization = "Basic " + lazyBytes().base64_(origin.auth_);
            if (options.ca)
                wanted.ca = options.ca;
            if (options.cert)
                wanted.cert = options.cert;
            if (options.key)
                wanted.key = options.key;
        }
        for (var name in exchange.extra_)
            headers[name] = exchange.extra_[name];
        return openRequest(wanted, onResponse, onError);
    }
    /** The error for a connection that ended too early. `code`: of the engine or of mbedTLS, undefined without an error. */
    function lostConnection(exchange, code, message) {
        var page = parseUrl(exchange.url_);
        var inbox = exchange.inbox_;
        var endless = inbox.end_ === 2147483647 /* Body.ENDLESS */;
        var left = inbox.end_ - inbox.offset_ - inbox.filled_ - inbox.buffered_.length;
        var why = code ? ": " + message + " (" + code + ")" : "";
        // the engine prints why a handshake failed, and reports only one of its own codes
        if (!exchange.answered_ && code && code > -16 /* Tls.ENGINE */ && page.protocol_ === "https:")
            why +=
                ". If it needs a host name (SNI): firmware built since August 2026 sends it, 2v29 does not; or use http: with keys";
        var lost = exchange.answered_
            ? otaError(28684 /* Code.HTTP_INCOMPLETE_DATA */, "connection lost" + (endless ? "" : ", " + left + " bytes missing") + why, true)
            : otaError(28674 /* Code.HTTP_CONNECT */, "no answer from " + page.host_ + why, true);
        lost.record_ = code === -29184 /* Tls.INVALID_RECORD */ || code === -28928 /* Tls.BAD_INPUT_DATA */;
        return lost;
    }
    /** The connection has ended, with or without an error. */
    function connectionGone(exchange, error) {
        var failure = error;
        var code = failure && failure.code;
        // the response of a redirect may close late, after the next request was sent
        if (!exchange.outgoing_ || !(code || exchange.incoming_))
            return;
        // a TLS server ends a body of unknown length in this way
        var ended = exchange.answered_ && exchange.inbox_.end_ === 2147483647 /* Body.ENDLESS */ && (!code || code === -30848 /* Tls.CLOSE_NOTIFY */);
        endExchange(exchange, ended ? null : lostConnection(exchange, code, code ? failure.message : ""));
    }
    function stalled(exchange) {
        var host = parseUrl(exchange.url_).host_;
        endExchange(exchange, otaError(28683 /* Code.HTTP_READ_TIMEOUT */, "nothing from " + host + " for " + exchange.options_.timeout + " ms", true));
    }
    /** Follows a redirect to `location`, in another idle pass. */
    function redirect(exchange, location) {
        var options = exchange.options_;
        if (++exchange.redirects_ > options.maxRedirects)
            throw otaError(28673 /* Code.HTTP_MAX_REDIRECT */, "more than " + options.maxRedirects + " redirects");
        var page = parseUrl(exchange.url_);
        var next = resolveUrl(exchange.url_, location);
        var target;
        try {
            target = parseUrl(next); // here, because an error in the timer below would leak its memory
        }
        catch (thrown) {
            // not INVALID_ARG: the caller's own URL was valid
            throw otaError(264 /* Code.INVALID_RESPONSE */, "Location: " + thrown.message);
        }
        if (!sameOrigin(page, parseUrl(options.url)))
            exchange.trusted_ = false;
        if (page.protocol_ === "https:" && target.protocol_ !== "https:")
            throw otaError(28685 /* Code.HTTP_REDIRECT_DOWNGRADE */, "redirect from https to " + next);
        exchange.url_ = next;
        giveUpConnection(exchange);
        var fail = function (error) { return endExchange(exchange, error); };
        after(20 /* Pause.SETTLE */, function () {
            // one more pass: in an idle pass the engine runs timers before it closes connections
            tryOr(function () {
                after(0, function () {
                    if (!exchange.done_)
                        tryOr(exchange.connect_, fail);
                });
            }, fail);
        });
    }
    /** The head of an answer has arrived. */
    function onAnswer(exchange, response) {
        exchange.status_ = digits(response.statusCode);
        var head = parseAnswer(exchange.status_, response.headers);
        dropHead(exchange.outgoing_, response);
        if (typeof head === "string")
            return redirect(exchange, head);
        exchange.answered_ = true;
        exchange.inbox_.end_ = head.length_ < 0 ? 2147483647 /* Body.ENDLESS */ : head.start_ + head.length_;
        exchange.onHead_(head);
        if (!head.length_)
            endExchange(exchange, null);
    }
    return { checkHeaders_: checkHeaders, disconnect_: disconnect$1, parseAnswer_: parseAnswer, parseUrl_: parseUrl, resolveUrl_: resolveUrl, giveUpConnection_: giveUpConnection, closeExchange_: closeExchange, endExchange_: endExchange, requestTo_: requestTo, openRequest_: openRequest, send_: send, connectionGone_: connectionGone, stalled_: stalled, onAnswer_: onAnswer };
}




function lazyConfig() {
    // The configuration of a call, and its check, which comes before anything else.
    function refuse$2(fact) {
        throw otaError(258 /* Code.INVALID_ARG */, fact);
    }
    var DER = "0"; // the first byte of a certificate or key: a SEQUENCE, 0x30
    // Every field with an example of its type; the example of a number is its default.
    var FIELDS = {
        url: "",
        source: refuse$2,
        push: false,
        manifest: "",
        keys: [],
        digest: "",
        insecure: true,
        headers: {},
        ca: DER,
        cert: DER,
        key: DER,
        timeout: 20000,
        deadline: 3600000,
        retries: 5,
        maxRedirects: 5,
        maxRequestSize: 0,
        threshold: 1,
        allowSameVersion: false,
        allowDowngrade: false,
        allowRolledBack: false,
        allowStorageLoss: false,
        allowSavedState: false,
        allowUnconfirmed: false,
        allowEarly: false,
        project: "",
        partition: "",
        onEvent: refuse$2,
    };
    /**
     * A copy of `config` with defaults. Throws INVALID_ARG with the name of the field: for an unknown one, for a wrong
     * type, and unless exactly one field says which image may run.
     * More than 30 lines: one rule after the other, each with its message.
     */
    function checkConfig(config) {
        var fields = config;
        var settings = {};
        var names = Object.keys(FIELDS);
        if (typeof fields !== "object" || !fields)
            refuse$2("the configuration must be an object");
        names.forEach(function (name) {
            if (typeof FIELDS[name] === "number")
                settings[name] = FIELDS[name];
        });
        // own fields only: the caller did not write the fields of a prototype
        Object.keys(fields).forEach(function (name) {
            var value = fields[name];
            if (value === undefined)
                return;
            if (names.indexOf(name) < 0)
                refuse$2("unknown field " + name);
            var type = typeof FIELDS[name];
            var callable = name === "headers" && typeof value === "function";
            if ((typeof value !== type && !callable) || value === null)
                refuse$2(name + " must be a " + type);
            if (type === "number" && !(value >= 0 && Math.floor(value) === value))
                refuse$2(name + " must be a whole number");
            // the engine takes a text of up to 100 characters as the name of a file
            if (FIELDS[name] === DER && value.length > 100 && value[0] !== DER)
                refuse$2(name + " is not DER: give atob() of the base64 between the lines of its PEM");
            settings[name] = value;
        });
        if (settings.push && settings.source)
            refuse$2("expected source or push, not both");
        if (!settings.url && !settings.source && !settings.push)
            refuse$2("url is missing: or give source, or push");
        if (!settings.url)
            settings.url = "";
        if (settings.manifest && !settings.keys)
            refuse$2("manifest needs keys");
        if (settings.push && settings.keys && !settings.manifest)
            refuse$2("push with keys needs manifest");
        if (!settings.timeout)
            refuse$2("timeout must be above 0");
        if ((settings.keys ? 1 : 0) + (settings.digest ? 1 : 0) + (settings.insecure ? 1 : 0) !== 1)
            refuse$2("expected exactly one of keys, digest, insecure: TLS in Espruino authenticates nobody");
        var checked = settings;
        if (typeof checked.headers === "object")
            checked.headers = lazyExchange().checkHeaders_(checked.headers);
        if (checked.threshold < 1 ||
            checked.threshold > 2 ||
            (checked.threshold > 1 && checked.keys && checked.keys.length < 2))
            refuse$2("threshold is " + checked.threshold + ": expected 1 or 2, and as many keys");
        // fsverity-utils prints it with the shorter prefix
        if (checked.digest && lazyBytes().parseDigest_(checked.digest, "sha256:" /* Prefix.MANIFEST */))
            checked.digest = "fsverity-" + checked.digest;
        if (checked.digest && !lazyBytes().parseDigest_(checked.digest, "fsverity-sha256:" /* Prefix.CONFIG */))
            refuse$2("digest must be " + "fsverity-sha256:" /* Prefix.CONFIG */ + " and 64 hexadecimal digits");
        return checked;
    }
    return { checkConfig_: checkConfig };
}
































/**
 * Sends a GET for `from`. `onEnd` is called once, and last: with null when every announced byte has arrived (chunked: when
 * the server has ended the body). `extra`: the module's own headers, which every origin gets. Throws errors that are known
 * at once: an invalid URL, an unknown host, a refused connection. Returns the function that ends the exchange; after it,
 * and after `onEnd`, no event comes.
 * More than 60 lines: a table of fields, and the listeners, which must be closures.
 */
function get(options, from, extra, inbox, onHead, onBody, onEnd) {
    var exchange = {
        inbox_: inbox,
        options_: options,
        extra_: extra,
        url_: from,
        redirects_: 0,
        trusted_: true,
        quiet_: 0,
        status_: -1,
        answered_: false,
        done_: false,
        onHead_: onHead,
        onEnd_: onEnd,
    };
    var end = function (error) { return lazyExchange().endExchange_(exchange, error); };
    var onGone = function (error) { return lazyExchange().connectionGone_(exchange, error); };
    /** Takes a piece that fills a block of the inbox or ends the body; and every piece while no consumer reads in blocks. */
    function onPiece(data) {
        if (!exchange.incoming_)
            return;
        exchange.quiet_ = 0;
        try {
            if (inbox.room_ && inbox.full_ && inbox.full_(data))
                return;
            var left = inbox.end_ - inbox.offset_ - inbox.filled_ - inbox.buffered_.length;
            if (data.length < left)
                return onBody(data);
            // the engine delivers bytes beyond the announced length too
            lazyExchange().giveUpConnection_(exchange);
            onBody(data.length > left ? data.substr(0, left) : data);
            lazyExchange().endExchange_(exchange, null);
        }
        catch (thrown) {
            lazyExchange().giveUpConnection_(exchange); // the consumer refused the content: this error must not get the HTTP status
            end(toOtaError(thrown));
        }
    }
    /** Hot path for most pieces of a body. The engine reads even the code that it skips, so this function is short. */
    function onData(data) {
        var filled = inbox.filled_ + data.length;
        if (filled < inbox.room_) {
            inbox.filled_ = filled;
            inbox.pieces_.push(data);
        }
        else
            onPiece(data);
    }
    function onResponse(response) {
        if (!exchange.outgoing_)
            return;
        tryOr(function () {
            exchange.quiet_ = 0;
            exchange.incoming_ = response;
            // at once, for every answer: the engine never closes a connection whose body has no listener
            response.on("data", onData);
            response.on("close", onGone);
            lazyExchange().onAnswer_(exchange, response);
        }, end);
    }
    exchange.connect_ = function () {
        exchange.outgoing_ = lazyExchange().send_(exchange, onResponse, onGone);
    };
    function tick() {
        if (exchange.done_)
            return;
        // onData() does not reset quiet_: it only fills the inbox
        if (exchange.seen_ !== inbox.filled_)
            exchange.quiet_ = 0;
        exchange.seen_ = inbox.filled_;
        if (++exchange.quiet_ > 4)
            return lazyExchange().stalled_(exchange);
        tryOr(function () {
            exchange.timer_ = after(options.timeout / 4, tick);
        }, end);
    }
    exchange.timer_ = after(options.timeout / 4, tick);
    try {
        exchange.connect_();
    }
    catch (thrown) {
        lazyExchange().closeExchange_(exchange);
        throw thrown;
    }
    return function () { return lazyExchange().closeExchange_(exchange); };
}





function lazyDownload() {
    // Downloads one file, over one connection or several. Only bytes that the consumer has not taken are buffered. When the
    // consumer pauses, the connection is closed; later it is opened again with Range. A server without ranges then sends the
    // file from byte 0, and the consumer starts again there (Inbox.offset_).
    //
    //   state        marked by                    left when
    //   waiting      timer_                       the timer fires: buffered bytes are delivered, then it connects
    //   connected    disconnect_                  the last byte or an error comes, or the consumer pauses
    //   paused       neither, and no consumer_    read() is called
    //   ended        ended_                       seek() is called
    //   broken       broken_                      never
    //
    // Source: docs/espruino.md#data-is-pushed, docs/decisions/resume-without-state.md.
    /** Bytes of the file that were received: the offset of the next one. */
    function received(download) {
        var inbox = download.inbox_;
        return inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
    }
    function disconnect(download) {
        var bytes = received(download);
        if (bytes > download.best_) {
            download.best_ = bytes;
            download.failures_ = download.restarts_ = 0;
        }
        if (download.disconnect_) {
            download.disconnect_();
            download.closing_ = true;
        }
        download.disconnect_ = null;
        if (download.timer_ !== undefined)
            cancel(download.timer_);
        download.timer_ = undefined;
    }
    /** Ends the download with `error`. */
    function settle(download, error) {
        var waiting = download.consumer_;
        disconnect(download);
        download.consumer_ = null;
        download.broken_ = error;
        if (waiting)
            download.failed_(error);
    }
    function goTo(download, offset) {
        var inbox = download.inbox_;
        inbox.offset_ = offset;
        inbox.pieces_ = [];
        inbox.filled_ = inbox.room_ = 0;
        inbox.buffered_ = "";
        download.ended_ = false;
        if (!offset)
            download.mixed_ = download.changes_;
    }
    function resumeAfter(download, ms) {
        tryOr(function () {
            if (download.timer_ !== undefined)
                cancel(download.timer_);
            // until the timer fires, received bytes are buffered in order
            download.inbox_.room_ = 0;
            download.timer_ = after(ms, download.resume_);
        }, function (error) { return settle(download, error); });
    }
    /** Does this answer belong to the file whose bytes are buffered? */
    function isSameFile(download, head) {
        var total = head.total_;
        // an answer to If-Range may omit Last-Modified (RFC 9110 15.3.7), but not ETag, which has quotes
        var sameTag = head.tag_ === download.tag_ || (!head.tag_ && download.tag_.indexOf('"') < 0);
        return sameTag && (total < 0 || download.total_ < 0 || total === download.total_);
    }
    /** Checks an answer with a body. False: its bytes cannot be used, and another request must follow. */
    function acceptHead(download, head) {
        var wanted = received(download);
        var total = head.total_;
        if (download.known_ && !isSameFile(download, head)) {
            if (download.changes_++)
                throw otaError(264 /* Code.INVALID_RESPONSE */, "the file changed again");
            goTo(download, 0);
            download.known_ = false;
            if (head.start_)
                return false;
        }
        else if (head.start_ !== wanted) {
            if (head.start_)
                throw otaError(264 /* Code.INVALID_RESPONSE */, "Content-Range starts at " + head.start_ + ", expected " + wanted);
            // a server without ranges sends the file from byte 0 after each pause of the consumer: without a limit this never ends
            if (download.restarts_++ > download.options_.retries)
                throw otaError(262 /* Code.NOT_SUPPORTED */, "server ignored Range: expected byte " + wanted);
            goTo(download, 0);
        }
        if (total > download.limit_)
            throw otaError(260 /* Code.INVALID_SIZE */, "file of " + total + " bytes, expected at most " + download.limit_);
        if (head.start_ && !download.strong_)
            download.mixed_ = 1;
        if (total >= 0 || !head.start_)
            download.total_ = total;
        download.part_ = total < 0 && head.length_ >= 0;
        if (head.tag_ || !head.start_) {
            download.tag_ = head.tag_;
            download.strong_ = head.strong_;
        }
        download.known_ = true;
        return true;
    }
    function onHead(download, head) {
        download.status_ = head.status_;
        if (!acceptHead(download, head)) {
            disconnect(download);
            return resumeAfter(download, 20 /* Pause.SETTLE */);
        }
        if (!download.connected_)
            download.onConnected_("CONNECTED");
        download.connected_ = true;
    }
    /** The last byte has arrived, or more bytes than the limit. */
    function onLastByte(download) {
        if (download.total_ < 0)
            throw otaError(260 /* Code.INVALID_SIZE */, "file of more than " + download.limit_ + " bytes");
        download.ended_ = true;
    }
    /**
     * After a TLS record that was too large for the buffer: chooses a smaller range. A server fills records of up to 16 KB, and
     * the engine does not ask it for smaller ones. Some servers begin with small records: then a range of the `fresh` bytes
     * that came before the large record fits. With other servers the whole answer, head and body, must fit into one record.
     * The next file is requested in such ranges too. Returns the error of the download if no range is small enough.
     */
    function narrowRange(options, fresh) {
        var size = options.maxRequestSize;
        options.maxRequestSize = fresh >= 7168 /* Range.FITTING */ ? fresh : size && size <= 7168 /* Range.FITTING */ ? size >> 1 : 7168 /* Range.FITTING */;
        if (options.maxRequestSize >= 512 /* Range.LEAST */)
            return null;
        return otaError(262 /* Code.NOT_SUPPORTED */, "TLS records too large for this build, even in ranges of " +
            size +
            " bytes: use http: with keys, or a server with ranges and short headers");
    }
    /** ms until the next attempt, after `error`. They differ between devices that lost the server at the same moment. */
    function backoff(download, error) {
        return Math.max(Math.min(1000 /* Wait.FIRST */ * Math.pow(2, download.failures_), 32000 /* Wait.MAX */) * (0.5 + lazyEngine().spread_(download.failures_++) / 2), Math.min(error.wait_ || 0, 300000 /* Wait.RETRY_AFTER */));
    }
    /** The end of an answer, or of a connection. */
    function onEnd(download, error) {
        var bytes = received(download);
        var fresh = bytes - download.best_;
        var wait = 20 /* Pause.SETTLE */;
        var final = null;
        disconnect(download);
        if (error && error.status)
            download.status_ = error.status;
        // 416 at the end of a file of unknown length: the file is complete. Only the end of its chunked body was missing, or the
        // last part ended the file
        if (!error || (download.total_ < 0 && (error.total_ === bytes || (download.part_ && error.total_ < 0)))) {
            if (download.total_ < 0 ? error || !download.part_ : bytes >= download.total_)
                download.ended_ = true;
        }
        else if (error.code === 28682 /* Code.HTTP_RANGE_NOT_SATISFIABLE */ && bytes && !download.changes_++) {
            // the file is shorter than it was
            goTo(download, 0);
            download.known_ = false;
        }
        else if (error.record_) {
            final = narrowRange(download.options_, fresh);
            if (final)
                final.status = error.status;
        }
        else if (!error.retry || download.failures_ >= download.options_.retries) {
            final = error;
            // this update does not wait for it, but a later call can succeed when the release is complete
            if (download.changes_ || error.status === 404 || error.status === 410)
                error.retry = true;
        }
        // without a consumer the next call of read() reconnects
        else if (download.consumer_)
            wait = backoff(download, error);
        if (final)
            settle(download, final);
        else if (download.consumer_)
            resumeAfter(download, wait);
    }
    /** The headers that ask for the bytes that are missing. */
    function rangeHeaders(download) {
        var from = received(download);
        var size = download.options_.maxRequestSize;
        var headers = { Range: "bytes=" + from + "-" + (size ? from + size - 1 : "") };
        if (from && download.strong_)
            headers["If-Range"] = download.tag_;
        return headers;
    }
    /** To be called after `consumer_` was set: delivers the buffered bytes, and connects if more are needed. */
    function read(download) {
        if (download.broken_)
            settle(download, download.broken_);
        // from a timer: below a data listener the consumer would not have enough memory
        else if (download.timer_ === undefined)
            resumeAfter(download, download.disconnect_ || download.ended_ ? 0 : 20 /* Pause.SETTLE */);
    }
    /** Continues at `offset` of the file; the buffered bytes are dropped. */
    function seek(download, offset) {
        disconnect(download);
        goTo(download, offset);
        download.best_ = offset;
    }
    /** Ends the download and frees its memory. Its numbers stay. */
    function closeDownload(download) {
        disconnect(download);
        if (download.options_)
            download.options_.cancel_ = undefined;
        download.options_ = undefined;
        download.consumer_ = null;
        download.inbox_.pieces_ = [];
        download.inbox_.room_ = 0;
        download.inbox_.full_ = undefined;
        download.tag_ = "";
        // this frees the functions and their scopes: memory is shortest after this
        download.failed_ = download.resume_ = download.onConnected_ = download.deliver_ = noop;
    }
    return { received_: received, disconnect_: disconnect, settle_: settle, resumeAfter_: resumeAfter, onHead_: onHead, onLastByte_: onLastByte, onEnd_: onEnd, rangeHeaders_: rangeHeaders, read_: read, seek_: seek, closeDownload_: closeDownload };
}















/**
 * A download of `url`. It sends nothing before the first read(). `limit`: the most bytes that the file may have.
 * More than 60 lines: a table of fields, and the functions that each piece passes through. These are not in a lazy scope,
 * because the engine would read the text of the scope at each call.
 */
function createDownload(options, url, limit, onConnected) {
    // The buffer between the network and the consumer of a download. It is the hot path of an update: the data listener
    // (http.ts) puts each piece here, and no other function sees it until a block is full.
    function createInbox() {
        return { filled_: 0, room_: 0, pieces_: [], offset_: 0, end_: 0, block_: 0, buffered_: "" };
    }
    // The bytes of one file from a function of the user: over BLE, a serial line, from a card or another device. Each call
    // gives one piece, so the source is never faster than the flash. It takes the place of get() of http.ts.
    /**
     * Reads `file`, of `size` bytes (-1: unknown), from the next byte of the inbox on. `onEnd` is called once, and last: with
     * null when all bytes have arrived, or when the source has ended a file of unknown size. An error of the source has
     * `retry`. Returns the function that ends the reading; after it no event comes.
     * More than 60 lines: a closure that is created once for each file, whose functions share a timer and a count.
     */
    function readSource(options, file, size, inbox, onHead, onBody, onEnd) {
        var timer;
        var ask;
        var asked = 0; // number of the last call of the source: only the answer to this call counts; -1 after the end
        function position() {
            return inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
        }
        function close() {
            asked = -1;
            if (timer !== undefined)
                cancel(timer);
            timer = undefined;
        }
        function end(error) {
            if (asked < 0)
                return;
            close();
            onEnd(error);
        }
        function take(data) {
            var left = inbox.end_ - position();
            if (!data)
                return end(size < 0 ? null : otaError(28684 /* Code.HTTP_INCOMPLETE_DATA */, "the source ended, " + left + " bytes missing", true));
            if (data.length >= left) {
                close();
                onBody(data.substr(0, left));
                return onEnd(null);
            }
            if (!inbox.room_ || !inbox.full_ || !inbox.full_(data))
                onBody(data);
            // from a timer: the source may call done() before it returns
            if (asked >= 0)
                timer = after(0, ask);
        }
        ask = function () {
            var mine = ++asked;
            tryOr(function () {
                timer = after(options.timeout, function () {
                    return end(otaError(28683 /* Code.HTTP_READ_TIMEOUT */, "nothing from the source for " + options.timeout + " ms", true));
                });
                options.source(position(), function (error, data) {
                    if (mine !== asked)
                        return;
                    asked++; // a second answer to this call is ignored
                    if (timer !== undefined)
                        cancel(timer);
                    timer = undefined;
                    tryOr(function () {
                        if (error)
                            throw otaError(-1 /* Code.FAIL */, "source: " + (error.message || error), true);
                        take(data === undefined || data === null ? "" : binary(data));
                    }, end);
                }, file);
            }, end);
        };
        onHead({ status_: -1, start_: position(), length_: -1, total_: size, tag_: "", strong_: false });
        inbox.end_ = size < 0 ? 2147483647 /* Body.ENDLESS */ : size;
        timer = after(0, ask);
        return close;
    }
    var inbox = createInbox();
    var download = {
        inbox_: inbox,
        total_: -1,
        ended_: false,
        mixed_: 0,
        status_: -1,
        consumer_: null,
        failed_: noop,
        options_: options,
        limit_: limit,
        tag_: "",
        strong_: false,
        known_: false,
        part_: false,
        connected_: false,
        broken_: options.canceled_ || null,
        best_: 0,
        failures_: 0,
        restarts_: 0,
        changes_: 0,
        disconnect_: null,
        closing_: false,
        onConnected_: onConnected,
    };
    var fail = function (error) { return lazyDownload().settle_(download, error); };
    /** Moves the buffered bytes into the inbox, and calls the consumer for each full block. */
    function fillInbox() {
        while (download.consumer_) {
            var piece = inbox.buffered_;
            var room = inbox.block_ - inbox.filled_;
            inbox.buffered_ = "";
            if (piece.length > room) {
                inbox.buffered_ = piece.substr(room);
                piece = piece.substr(0, room);
            }
            if (piece)
                inbox.pieces_.push(piece);
            inbox.filled_ += piece.length;
            var last = download.ended_ && !inbox.buffered_;
            if (!last && inbox.filled_ < inbox.block_) {
                var left = inbox.end_ - inbox.offset_;
                inbox.room_ = inbox.block_;
                if (left < inbox.room_)
                    inbox.room_ = left;
                return;
            }
            inbox.room_ = 0;
            piece = "";
            download.consumer_("", last);
        }
    }
    /** Buffers `data` and calls the consumer. The timer gives "". */
    function deliver(data) {
        var total = download.total_;
        inbox.buffered_ = inbox.buffered_ ? inbox.buffered_ + data : data;
        var bytes = inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
        if (bytes >= total && (total >= 0 || bytes > limit))
            lazyDownload().onLastByte_(download);
        if (download.timer_ !== undefined)
            return;
        if (download.consumer_ && inbox.block_)
            fillInbox();
        else if (download.consumer_)
            download.consumer_(inbox.buffered_, download.ended_);
        else if (inbox.buffered_.length > 3500 /* Buffer.MAX */)
            lazyDownload().disconnect_(download);
    }
    download.deliver_ = deliver;
    options.cancel_ = fail;
    /** Delivers the buffered bytes; if the consumer needs more, connects. */
    download.resume_ = function () {
        download.timer_ = undefined;
        // in an idle pass the engine runs timers before it closes connections: one more pass closes the old one
        if (download.closing_) {
            download.closing_ = false;
            return lazyDownload().resumeAfter_(download, 0);
        }
        // try, and not tryOr: that would create a function for each block
        try {
            if (inbox.filled_ || inbox.buffered_ || download.ended_)
                deliver("");
            if (!download.consumer_ || download.ended_ || download.disconnect_ || download.timer_ !== undefined)
                return;
            try {
                var head = function (one) { return lazyDownload().onHead_(download, one); };
                var end = function (error) { return lazyDownload().onEnd_(download, error); };
                download.disconnect_ = options.source
                    ? /*@__NOINLINE__*/ readSource(options, url, download.total_, inbox, head, deliver, end)
                    : /*@__NOINLINE__*/ get(options, url, lazyDownload().rangeHeaders_(download), inbox, head, deliver, end);
            }
            catch (thrown) {
                lazyDownload().onEnd_(download, toOtaError(thrown));
            }
        }
        catch (thrown) {
            fail(toOtaError(thrown));
        }
    };
    return download;
}

function lazyKeys() {
    // base64url as RFC 7515 uses it: without padding, and only in its canonical form.
    /**
     * Replaces each character of `text` that is in `from` by the character at the same place in `to`, or removes it. Not with
     * String.split: it creates a piece for each separator, and crashes the engine when memory runs out (src/jswrap_string.c),
     * and a stranger can send a text of separators.
     */
    function translate(text, from, to) {
        var result = "";
        for (var i = 0; i < text.length; i++) {
            var at = from.indexOf(text[i]);
            result += at < 0 ? text[i] : to.substr(at, 1);
        }
        return result;
    }
    /** RFC 7515 2: base64url without padding, of whole bytes. */
    function toBase64url(bytes) {
        return translate(lazyBytes().base64_(bytes), "+/=", "-_");
    }
    /** The bytes that `text` encodes, as a binary string; null unless `text` is their canonical encoding. */
    function fromBase64url(text) {
        var bytes = lazyBytes().fromBase64_(translate(text, "-_", "+/"));
        return typeof bytes === "string" && toBase64url(bytes) === text ? bytes : null;
    }
    // Which RSA keys a device accepts. Pure: the command on the host makes and loads keys by the same rule.
    /** Bits of the big-endian number `bytes`. */
    function bitLength(bytes) {
        var bits = 8 * bytes.length;
        for (var top = 128; top && bytes[0] < top; top >>>= 1)
            bits--;
        return bits;
    }
    /** Is (n, e) an RSA key of 2048 to 4096 bits with an odd modulus and an odd exponent of at most 32 bits? */
    function isKey(n, e) {
        var bits = n.length ? bitLength(n) : 0;
        return (bits >= 2048 /* Rsa.MIN_BITS */ &&
            bits <= 4096 /* Rsa.MAX_BITS */ &&
            n[0] > 0 &&
            n[n.length - 1] % 2 === 1 &&
            e >= 3 &&
            e <= 4294967295 /* Rsa.MAX_EXPONENT */ &&
            e % 2 === 1);
    }
    // Trusted keys: RSA public keys as JWK, named by their RFC 7638 thumbprints.
    /** RFC 7638: SHA-256 of the required members of the key in their order, as base64url. */
    function thumbprint(key) {
        return toBase64url(binary(sha256('{"e":"' + key.e + '","kty":"RSA","n":"' + key.n + '"}')));
    }
    /** Modulus and exponent of a key; throws INVALID_ARG unless isKey() accepts it. */
    function parseKey(key) {
        var n = lazyBytes().bytesOf_((key && key.kty === "RSA" && fromBase64url("" + key.n)) || "");
        var eText = fromBase64url("" + (key && key.e)) || "";
        var e = 0;
        for (var i = 0; i < eText.length; i++)
            e = e * 256 + eText.charCodeAt(i);
        if (!isKey(n, e))
            throw otaError(258 /* Code.INVALID_ARG */, "keys: expected RSA keys of 2048 to 4096 bits as JWK");
        return { n_: n, e_: e };
    }
    /** Throws INVALID_ARG when a key of `keys` cannot be used. */
    function checkKeys(keys) {
        if (!(keys.length > 0))
            throw otaError(258 /* Code.INVALID_ARG */, "keys must be a list of one key or more");
        for (var i = 0; i < keys.length; i++)
            parseKey(keys[i]);
    }
    /** The key whose thumbprint is `kid`, or null. */
    function keyCalled(keys, kid) {
        for (var i = 0; i < keys.length; i++)
            if (thumbprint(keys[i]) === kid)
                return keys[i];
        return null;
    }
    /** The error for everything that can be wrong with a signature. It is always the same, so it tells an attacker nothing. */
    function notTrusted() {
        return otaError(5379 /* Code.OTA_VALIDATE_FAILED */, "the manifest is not signed by a trusted key");
    }
    return { fromBase64url_: fromBase64url, bitLength_: bitLength, parseKey_: parseKey, checkKeys_: checkKeys, keyCalled_: keyCalled, notTrusted_: notTrusted };
}



function lazyManifest() {
    // Parses one JSON object more strictly than the engine's own parser. Pure.
    /** Throws INVALID_RESPONSE; `fact` says what is wrong in the manifest. */
    function refuse$1(fact) {
        throw otaError(264 /* Code.INVALID_RESPONSE */, "manifest: " + fact);
    }
    function notJson(at) {
        return refuse$1("invalid JSON at byte " + at);
    }
    function isDigits(text) {
        for (var i = 0; i < text.length; i++)
            if ("0123456789".indexOf(text[i]) < 0)
                return false;
        return text.length > 0;
    }
    /** true, false, null, or a number without exponent: -?(0|[1-9][0-9]*)(\.[0-9]+)? */
    function isLiteral(text) {
        if (text === "true" || text === "false" || text === "null")
            return true;
        var digits = text[0] === "-" ? text.substr(1) : text;
        var dot = digits.indexOf(".");
        var whole = dot < 0 ? digits : digits.substr(0, dot);
        return isDigits(whole) && (whole[0] !== "0" || whole.length === 1) && (dot < 0 || isDigits(digits.substr(dot + 1)));
    }
    /** Index of the quote that ends the string; its first quote is at `start`. */
    function endOfString(text, start) {
        for (var i = start + 1; i < text.length; i++) {
            var c = text[i];
            if (c === '"')
                return i;
            if (text.charCodeAt(i) < 32)
                break;
            if (c !== "\\")
                continue;
            var escaped = text[++i] || " ";
            if ('"\\/bfnrtu'.indexOf(escaped) < 0)
                break;
            if (escaped === "u")
                for (var last = i + 4; i < last; i++)
                    if ("0123456789abcdefABCDEF".indexOf(text[i + 1] || " ") < 0)
                        return notJson(i);
        }
        return notJson(start);
    }
    /**
     * JSON.parse of one object, which must be valid by RFC 8259. It may not have a key twice, an escape in a key, a key
     * __proto__ or an exponent: the engine's own parser accepts comments, trailing garbage and more, which another parser may
     * read differently.
     * More than 30 lines: one loop over the text, whose state is in its variables.
     */
    function parseJson(text) {
        var open = []; // keys of each open object, null for an open array
        var next = "{"; // the tokens that may come: Next, or others
        var i = 0;
        while (i < text.length) {
            var start = i++;
            var c = text[start];
            var keys = open[open.length - 1];
            var isKey = next === "\"" /* Next.KEY */ || next === "\"}" /* Next.KEY_OR_END */;
            if (open.length && " \t\r\n".indexOf(c) >= 0)
                continue;
            var token = '"{}[],:'.indexOf(c) < 0 ? "a" : c;
            if (next.indexOf(token) < 0)
                notJson(start);
            if (token === ":")
                next = "\"{[a" /* Next.VALUE */;
            else if (token === ",")
                next = keys ? "\"" /* Next.KEY */ : "\"{[a" /* Next.VALUE */;
            else if (token === "{" || token === "[") {
                open.push(token === "{" ? [] : null);
                next = token === "{" ? "\"}" /* Next.KEY_OR_END */ : "\"{[a]" /* Next.VALUE_OR_END */;
            }
            else {
                if (token === '"')
                    i = endOfString(text, start) + 1;
                else if (token === "a") {
                    while (i < text.length && " \t\r\n,]}".indexOf(text[i]) < 0)
                        i++;
                    if (!isLiteral(text.substring(start, i)))
                        notJson(start);
                }
                else
                    open.pop();
                next = open.length ? (open[open.length - 1] ? ",}" : ",]") : "";
                if (isKey && token === '"') {
                    var key = text.substring(start + 1, i - 1);
                    if (key.indexOf("\\") >= 0)
                        refuse$1("key " + key + " has an escape");
                    if (keys.indexOf(key) >= 0)
                        refuse$1("key " + key + " comes twice");
                    // the engine's parser would turn its value into the prototype of the object
                    if (key === "__proto__")
                        refuse$1("key __proto__ is not allowed");
                    keys.push(key);
                    next = ":";
                }
            }
        }
        if (!i || open.length)
            refuse$1("expected a whole JSON object");
        return JSON.parse(text);
    }
    // The claims of a manifest. Pure. Only called with a payload whose signature is verified.
    // Source: docs/formats.md#manifest, docs/design.md#trust.
    /** in characters: the limit of a name in Storage */
    var MAX_NAME = 28;
    /** Is it a whole number that every JSON parser reads as the same value (RFC 8259 6)? */
    function isWhole(value) {
        return value >= 0 && value <= 9007199254740991 /* Whole.MAX */ && Math.floor(value) === value;
    }
    function checkClaim(claim, value, type, optional) {
        if (optional && value === undefined)
            return;
        var whole = type !== "number" || isWhole(value);
        if (typeof value !== type || !whole || value === "")
            refuse$1("claim " + claim + " is missing or not a " + type);
    }
    function checkImage(image) {
        checkClaim("image.url", image.url, "string");
        checkClaim("image.size", image.size, "number");
        checkClaim("image.fsverity", image.fsverity, "string");
        if (!lazyBytes().parseDigest_(image.fsverity, "sha256:" /* Prefix.MANIFEST */))
            refuse$1("claim image.fsverity must be " + "sha256:" /* Prefix.MANIFEST */ + " and 64 digits");
        var storage = image.storage;
        if (storage === undefined)
            return;
        checkClaim("image.storage.partition", storage && storage.partition, "string");
        checkClaim("image.storage.address", storage.address, "number");
        checkClaim("image.storage.size", storage.size, "number");
        if (!storage.size)
            refuse$1("claim image.storage.size is 0");
    }
    /**
     * A name is only a label: the module never stores a file under it. Names that Espruino or this module gives a meaning
     * (`.boot0`) are refused nevertheless: the person who signs one would expect an effect that it does not have. Paths that
     * leave a folder are refused too.
     */
    function checkName(name) {
        var ok = name.length <= MAX_NAME;
        for (var i = 0; i < name.length; i++)
            if (name[i] < " " || name[i] > "~" || name[i] === "\\")
                ok = false;
        // the name is signed: a stranger cannot send a text of separators
        name.split("/").forEach(function (part) {
            if (part === "" || part === "." || part === "..")
                ok = false;
        });
        [".boot", ".varimg", ".https-ota"].forEach(function (reserved) {
            if (name.substr(0, reserved.length) === reserved)
                ok = false;
        });
        if (!ok)
            refuse$1("file name " + name + " is not allowed: expected 1 to " + MAX_NAME + " printable characters, no . or ..");
    }
    /** Throws unless `files` is a list of files with different names, and `entry` names one of them that is not empty. */
    function checkFiles(files, entry) {
        var names = [];
        var program = 0;
        if (!Array.isArray(files) || !files.length)
            refuse$1("claim files is not a list of files");
        checkClaim("entry", entry, "string");
        files.forEach(function (file) {
            checkClaim("files.name", file && file.name, "string");
            var name = file.name;
            checkName(name);
            if (names.indexOf(name) >= 0)
                refuse$1("file name " + name + " comes twice");
            names.push(name);
            checkClaim("files.size", file.size, "number");
            checkClaim("files.sha256", file.sha256, "string");
            if (!lazyBytes().parseDigest_("sha256:" /* Prefix.MANIFEST */ + file.sha256, "sha256:" /* Prefix.MANIFEST */))
                refuse$1("claim files.sha256 of " + name + " is not 64 hexadecimal digits");
            checkClaim("files.url", file.url, "string", true);
            if (name === entry)
                program = file.size;
        });
        if (!program)
            refuse$1("claim entry is " + entry + ", expected a listed file that is not empty");
    }
    function checkRollout(rollout) {
        var timed = rollout && rollout.share === undefined;
        if (timed) {
            checkClaim("rollout.start", rollout.start, "number");
            checkClaim("rollout.hours", rollout.hours, "number");
        }
        else {
            checkClaim("rollout.share", rollout && rollout.share, "number");
            if (rollout.share > 100)
                refuse$1("claim rollout.share is " + rollout.share + ", at most 100 percent");
            if (rollout.start !== undefined || rollout.hours !== undefined)
                refuse$1("claim rollout has a share and a time: expected one of them");
        }
    }
    /**
     * Reads the claims. Throws INVALID_RESPONSE with the name of a claim that is missing or has a wrong type. Unknown claims are
     * ignored.
     */
    function parseManifest(payload) {
        var manifest = parseJson(payload);
        var format = manifest.format;
        if (format !== 1 /* Format.IMAGE */ && format !== 2 /* Format.FILES */)
            throw otaError(262 /* Code.NOT_SUPPORTED */, "manifest format " + format + ", this module knows 1 and 2");
        checkClaim("project", manifest.project, "string");
        checkClaim("version", manifest.version, "string");
        checkClaim("chip", manifest.chip, "string");
        checkClaim("board", manifest.board, "string", true);
        checkClaim("sequence", manifest.sequence, "number");
        checkClaim("iat", manifest.iat, "number");
        checkClaim("exp", manifest.exp, "number", true);
        if (manifest.files === undefined) {
            if (manifest.entry !== undefined)
                refuse$1("claim entry needs files");
        }
        else if (format === 1 /* Format.IMAGE */)
            refuse$1("claim files needs format 2");
        else
            checkFiles(manifest.files, manifest.entry);
        if (manifest.rollout !== undefined) {
            if (format === 1 /* Format.IMAGE */)
                refuse$1("claim rollout needs format 2");
            checkRollout(manifest.rollout);
        }
        if (manifest.image !== undefined || !manifest.files)
            checkImage(manifest.image || {});
        return manifest;
    }
    /** The fs-verity digest of its image, as 64 hexadecimal digits. */
    function digestOf(manifest) {
        return lazyBytes().parseDigest_(manifest.image.fsverity, "sha256:" /* Prefix.MANIFEST */);
    }
    // Which manifests this device accepts. Pure. Only called with claims whose signature is verified.
    /**
     * A sequence may be at most this much above that of the device. Otherwise one manifest with the highest number, signed
     * with a stolen key, would prevent all later updates.
     */
    var MAX_JUMP = 0x100000000;
    function differ(what, theirs, ours) {
        throw otaError(266 /* Code.INVALID_VERSION */, "manifest is for " + what + " " + theirs + ", this is " + ours);
    }
    /**
     * Throws if a manifest is not for this device, or is older than the installed release. `allowDowngrade` permits an older
     * one.
     */
    function checkPolicy(manifest, facts, allowDowngrade) {
        if (manifest.chip !== facts.chip_)
            differ("chip", manifest.chip, facts.chip_);
        if (manifest.board !== undefined && manifest.board !== facts.board_)
            differ("board", manifest.board, facts.board_);
        var size = manifest.image ? manifest.image.size : 0;
        if (facts.slotSize_ && size > facts.slotSize_)
            throw otaError(260 /* Code.INVALID_SIZE */, "image of " + size + " bytes, the slot has " + facts.slotSize_);
        // a clock that was not set says 1970: then no manifest counts as expired
        if (manifest.exp !== undefined && manifest.exp * 1000 < facts.nowMs_)
            throw otaError(263 /* Code.TIMEOUT */, "manifest expired at " + manifest.exp + ", it is " + Math.floor(facts.nowMs_ / 1000));
        if (manifest.sequence < facts.sequence_ && !allowDowngrade)
            throw otaError(5380 /* Code.OTA_SMALL_SEC_VER */, "manifest has sequence " + manifest.sequence + ", this device has " + facts.sequence_);
        if (manifest.sequence > facts.sequence_ + MAX_JUMP)
            differ("sequence", manifest.sequence, facts.sequence_ + ", and takes at most " + MAX_JUMP + " more");
    }
    /**
     * Espruino for the classic ESP32 has the descriptor of the ESP-IDF template project that it is linked into, with the
     * project name of that template.
     */
    function projectOf(name) {
        return name === "espruino-esp32" ? "espruino" : name;
    }
    /** Throws if the manifest is for another project than `project`, which is "" if that of this device is unknown. */
    function checkProject(manifest, project) {
        if (project && projectOf(manifest.project) !== projectOf(project))
            differ("project", manifest.project, project);
    }
    return { parseJson_: parseJson, parseManifest_: parseManifest, digestOf_: digestOf, checkPolicy_: checkPolicy, checkProject_: checkProject };
}





























/**
 * Is `signature` the PS256 signature by the key (n, e) of a message with this SHA-256 digest? isKey() must have accepted the
 * key. Calls `done` once; with an error only if memory has run out.
 */
function verifyPss(n, e, signature, digest, done) {
    /** Is a < b? Both big-endian and of the same length. */
    function isBelow(a, b) {
        for (var i = 0; i < a.length; i++)
            if (a[i] !== b[i])
                return a[i] < b[i];
        return false;
    }
    /**
     * Computes signature^exponent mod modulus in steps of one multiplication. All numbers are big-endian; the modulus is
     * odd and its top byte is not 0, the signature is below it, the exponent is odd.
     * More than 60 lines: its functions share the limbs, and a variable of a scope takes fewer JsVars than an object that is
     * passed to each function.
     */
    function modularPower(modulus, exponent, signature) {
        /** Sum of a[i] * b[(i + offset) mod b.length], in doubles. It has no wrapper, because RSA calls it ten thousand times. */
        var convolve = E.convolve;
        // Modular exponentiation for RSA: the public operation RSAVP1 of RFC 8017 5.2.2.
        //
        // Numbers are little-endian limbs of 22 bits. A product is Montgomery's, computed column by column (the "finely
        // integrated product scanning" of Koc, Acar, Kaliski 1996): column k sums a[i] * b[k - i] + q[i] * n[k - i], and q is
        // chosen such that the lower half of the product becomes 0. One array has a and q interleaved, another one b and n,
        // reversed: then a column is one call of the native dot product E.convolve. It is exact, because the sum of 2 * 187 products
        // of 44 bits (RSA-4096) stays below 2^53.
        var LIMB = 0x400000;
        var LIMB_BITS = 22;
        function toLimbs(bytes, count) {
            var limbs = new Uint32Array(count);
            var word = 0;
            var bits = 0;
            var k = 0;
            for (var i = bytes.length - 1; i >= 0; i--) {
                word += bytes[i] << bits;
                bits += 8;
                if (bits >= LIMB_BITS) {
                    limbs[k++] = word % LIMB;
                    word >>>= LIMB_BITS;
                    bits -= LIMB_BITS;
                }
            }
            if (k < count)
                limbs[k] = word;
            return limbs;
        }
        function toBytes(limbs, length) {
            var bytes = new Uint8Array(length);
            var word = 0;
            var bits = 0;
            var k = 0;
            for (var i = length - 1; i >= 0; i--) {
                if (bits < 8 && k < limbs.length) {
                    word += limbs[k++] << bits;
                    bits += LIMB_BITS;
                }
                bytes[i] = word;
                word >>>= 8;
                bits -= 8;
            }
            return bytes;
        }
        /**
         * left = x = left * right / R mod modulus. The result is below twice the modulus if both factors are. left has the limbs
         * of one factor at even places, and room for q at odd ones. right has limb k of the other factor at 2 (count - 1 - k),
         * and limb k of the modulus behind it. x becomes the result in the form of right, and may be right itself. inverse is
         * -1 / modulus mod 2^22.
         *
         * Nearly all the time is spent in these loops. To find a name, the interpreter searches the names of each scope: so the
         * function uses few names, and only local ones.
         */
        function multiply(left, right, x, inverse) {
            var column = 0;
            var index = 0;
            var limb = 0;
            var dot = convolve;
            var length = left.length;
            var lowest = right[length - 1];
            for (; index < length; index += 2) {
                column += dot(right.subarray(-2 - index, -1), left, 0);
                limb = left[index + 1] = ((column % LIMB) * inverse) % LIMB;
                column = (column + limb * lowest) / LIMB;
            }
            for (index = 2; index <= length; index += 2) {
                column += dot(left.subarray(index), right, 0);
                limb = left[index - 2] = x[length - index] = column % LIMB;
                column = (column - limb) / LIMB;
            }
        }
        var modulusBits = lazyKeys().bitLength_(modulus);
        // two more bits than the modulus: then products may be below twice the modulus, and need no subtraction
        var count = Math.ceil((modulusBits + 2) / LIMB_BITS);
        var last = count - 1;
        var n = toLimbs(modulus, count);
        var nTop = (n[last] * LIMB + n[last - 1]) * LIMB + n[last - 2];
        var x = new Uint32Array(2 * count); // as left
        var base = toLimbs(signature, count);
        var power; // the base in Montgomery's form, as right
        var inverse = n[0]; // 1 / n[0] mod 2^3, and with each step twice as many bits; then its negative
        for (var i = 0; i < 3; i++)
            inverse = (inverse * (((2 - n[0] * inverse) % LIMB) + LIMB)) % LIMB;
        inverse = LIMB - inverse;
        function toRight(limbs) {
            var right = new Uint32Array(2 * count);
            for (var k = 0; k < count; k++) {
                right[2 * (last - k)] = limbs[k];
                right[2 * (last - k) + 1] = n[k];
            }
            return right;
        }
        var xRight = toRight(new Uint32Array(count));
        /** x = 2^22 x mod modulus. The result is below twice the modulus if x is. */
        function shift() {
            // the quotient or one less: the three top limbs give it with an error below 2^-19
            var top = (x[2 * last] * LIMB + x[2 * last - 2]) * LIMB + x[2 * last - 4];
            var factor = Math.max(0, Math.floor((top / nTop) * LIMB - 0.01));
            var carry = 0;
            var below = 0;
            for (var k = 0; k < count; k++) {
                carry += below - factor * n[k];
                below = x[2 * k];
                var limb = carry % LIMB;
                if (limb < 0)
                    limb += LIMB;
                x[2 * k] = xRight[2 * (last - k)] = limb;
                carry = (carry - limb) / LIMB;
            }
        }
        // The program, one letter per step: l shift left by one limb, s square, r from R * R to the base's Montgomery form, p
        // multiply by that form, e end. First R = 2^(22 n) and some limbs more by shifting, then 2^(22 n) R = R * R by
        // squaring. Then the power; its last factor is the base itself, which converts the result from the Montgomery form.
        var program = "ll";
        x[2 * last - 2] = 1;
        var bit = 1;
        while (16 * bit <= count)
            bit *= 2;
        for (var i = Math.floor(count / bit); i; i--)
            program += "l";
        for (bit /= 2; bit >= 1; bit /= 2)
            program += count & bit ? "sl" : "s";
        program += "r";
        bit = 1;
        while (2 * bit <= exponent)
            bit *= 2;
        for (bit /= 2; bit > 1; bit /= 2)
            program += (exponent / bit) % 2 >= 1 ? "sp" : "s";
        program += "se";
        var step = 0;
        return {
            step_: function () {
                var letter = program[step++];
                if (letter === "l")
                    shift();
                else if (letter === "s")
                    multiply(x, xRight, xRight, inverse);
                else if (letter === "p")
                    multiply(x, power, xRight, inverse);
                else {
                    multiply(x, toRight(base), xRight, inverse);
                    if (program.indexOf("p") >= 0)
                        power = new Uint32Array(xRight);
                }
                return step < program.length;
            },
            result_: function () {
                var limbs = new Uint32Array(count);
                var rest = new Uint32Array(count);
                var borrow = 0;
                for (var k = 0; k < count; k++) {
                    limbs[k] = x[2 * k];
                    var limb = limbs[k] - n[k] - borrow;
                    borrow = limb < 0 ? 1 : 0;
                    rest[k] = limb + borrow * LIMB;
                }
                return toBytes(borrow ? limbs : rest, modulus.length);
            },
        };
    }
    // RSASSA-PSS verification (RFC 8017 8.1.2, 9.1.2) with SHA-256, MGF1-SHA-256 and a salt of 32 bytes: PS256 of RFC 7518.
    var HASH = 32;
    var SALT = 32;
    /** RFC 8017 B.2.1: xors a mask, made from `seed`, into `bytes`. */
    function unmask(bytes, seed) {
        var input = new Uint8Array(HASH + 4);
        input.set(seed);
        for (var offset = 0; offset < bytes.length; offset += HASH) {
            var mask = sha256(input);
            for (var i = 0; i < HASH && offset + i < bytes.length; i++)
                bytes[offset + i] ^= mask[i];
            input[HASH + 3]++;
        }
    }
    /** RFC 8017 9.1.2. The encoded message is the last `bits` bits of `encoded`. */
    function checkEncoding(encoded, bits, digest) {
        var length = Math.ceil(bits / 8);
        var start = encoded.length - length; // 1 if the modulus has 8 k + 1 bits: then the first byte must be 0
        var dbLength = length - HASH - 1;
        if ((start && encoded[0]) || encoded[encoded.length - 1] !== 0xbc)
            return false;
        var db = new Uint8Array(dbLength);
        var seed = new Uint8Array(HASH);
        for (var i = 0; i < dbLength; i++)
            db[i] = encoded[start + i];
        for (var i = 0; i < HASH; i++)
            seed[i] = encoded[start + dbLength + i];
        var unused = 0xff >>> (8 * length - bits);
        if (db[0] > unused)
            return false;
        unmask(db, seed);
        db[0] &= unused;
        var wrong = db[dbLength - SALT - 1] ^ 1;
        for (var i = 0; i < dbLength - SALT - 1; i++)
            wrong |= db[i];
        // M' of RFC 8017: eight zero bytes, the digest of the message, the salt
        var message = new Uint8Array(8 + HASH + SALT);
        message.set(digest, 8);
        for (var i = 0; i < SALT; i++)
            message[8 + HASH + i] = db[dbLength - SALT + i];
        var expected = sha256(message);
        for (var i = 0; i < HASH; i++)
            wrong |= expected[i] ^ seed[i];
        return wrong === 0;
    }
    if (signature.length !== n.length || !isBelow(signature, n))
        return done(null, false);
    var bits = lazyKeys().bitLength_(n) - 1;
    var power = modularPower(n, e, signature);
    var good = false;
    inSlices(1, power.step_, function () {
        good = checkEncoding(power.result_(), bits, digest);
    }, function (error) {
        // in a new idle pass, and by a bound function: a closure would keep the buffers of the big numbers in memory
        tryOr(function () {
            after(0, done.bind(undefined, error, good));
        }, function (failure) {
            done(failure, false);
        });
    });
}


/** The callback of verifyJws. It is created outside, so that token and key are freed while the signature is verified. */
function answer(payload, signer, done) {
    return function (error, good) {
        tryOr(function () {
            var text = good && !error ? lazyKeys().fromBase64url_(payload) : null;
            if (text === null)
                throw error || lazyKeys().notTrusted_();
            done(null, text, signer);
        }, function (thrown) {
            done(thrown, "");
        });
    };
}






























function lazyIncoming() {
    // Which devices take a release at which time: docs/formats.md#rollout. The signed manifest says it. The device stores
    // nothing for it and sends nothing to a server. The order of the devices differs from release to release.
    /** The place of this device among all, from 0 to below 1: the first 32 bits of SHA-256(serial number "." sequence). */
    function bucket(serial, sequence) {
        return lazyBytes().u32_(sha256(serial + "." + sequence), 0) / 4294967296;
    }
    /** When the release of `manifest` is due on this device. `nowMs`: ms since 1970; a clock that is not set says 1970. */
    function dueOf(manifest, nowMs) {
        var rollout = manifest.rollout;
        if (!rollout)
            return 0 /* Due.NOW */;
        var place = bucket(lazyEngine().serialNumber_(), manifest.sequence);
        if (rollout.share !== undefined)
            return place * 100 < rollout.share ? 0 /* Due.NOW */ : -1 /* Due.NEVER */;
        var due = Math.floor(rollout.start + place * rollout.hours * 3600);
        return due * 1000 <= nowMs ? 0 /* Due.NOW */ : due;
    }
    // The files of a release, from the manifest to Storage: part of step 4 of update.ts. A file that Storage holds is not
    // fetched. One that was cut off goes on behind its last byte that is not blank. Nothing points to any of them until the
    // commit.
    function bytesOfHex(digits) {
        var bytes = "";
        for (var i = 0; i < digits.length; i += 2)
            bytes += String.fromCharCode(parseInt(digits.substr(i, 2), 16));
        return bytes;
    }
    function hexOf(bytes) {
        var digits = "";
        for (var i = 0; i < bytes.length; i++)
            digits += (256 + bytes.charCodeAt(i)).toString(16).substr(1);
        return digits;
    }
    /**
     * What `manifest` brings, compared with what is here; null when it brings no files. Throws INVALID_STATE where nothing
     * would run them.
     * More than 30 lines: two tables of fields.
     */
    function planFiles(manifest) {
    var lazyFilesOnce = lazyFiles();
        var files = manifest.files;
        if (!files)
            return null;
        if (lazyEngine().runningSet_() === undefined)
            throw otaError(259 /* Code.INVALID_STATE */, "the manifest has files, and no loader runs them: npx https-ota init writes it into .boot0, and a restart runs it");
        var set = {
            id: hexOf(binary(sha256(lazyRecords().releaseText_(manifest.image, manifest.entry, files)))),
            version: manifest.version,
            entry: manifest.entry,
            files: files.map(function (file) { return ({
                name: file.name,
                size: file.size,
                stored: lazyRecords().storedName_(lazyBytes().base64_(bytesOfHex(file.sha256))),
            }); }),
        };
        var missing = [];
        var bytes = 0;
        var current = lazyFilesOnce.currentSet_();
        for (var i = 0; i < files.length; i++)
            if (!lazyFilesOnce.isWhole_(set.files[i].stored, files[i].size)) {
                missing.push(i);
                bytes += files[i].size;
            }
        return {
            set_: set,
            claims_: files,
            missing_: missing,
            bytes_: bytes,
            running_: !!current && current.id === set.id && !missing.length,
        };
    }
    /** Where a file is fetched, whose URL the manifest gives as `url`: a source is asked for it as it stands. */
    function fileUrl(settings, url) {
        return settings.source || settings.push ? url : lazyExchange().resolveUrl_(settings.url, url);
    }
    /** What a file of a release is called when it was rolled back. */
    function badName(files) {
        return "release-sha256:" /* Bad.RELEASE */ + files.set_.id;
    }
    /** Bytes of `stored` in front of what is blank up to its end. */
    function filled(stored, size) {
    var lazyEngineOnce = lazyEngine();
        for (var end = size; end > 0;) {
            var from = end > 1024 /* Flash.PIECE */ ? end - 1024 /* Flash.PIECE */ : 0;
            var piece = lazyEngineOnce.readPart_(stored, from, end - from);
            for (var i = piece.length; i--;)
                if (piece.charCodeAt(i) !== 255)
                    return from + i + 1;
            end = from;
        }
        return 0;
    }
    /** For bytes in Storage that are not the file of the manifest. */
    function wrongFile(file, bytes) {
        return otaError(5379 /* Code.OTA_VALIDATE_FAILED */, "file " + file.name + " is not the one that the manifest names (" + bytes + " of " + file.size + " bytes)");
    }
    /**
     * Fetches one file into Storage and verifies it there; calls `done` once.
     * More than 30 lines: its callbacks share the download, and whether it goes on with what an earlier one has left.
     */
    function fetchFile(settings, file, stored, progress, done) {
        var size = file.size;
        var resumed = false;
        var download = createDownload(settings, fileUrl(settings, file.url || file.name), size, function () { });
        var inbox = download.inbox_;
        function end(error) {
            if (error && error.code === 5379 /* Code.OTA_VALIDATE_FAILED */)
                error.retry = !!download.mixed_;
            lazyDownload().closeDownload_(download);
            done(error);
        }
        /** Blank, from its first byte on. */
        function begin() {
            lazyRecords().createFile_(stored, size, "file " + file.name);
            resumed = false;
        }
        var verify;
        function take(_, last) {
            var text = lazyBlocks().join_(inbox.pieces_);
            var offset = inbox.offset_;
            if (!offset && filled(stored, size))
                begin(); // the server began again
            if (text)
                lazyFiles().fillFile_(stored, text, offset, size);
            inbox.pieces_ = [];
            inbox.filled_ = 0;
            inbox.offset_ = offset + text.length;
            progress(inbox.offset_);
            if (!last)
                return;
            download.consumer_ = null;
            after(0, function () { return tryOr(verify, end); });
        }
        verify = function () {
            var bytes = inbox.offset_;
            if (bytes === size && lazyFiles().isWhole_(stored, size))
                return end(null);
            lazyEngine().eraseFile_(stored);
            if (!resumed)
                throw wrongFile(file, bytes);
            // what was there belonged to another file, or the last piece of it was torn
            begin();
            lazyDownload().seek_(download, 0);
            download.consumer_ = take;
            lazyDownload().read_(download);
        };
        tryOr(function () {
            download.total_ = size;
            download.failed_ = end;
            inbox.block_ = 1024 /* Flash.PIECE */;
            // one that is full is not what it is called
            var offset = lazyFiles().isCreated_(stored, size) ? filled(stored, size) : size;
            resumed = offset < size;
            if (resumed)
                lazyDownload().seek_(download, offset);
            else
                begin();
            download.consumer_ = take;
            lazyDownload().read_(download);
        }, end);
    }
    /**
     * Makes room in Storage, fetches what is missing and writes the list of the set; calls `done` once, with its name.
     * Throws NO_MEM before anything is fetched where there is too little room.
     * More than 30 lines: a loop whose rounds are callbacks, and what comes before it.
     */
    function fetchFiles(settings, files, emit, done) {
        var set = files.set_;
        var before = 0;
        var next = 0;
        function step(error) {
            tryOr(function () {
                if (error)
                    throw error;
                if (next === files.missing_.length)
                    return done(null, lazyFiles().writeSet_(set));
                var index = files.missing_[next++];
                var file = files.claims_[index];
                var stored = set.files[index].stored;
                function onDone(failure) {
                    before += file.size;
                    step(failure);
                }
                // two files with the same content are one
                if (lazyFiles().isWhole_(stored, file.size))
                    return onDone(null);
                fetchFile(settings, file, stored, function (bytes) { return emit("WRITE_FILE", before + bytes, files.bytes_); }, onDone);
            }, function (failure) { return done(failure); });
        }
        if (settings.push)
            throw otaError(262 /* Code.NOT_SUPPORTED */, "push brings the bytes of an image only: give the files by source");
        lazyRecords().reserveRecords_();
        lazyFiles().eraseUnused_(set);
        // the record may need a new file later
        var needed = lazyFiles().roomOfSet_(set) + lazyRecords().roomOf_(4096 /* RecordFile.SIZE */);
        files.missing_.forEach(function (index) {
            var file = set.files[index];
            if (!lazyFiles().isCreated_(file.stored, file.size))
                needed += lazyRecords().roomOf_(file.size);
        });
        lazyRecords().checkRoom_(needed, "this release");
        step(null);
    }
    // What a manifest offers to this device, and what is installed of it: after step 3 of update.ts. Apart from plan.ts, so that
    // its functions take no memory while the signature is verified.
    /** Is the set of this release bound to the slot called `label`? */
    function isBound(label, files) {
        var set = lazyFiles().readSet_(lazyFiles().boundSet_(lazyRecords().loadRecord_(), label));
        return !!set && set.id === files.set_.id && !files.missing_.length;
    }
    /** The slot that starts next, when an update since the start has put there what `manifest` names. */
    function findWaiting(layout, manifest, files, imageRuns) {
        // files alone were committed, and another set runs until the restart
        if (files && !files.running_ && isBound(layout.running_.label, files) && (!manifest.image || imageRuns))
            return layout.running_;
        var selected = lazyOtadata().selectedSlot_(layout, lazyOtadata().readEntries_(layout.otadata_));
        var image = lazyEngine().isRestartPending_() && selected.address !== layout.running_.address ? lazyRecords().knownImage_(selected) : null;
        return image &&
            manifest.image &&
            image.size === manifest.image.size &&
            image.digest === lazyManifest().digestOf_(manifest) &&
            (!files || isBound(selected.label, files))
            ? selected
            : undefined;
    }
    /** `imageRuns`: the image, if there is one, is running already. */
    function offerOf(manifest, files, imageRuns, running, waiting, due) {
        var image = manifest.image;
        return {
            available: !running && !waiting && !due,
            waiting: waiting,
            due: due,
            version: manifest.version,
            sequence: manifest.sequence,
            size: image ? image.size : 0,
            files: files ? files.missing_.map(function (index) { return files.set_.files[index].name; }) : [],
            bytes: (files ? files.bytes_ : 0) + (image && !imageRuns ? image.size : 0),
            manifest: manifest,
        };
    }
    /**
     * `manifest`: undefined where `digest` or `insecure` says which image may run. `set`: the files that go with it.
     * `filesOnly`: there is no image, or it runs already. Throws for what counts as bad on this device.
     */
    function planOf(settings, manifest, files, filesOnly) {
        var image = manifest && !filesOnly ? manifest.image : undefined;
        var plan = {
            url_: image ? fileUrl(settings, image.url) : settings.url,
            size_: image ? image.size : filesOnly ? 0 : -1,
            // of files alone nothing in a slot is verified
            digest_: filesOnly
                ? files.set_.id
                : manifest
                    ? lazyManifest().digestOf_(manifest)
                    : lazyBytes().parseDigest_(settings.digest || "", "fsverity-sha256:" /* Prefix.CONFIG */),
            set_: "",
            bad_: files ? badName(files) : "",
            sequence_: manifest ? manifest.sequence : 0,
            version_: manifest ? manifest.version : "",
            project_: manifest ? manifest.project : "",
            askStorage_: !(image && image.storage) && !settings.allowStorageLoss && !filesOnly,
            allowRolledBack_: settings.allowRolledBack,
        };
        lazyRecords().checkNotRolledBack_(plan);
        return plan;
    }
    return { dueOf_: dueOf, planFiles_: planFiles, fetchFiles_: fetchFiles, findWaiting_: findWaiting, offerOf_: offerOf, planOf_: planOf };
}
















function lazySession() {
    // Where an interrupted update continues. Nothing is stored for it: flash itself tells.
    // Source: docs/decisions/resume-without-state.md.
    /**
     * Where to continue with a file of `total` bytes whose first bytes are `buffered`. The first Size.HEAD of them are
     * compared with the slot. If they are equal: the start of the last sector before the first blank one (slot-writer.ts);
     * otherwise 0. The slot may still hold another file: the digest at the end decides.
     */
    function resumeOffset(slot, buffered, total) {
    var lazyBlocksOnce = lazyBlocks();
        if (total < 0)
            return 0;
        // in small parts, because memory is shortest here. The first word is not compared: it is written at the end
        for (var start = 4 /* Size.WORD */; start < 1024 /* Size.HEAD */ - 4 /* Size.WORD */; start += 1024 /* Size.HEAD */ / 8 - 4 /* Size.WORD */)
            if (!holds(slot.address + start, buffered.substr(start, 1024 /* Size.HEAD */ / 8 - 4 /* Size.WORD */)))
                return 0;
        var offset = 4096 /* Flash.SECTOR */;
        while (offset < total && !lazyBlocksOnce.isBlank_(slot.address + offset))
            offset += 4096 /* Flash.SECTOR */;
        return offset - 4096 /* Flash.SECTOR */;
    }
    // The state of one update, from its first byte in flash to its end. The end of step 4 and steps 5 and 6 of
    // update.ts are in receiver.ts, steps 7 to 9 in finish.ts. It uses callbacks and not promises: a promise costs JsVars, and
    // cannot be created when none are left.
    //
    //   from                 to           when
    //   READY                WORKING      perform
    //   WORKING              READY        a sector is in flash (step by step only)
    //   WORKING              COMPLETE     the last byte is in flash
    //   WORKING              VERIFYING    the last byte of a resumed file is in flash
    //   VERIFYING            COMPLETE     its digest is right
    //   VERIFYING            READY        its digest is wrong: the download starts again at byte 0
    //   WORKING, VERIFYING   FAILED       an error; then only abort is allowed
    //   READY, COMPLETE      FINISHING    finish; from READY it fails, unless the last byte is in flash
    //   FINISHING            FINISHED     the slot is selected
    //   FINISHING            DEAD         an error
    //   any before DEAD      DEAD         abort
    //
    // Source: docs/design.md#states-of-an-update (IDF esp_https_ota.c).
    /**
     * Continues an earlier update, if the slot begins with the same bytes as `head`, the first bytes of the file. Only if the
     * file has a digest, because the digest verifies the earlier bytes at the end. False: the update starts at byte 0.
     */
    function resumeSession(session, head) {
        var offset = session.plan_.digest_ ? resumeOffset(session.target_, head, session.size_) : 0;
        if (offset <= head.length)
            return false;
        session.resumed_ = true;
        session.word_ = head.substr(0, 4 /* Size.WORD */);
        session.written_ = offset;
        lazyDownload().seek_(session.download_, offset);
        return true;
    }
    /** Creates the session. `present`: the target slot holds the whole image already. */
    function openSession(plan, emit, layout, target, download, present, push) {
        var session = {
            phase_: 0 /* Phase.READY */,
            plan_: plan,
            emit_: emit,
            layout_: layout,
            target_: target,
            download_: download,
            size_: plan.size_ < 0 ? download.total_ : plan.size_,
            written_: present ? plan.size_ : 0,
            word_: "",
            verified_: present,
            resumed_: false,
            complete_: false,
            stepwise_: false,
            push_: push,
            pushed_: 0,
        };
        if (!present && !push)
            resumeSession(session, download.inbox_.buffered_);
        return session;
    }
    /** Ends the download; the session gets the phase `end`. */
    function closeSession(session, end) {
        session.phase_ = end;
        session.receive_ = undefined;
        lazyDownload().closeDownload_(session.download_);
    }
    /** Ends a perform() or a finish() with `error`. */
    function failSession(session, error) {
        if (session.phase_ < 3 /* Phase.COMPLETE */)
            closeSession(session, 5 /* Phase.FAILED */);
        session.reject_(error);
        session.release_(error);
    }
    /** Ends a perform() with success. `complete`: the last byte is in flash. */
    function succeed(session, complete) {
        // the receiver is freed: memory is shortest while the digest is computed
        if (complete)
            closeSession(session, 3 /* Phase.COMPLETE */);
        else
            session.phase_ = 0 /* Phase.READY */;
        session.complete_ = complete;
        session.resolve_(complete ? 0 /* Code.OK */ : 36865 /* Code.IN_PROGRESS */);
    }
    /** Ends the update. A pending promise rejects with `error`, which is not given if the user has aborted. */
    function abortSession(session, error) {
        var phase = session.phase_;
        if (phase >= 6 /* Phase.DEAD */)
            return;
        var reason = error || otaError(259 /* Code.INVALID_STATE */, "update aborted");
        closeSession(session, 6 /* Phase.DEAD */);
        session.emit_("ABORT");
        if (phase === 1 /* Phase.WORKING */ || phase === 2 /* Phase.VERIFYING */ || phase === 4 /* Phase.FINISHING */)
            session.reject_(reason);
        else
            session.unheard_ = error;
        session.release_(reason);
    }
    return { resumeSession_: resumeSession, openSession_: openSession, closeSession_: closeSession, failSession_: failSession, succeed_: succeed, abortSession_: abortSession };
}








function lazyFinish() {
    // The end of a file, and steps 7 to 9 of an update: verifies the image in flash, then selects its slot.
    /** Steps 8 and 9. `claim`: where the image keeps Storage, null when that is not checked. */
    function commit(session, claim) {
        var plan = session.plan_;
        var target = session.target_;
        var layout = session.layout_;
        lazyRecords().checkNotRolledBack_(plan);
        if (claim)
            lazySlots().checkStorage_(claim);
        // Step 8: the slot now holds an image, and the boot record counts its starts
        if (session.word_)
            lazyBlocks().completeImage_(target.address, session.word_);
        var filesOnly = target.address === layout.running_.address;
        // another slot that was selected since the start is given up, as by step 5: the files are for the one that runs
        if (filesOnly && lazyOtadata().selectedSlot_(layout, lazyOtadata().readEntries_(layout.otadata_)).address !== target.address)
            lazyOtadata().select_(layout, target, 2 /* State.VALID */);
        lazyRecords().recordSelected_(target, layout.running_, session.written_, plan);
        // of a release of files alone that record is the commit point
        if (filesOnly)
            return;
        // Step 9: the commit point
        lazyOtadata().select_(layout, target, 0 /* State.NEW */);
        session.emit_("UPDATE_BOOT_PARTITION", target.subtype);
    }
    /** To be called when the last byte is in flash. A resumed file is verified before perform() ends. */
    function endFile(session) {
        session.phase_ = 2 /* Phase.VERIFYING */;
        function onVerified(error) {
            if (session.phase_ !== 2 /* Phase.VERIFYING */)
                return;
            if (error && error.code !== 5379 /* Code.OTA_VALIDATE_FAILED */)
                return lazySession().failSession_(session, error);
            session.resumed_ = false;
            session.verified_ = !error;
            // the resumed part belonged to another file
            if (error)
                lazyDownload().seek_(session.download_, 0);
            lazySession().succeed_(session, !error);
        }
        // after the receiver has returned: its memory is needed, and a wrong file is read again from byte 0
        after(0, function () {
            if (session.phase_ !== 2 /* Phase.VERIFYING */)
                return;
            if (!session.resumed_)
                return lazySession().succeed_(session, true);
            lazyVerify().verifyImage_(session.layout_.chip_, session.target_.address, session.written_, session.plan_.digest_, session.word_, onVerified, session.hasher_);
        });
    }
    /** Steps 8 and 9, in a later idle pass: until this one ends, the functions that have read the image hold their memory. */
    function commitLater(session, claim, end) {
        after(0, function () {
            var failure = null;
            if (session.phase_ !== 4 /* Phase.FINISHING */)
                return;
            tryOr(function () { return commit(session, claim); }, function (thrown) {
                failure = thrown;
            });
            end(failure);
        });
    }
    /**
     * In phase COMPLETE; in READY it rejects, because it is too early.
     * More than 30 lines: its callbacks share the session, and each further closure would hold more JsVars while the image is hashed.
     */
    function finish(session, resolve, reject) {
        var plan = session.plan_;
        session.reject_ = reject;
        session.phase_ = 4 /* Phase.FINISHING */;
        function end(error) {
            lazySession().closeSession_(session, error ? 6 /* Phase.DEAD */ : 7 /* Phase.FINISHED */);
            session.hasher_ = undefined;
            session.emit_("FINISH");
            if (error)
                reject(error);
            else
                resolve(0 /* Code.OK */);
            session.release_(error);
        }
        /** After the image is verified: computes its digest where none was given, then finds where it keeps Storage. */
        function onVerified(error, found) {
            if (session.phase_ !== 4 /* Phase.FINISHING */)
                return;
            // parts of two files may be mixed: the next try may get one whole file
            if (error && error.code === 5379 /* Code.OTA_VALIDATE_FAILED */)
                error.retry = !!session.download_.mixed_;
            if (error)
                return end(error);
            tryOr(function () {
                if (typeof found === "string") {
                    plan.digest_ = found;
                    found = null;
                }
                if (!plan.digest_)
                    return lazyVerify().hashFlash_(session.target_.address, session.written_, session.word_, "", onVerified, session.hasher_);
                if (plan.askStorage_) {
                    plan.askStorage_ = false;
                    return lazySlots().findStorage_(session.target_.address, onVerified);
                }
                commitLater(session, found, end);
            }, end);
        }
        // Step 7: the bytes in flash are verified, not those that came over the network
        if (!session.complete_ || (plan.size_ >= 0 && session.written_ !== session.size_))
            onVerified(otaError(5379 /* Code.OTA_VALIDATE_FAILED */, "image incomplete: " + session.written_ + (session.size_ < 0 ? "" : " of " + session.size_) + " bytes"));
        else if (session.verified_)
            onVerified(null);
        else
            lazyVerify().verifyImage_(session.layout_.chip_, session.target_.address, session.written_, plan.digest_, session.word_, onVerified, session.hasher_);
    }
    return { endFile_: endFile, finish_: finish };
}










// The end of step 4, and steps 5 and 6 of update.ts: perform, and how bytes get from the network to flash. The listener
// of the connection fills a block in RAM (net/inbox.ts). Here whole blocks are written, read back and hashed.
/**
 * The consumer of the download of `session`. It ends each perform(): session.ts.
 * More than 60 lines: a closure that is made once for an update, so that what each block passes has no object to look into.
 */
function createReceiver(session) {
    /**
     * Chip revision, major * 100 + minor; -1 where JavaScript cannot read it (all chips except the classic ESP32). As
     * efuse_hal_get_major_chip_version() and efuse_hal_get_minor_chip_version() of IDF's efuse_hal.c.
     */
    function chipRevision(chip) {
        if (chip !== 0 /* Esp32.ESP_CHIP_ID */)
            return -1;
        var word5 = peek32(1073061908 /* Esp32.EFUSE_BLK0_RDATA5_REG */, 1);
        var major = 0;
        if (peek32(1073061900 /* Esp32.EFUSE_BLK0_RDATA3_REG */, 1) & 32768 /* Esp32.EFUSE_RD_CHIP_VER_REV1 */)
            if (!(word5 & 1048576 /* Esp32.EFUSE_RD_CHIP_VER_REV2 */))
                major = 1;
            else
                major = peek32(1073111164 /* Esp32.APB_CTRL_DATE_REG */, 1) >>> 31 /* Esp32.APB_CTRL_DATE_ECO_BIT2_S */ ? 3 : 2;
        return major * 100 + ((word5 >>> 24 /* Esp32.EFUSE_RD_WAFER_VERSION_MINOR_S */) & 3 /* Esp32.EFUSE_RD_WAFER_VERSION_MINOR_V */);
    }
    /**
     * To be called when no entry of otadata names the slot. `size`: bytes of the file, or the most that it can have.
     * More than 60 lines: a closure. As fields of an object its variables would take more JsVars, and more time for each block. Its
     * functions are not inlined, because the engine reads the code that it skips.
     */
    function createWriter(layout, slot, inbox, size) {
        /**
         * Erases the sector at `addr`, which will be written and read back as a whole. Only its first bytes are read here: they
         * show an erase that does nothing. An erase that leaves some bits is found when the sector is read back.
         */
        function eraseForWrite(addr) {
            flash.erasePage(addr);
            if (!holds(addr, BLANK))
                throw otaError(24577 /* Code.FLASH_OP_FAIL */, "sector " + lazyBytes().hex_(addr) + " is not blank after its erase" /* Fact.NOT_BLANK */);
        }
        /**
         * Writes `pieces`, binary strings and bytes, one after the other at `addr`, which is erased; the caller reads them back.
         * One call of the engine lets the chip program whole pages. The engine copies the pieces to its stack for that, and throws
         * if its stack is too small (jsvar.h JSV_GET_AS_CHAR_ARRAY): then they are written one by one.
         */
        function program(addr, pieces) {
            try {
                flash.write(pieces, addr);
            }
            catch (_) {
                for (var i = 0; i < pieces.length; i++) {
                    flash.write(pieces[i], addr);
                    addr += pieces[i].length;
                }
            }
        }
        // Writes a slot, sector by sector: the only writer of app partitions.
        // The first word of a file holds the magic number of an image. It is written last, after the rest was verified in
        // flash. So no bootloader takes a refused or unverified file for an image, whatever otadata says.
        /** Throws unless `length` bytes at `offset` lie in `slot` and in one sector. */
        function checkRange(slot, offset, length) {
            if ((offset % 4096 /* Flash.SECTOR */) + length > 4096 /* Flash.SECTOR */ || offset + length > slot.size)
                throw otaError(260 /* Code.INVALID_SIZE */, length + " bytes at " + lazyBytes().hex_(offset) + " of slot " + slot.label);
        }
        /**
         * State and CRC of both entries: they tell cheaply that otadata has not changed. Few bytes, because more would be
         * kept in one piece, and the engine searches for room (jsvar.c jsvNewFlatStringOfLength).
         */
        function readOtadata(layout) {
            var addr = layout.otadata_.address + 24 /* Entries.STATE */;
            return readText(addr, 32 /* Entries.LENGTH */ - 24 /* Entries.STATE */) + readText(addr + 4096 /* Flash.SECTOR */, 32 /* Entries.LENGTH */ - 24 /* Entries.STATE */);
        }
        /**
         * Throws when otadata selects `slot`: another program, or another instance of this module, may have written an entry.
         * Returns what was looked at.
         */
        function checkNotSelected(layout, slot) {
            var entries = lazyOtadata().readEntries_(layout.otadata_);
            if (lazyOtadata().copyOf_(layout, entries, slot) >= 0 || lazyOtadata().selectedSlot_(layout, entries).address === slot.address)
                throw otaError(5377 /* Code.OTA_PARTITION_CONFLICT */, "otadata selects slot " + slot.label + ", which an update is writing");
            return readOtadata(layout);
        }
        /** Does flash at `addr` hold `pieces`, one behind the other? */
        function holdsAll(addr, pieces) {
            for (var i = 0; i < pieces.length; i++) {
                if (!holds(addr, binary(pieces[i])))
                    return false;
                addr += pieces[i].length;
            }
            return true;
        }
        var erasesLeft = 2 * Math.ceil(size / 4096 /* Flash.SECTOR */); // twice, because a wrong resumed file is written again
        var nextErased = -1; // address of the sector that was erased ahead; 0: none is; -1: before the first write
        var alreadyInFlash = false; // flash holds all bytes of this sector that have arrived so far
        if (slot.address === layout.running_.address)
            throw otaError(5377 /* Code.OTA_PARTITION_CONFLICT */, "slot " + slot.label + " is running");
        var otadata = readOtadata(layout);
        /** `maybeBlank`: an earlier run, or this one before the file began again, may have erased the sector already. */
        function makeBlank(sector, maybeBlank) {
            if (sector >= slot.address + slot.size)
                return;
            if (sector !== nextErased && !(maybeBlank && lazyBlocks().isBlank_(sector))) {
                // without `retry`: each further try within this update would erase one more sector
                if (erasesLeft-- < 1)
                    throw otaError(28684 /* Code.HTTP_INCOMPLETE_DATA */, "the file began again too often: twice its sectors were erased");
                eraseForWrite(sector);
            }
            nextErased = sector;
        }
        /**
         * The first block, and each one whose sector was not erased ahead: writes it where flash does not hold it yet.
         * Returns the first word of the file, which stays blank, if this is its first block.
         */
        function writeUnprepared(offset, more) {
            var inSector = offset % 4096 /* Flash.SECTOR */;
            var sector = slot.address + offset - inSector;
            var maybeBlank = nextErased >= 0 || offset > 0;
            var addr = slot.address + offset;
            var word = "";
            if (!offset) {
                word = lazyBlocks().join_(inbox.pieces_);
                inbox.pieces_ = [word.substr(4 /* Size.WORD */)];
                word = word.substr(0, 4 /* Size.WORD */);
                addr += 4 /* Size.WORD */;
            }
            alreadyInFlash = (inSector > 0 || sector !== nextErased) && holdsAll(addr, inbox.pieces_);
            if (alreadyInFlash)
                return word;
            // the slot is about to hold another file: from here on it must not look like an image
            if (nextErased < 0 && offset)
                lazyBlocks().clearWord_(slot.address);
            var start = ""; // bytes of the sector in front of `addr`, which an erase would lose
            if (!inSector)
                makeBlank(sector, maybeBlank);
            else if (!holds(addr, lazyBlocks().blank_(4096 /* Flash.SECTOR */ - inSector))) {
                start = binary(read$1(sector, inSector));
                makeBlank(sector, false);
            }
            nextErased = 0;
            if (more)
                makeBlank(sector + 4096 /* Flash.SECTOR */, maybeBlank);
            var skipped = sector === slot.address ? 4 /* Size.WORD */ : 0;
            if (start)
                lazyBlocks().write_(sector + skipped, start.substr(skipped));
            program(addr, inbox.pieces_);
            return word;
        }
        function differs(addr) {
            throw otaError(24577 /* Code.FLASH_OP_FAIL */, "flash at " + lazyBytes().hex_(addr) + " differs from what was written" /* Fact.DIFFERS */);
        }
        function write$1(more, hasher) {
            var offset = inbox.offset_;
            var addr = slot.address + offset;
            var length = inbox.filled_;
            var inSector = offset % 4096 /* Flash.SECTOR */;
            var word = "";
            checkRange(slot, offset, length);
            if (!inSector && readOtadata(layout) !== otadata)
                otadata = checkNotSelected(layout, slot);
            if (offset && (inSector ? !alreadyInFlash : addr === nextErased)) {
                if (!inSector) {
                    alreadyInFlash = false;
                    nextErased = 0;
                    if (more)
                        makeBlank(addr + 4096 /* Flash.SECTOR */, false);
                }
                program(addr, inbox.pieces_);
            }
            else
                word = writeUnprepared(offset, more);
            if (!alreadyInFlash && !holdsAll(addr + word.length, inbox.pieces_))
                differs(addr + word.length);
            inbox.pieces_ = [];
            if (hasher)
                hasher.add_(offset, sha256(lazyBlocks().readBlock_(addr, length, word)));
            inbox.filled_ = 0;
            inbox.offset_ = offset + length;
        }
        function writeNext(piece, hasher) {
            var offset = inbox.offset_;
            var addr = slot.address + offset;
            var room = 4096 /* Flash.SECTOR */ - inbox.filled_;
            var rest = piece.length - room;
            if (addr !== nextErased || rest < 0 || offset + 2 * 4096 /* Flash.SECTOR */ > slot.size)
                return false;
            if (readOtadata(layout) !== otadata)
                otadata = /*@__NOINLINE__*/ checkNotSelected(layout, slot);
            makeBlank(addr + 4096 /* Flash.SECTOR */, false);
            // parts of the piece, not copies: a copy wants room in one piece, which is searched for
            var bytes = E.toArrayBuffer(piece);
            inbox.pieces_.push(new Uint8Array(bytes, 0, room));
            var sent = binary(sha256(inbox.pieces_));
            program(addr, inbox.pieces_);
            inbox.pieces_ = rest ? [new Uint8Array(bytes, room, rest)] : [];
            inbox.filled_ = rest;
            inbox.offset_ = offset + 4096 /* Flash.SECTOR */;
            var hash = sha256(read$1(addr, 4096 /* Flash.SECTOR */));
            if (binary(hash) !== sent) /*@__NOINLINE__*/
                differs(addr);
            hasher.add_(offset, hash);
            return true;
        }
        return { write_: write$1, writeNext_: writeNext };
    }
    var download = session.download_;
    var inbox = download.inbox_;
    var layout = session.layout_;
    var target = session.target_;
    var plan = session.plan_;
    var fast = plan.digest_ && lazyEngine().freeVars_() > 2600 /* Free.FAST */;
    var writer; // created when step 5 is done: memory is shortest before it
    /** Calls the listener of the user. Throws when that has aborted the update. */
    function tell(name, data, total) {
        session.emit_(name, data, total);
        if (session.phase_ >= 6 /* Phase.DEAD */)
            throw otaError(259 /* Code.INVALID_STATE */, "update aborted");
    }
    /**
     * Step 4, its end: the header is checked before anything is erased. `start`: the file's first bytes; "" when they are
     * in flash, left there by an earlier update, but for the first word.
     */
    function checkStart(start) {
        var head;
        if (start)
            head = lazyBytes().bytesOf_(start.substr(0, 288 /* Size.DESC_END */));
        else {
            head = read$1(target.address, 288 /* Size.DESC_END */);
            head.set(session.word_);
        }
        lazyImage().checkHead_(head, layout.chip_, chipRevision(layout.chip_), read$1(layout.running_.address, 288 /* Size.DESC_END */), session.size_ < 0 ? target.size : session.size_, tell);
    }
    /** The first block of this update, or the first one again because the file began again. */
    function prepare() {
        var start = "";
        if (!inbox.offset_) {
            start = lazyBlocks().join_(inbox.pieces_).substr(0, 288 /* Size.DESC_END */);
            session.word_ = start.substr(0, 4 /* Size.WORD */);
        }
        checkStart(start);
        // Step 5: so that no half-written slot is selected, and no trial begins without its record
        lazyRecords().reserveRecords_();
        lazyOtadata().deselect_(layout, target);
        if (!writer)
            writer = /*@__NOINLINE__*/ createWriter(layout, target, inbox, plan.size_ < 0 ? target.size : plan.size_);
        if (fast && start)
            session.hasher_ = /*@__NOINLINE__*/ createFsVerityHasher(target.address, session.word_);
    }
    download.failed_ = function (error) { return lazySession().failSession_(session, error); };
    // the slot holds the whole image already, or there are only files: nothing is received
    if (session.verified_)
        return function () {
            if (target.address !== layout.running_.address)
                checkStart("");
            lazySession().succeed_(session, true);
        };
    // without a length, only a full sector or the end tells whether another sector follows and must be erased ahead
    inbox.block_ = fast || (plan.size_ < 0 && download.total_ < 0) ? 4096 /* Flash.SECTOR */ : 1024 /* Flash.PIECE */;
    // Step 6 for most sectors, called below the listener of the connection
    if (fast && !session.stepwise_ && !session.push_)
        inbox.full_ = function (piece) {
            var next = inbox.offset_ + 2 * 4096 /* Flash.SECTOR */;
            if (!session.hasher_ || next > inbox.end_ || next > session.size_)
                return false;
            if (!writer.writeNext_(piece, session.hasher_))
                return false;
            session.written_ = inbox.offset_;
            tell("WRITE_FLASH", inbox.offset_, session.size_);
            return true;
        };
    // Step 6: a block is full, or it is the last one
    return function (_, last) {
        var offset = inbox.offset_;
        // when the file changes, its length may change
        var total = plan.size_ < 0 ? download.total_ : plan.size_;
        session.size_ = total;
        if (inbox.filled_) {
            // over HTTP it has been looked for before the first perform()
            if (session.push_ && !writer && !offset && lazySession().resumeSession_(session, lazyBlocks().join_(inbox.pieces_)))
                return;
            if (!writer || !offset)
                prepare();
            // without a length: as long as the end is not known, another sector follows
            writer.write_(total < 0 ? !last : offset - (offset % 4096 /* Flash.SECTOR */) + 4096 /* Flash.SECTOR */ < total, session.hasher_);
        }
        var sectorEnds = last || inbox.offset_ % 4096 /* Flash.SECTOR */ === 0;
        session.written_ = inbox.offset_;
        if (sectorEnds && inbox.offset_ > offset)
            tell("WRITE_FLASH", inbox.offset_, total);
        if (last)
            lazyFinish().endFile_(session);
        else if (sectorEnds && session.stepwise_ && !session.push_)
            lazySession().succeed_(session, false);
        if (session.phase_ !== 1 /* Phase.WORKING */)
            download.consumer_ = null;
    };
}




















/**
 * Steps 2 to 4. `offerOnly`: only steps 2 and 3, and without touching the flash.
 * More than 60 lines: its callbacks share what step 2 found, and a variable of a scope takes fewer JsVars than an object that is
 * handed on.
 */
function open(settings, emit, offerOnly, done, failed) {
    /**
     * Does `slot` hold the file of `size` bytes with this digest? The bytes are compared and not the versions, because
     * different builds of Espruino have the same version. The running slot is hashed once, and its digest is kept in the boot
     * record. Another slot is hashed each time that it may hold the file, because it will be selected.
     */
    function holdsImage(layout, slot, size, digest, done) {
        var running = slot.address === layout.running_.address;
        var recorded = lazyRecords().knownImage_(slot);
        var matches = !!recorded && recorded.size === size && recorded.digest === digest;
        if (recorded && recorded.digest && (running || !matches))
            return done(null, matches);
        var length = 0;
        tryOr(function () {
            length = lazyImage().walkSegments_(layout.chip_, slot.size, function (offset, bytes) { return read$1(slot.address + offset, bytes); });
        }, noop);
        // the slot holds no whole image, or one of another length. Bytes behind the image in its file are not blank
        if (!length || length > size || (length < size && read$1(slot.address + length, 1)[0] === 0xff))
            return done(null, false);
        lazyVerify().hashFlash_(slot.address, size, "", "", function (error, found) {
            if (running && !error && length === size)
                lazyRecords().recordHashed_(slot, size, found);
            done(error, found === digest);
        });
    }
    /**
     * Fetches the manifest at `settings.url`, verifies it and checks it for the slot `target`, which is null if the table has
     * no other slot. Calls `done` once: with the manifest, and true if its image runs already, or if it has no image. An image
     * that could not read the files in Storage is refused. Errors: those of the download; OTA_VALIDATE_FAILED for the
     * signature; those of manifest.ts and policy.ts.
     * More than 30 lines: the callbacks of the steps share the settings, and free their keys in between.
     */
    function getManifest(settings, layout, target, done) {
        // The chips that Espruino has builds for: their ids, what the flash MMU maps, the registers that the module reads, and
        // the RAM that a bootloader loads. Pure. It is the only table of these numbers, for the module and for the command on
        // the host.
        // Source: docs/formats.md#chips, #segments and #registers-of-the-chips. Names are IDF's, read in v5.5 (headers of
        // soc/<chip>: soc.h; ext_mem_defs.h for SOC_MMU_...; others are named below; esp_chip_id_t in esp_app_format.h).
        // Enums, because the compiler puts their numbers where they are used: they take no variable.
        /** CONFIG_IDF_TARGET by `esp_chip_id_t`. */
        var CHIP_NAMES = { 0: "esp32", 5: "esp32c3", 9: "esp32s3" };
        /**
         * Verifies a manifest: one token, or two with the same payload and a line end between them. `threshold` of `keys`, 1 or 2,
         * must have signed it. Calls `done` once, as verifyJws.
         */
        function verifyManifest(text, keys, threshold, done) {
            /**
             * Verifies that one of `keys` has signed `token`. Calls `done` once: with the payload as text, and that key; or with
             * OTA_VALIDATE_FAILED and "".
             * More than 30 lines: one check after the other, and values that are not needed any more are freed in between.
             */
            function verifyJws(token, keys, done) {
                // Limits of the manifests that a device reads. Pure: the command on the host signs within the same limits.
                /** Value of `typ` in the header. */
                var TYPE = "https-ota+jws";
                // A JSON Web Signature in compact serialization, PS256 only (RFC 7515, 7518 3.5), parsed as strictly as its RFCs
                // allow. The payload is not decoded before its signature is verified.
                /**
                 * The header, if it has exactly alg PS256, our typ and a kid; else null: every other member (crit, b64, jwk ...) could
                 * change what the signature means. A header with a nested value is not parsed: a stranger may have written it, and the
                 * engine's parser recurses without a check of its stack.
                 */
                function parseHeader(text) {
                    if (text.indexOf("{", 1) > 0 || text.indexOf("[") >= 0 || text.indexOf(",}") >= 0)
                        return null;
                    var header = null;
                    tryOr(function () {
                        header = lazyManifest().parseJson_(text);
                    }, noop);
                    if (!header)
                        return null;
                    var members = 0;
                    for (var _ in header)
                        members++;
                    return members === 3 && header.alg === "PS256" && header.typ === TYPE && typeof header.kid === "string"
                        ? header
                        : null;
                }
                var first = token.indexOf(".");
                var second = token.indexOf(".", first + 1);
                var whole = first > 0 &&
                    first <= 512 /* Jws.MAX_HEADER */ &&
                    second > first &&
                    token.length - second - 1 <= 683 /* Jws.MAX_SIGNATURE */ &&
                    token.indexOf(".", second + 1) < 0;
                var headerText = whole ? lazyKeys().fromBase64url_(token.substr(0, first)) : null;
                var signature = headerText && lazyKeys().fromBase64url_(token.substr(second + 1));
                var header = signature && parseHeader(headerText);
                var signer = header && lazyKeys().keyCalled_(keys, header.kid);
                if (!signer)
                    return done(lazyKeys().notTrusted_(), "");
                var key = lazyKeys().parseKey_(signer);
                var free = lazyEngine().freeVars_();
                // the computation needs nine numbers as long as the key; if memory is fragmented, a JsVar holds 10 bytes of one
                var least = 100 + 1.5 * key.n_.length;
                if (free < least)
                    throw otaError(257 /* Code.NO_MEM */, free + " JsVars are free, a key of this length needs " + least + " here", true);
                var digest = sha256(token.substr(0, second));
                /*@__NOINLINE__*/ verifyPss(key.n_, key.e_, lazyBytes().bytesOf_(signature), digest, 
                /*@__NOINLINE__*/ answer(token.substring(first + 1, second), signer, done));
            }
            function payloadOf(token) {
                return token.substring(token.indexOf("."), token.lastIndexOf("."));
            }
            var end = text.indexOf("\n");
            var first = end < 0 ? text : text.substr(0, end);
            var second = end < 0 ? "" : text.substr(end + 1);
            if (end >= 0 && (payloadOf(first) !== payloadOf(second) || second.indexOf("\n") >= 0))
                return done(lazyKeys().notTrusted_(), "");
            // a single token: without another callback, which would keep both texts in memory
            if (end < 0 && threshold < 2)
                return verifyJws(first, keys, done);
            verifyJws(first, keys, function (error, payload, signer) {
                if (error ? threshold > 1 : threshold < 2)
                    return done(error, payload);
                verifyJws(second, keys.filter(function (key) { return key !== signer; }), done);
            });
        }
        // Step 3 of update.ts, with keys: fetches the manifest, verifies its signature, parses it and checks it against this
        // device, in this order. Key, signature and text are freed before the image is fetched.
        // Source: docs/design.md#trust, docs/formats.md#manifest.
        /**
         * The most characters that a manifest may have with `free` JsVars. Memory holds up to four copies of its text, with 12
         * characters in a JsVar, and the signature takes Needed.SIGNATURE. With a longer manifest memory would run out inside a
         * callback.
         */
        function mostOf(free) {
            return Math.min(3 * (free - 800 /* Needed.SIGNATURE */), 32768 /* Jws.MAX_MANIFEST */);
        }
        function fetchText(settings, done) {
            var free = lazyEngine().freeVars_();
            var limit = mostOf(free);
            var download = createDownload(settings, settings.url, limit, noop);
            function end(error, text) {
                lazyDownload().closeDownload_(download);
                done(error, text);
            }
            download.failed_ = function (error) {
                return end(error.code === 260 /* Code.INVALID_SIZE */ && limit < 32768 /* Jws.MAX_MANIFEST */
                    ? otaError(257 /* Code.NO_MEM */, "a manifest of more than " + limit + " bytes, and " + free + " JsVars are free", true)
                    : error, "");
            };
            download.consumer_ = function (text, ended) {
                if (ended)
                    end(null, text);
            };
            lazyDownload().read_(download);
        }
        function onPayload(error, payload) {
            settings.keys = undefined; // they are not needed any more, and a key takes 60 JsVars
            if (error)
                return done(error);
            tryOr(function () {
                var manifest = lazyManifest().parseManifest_(payload);
                lazyManifest().checkPolicy_(manifest, {
                    chip_: CHIP_NAMES[layout.chip_],
                    board_: lazyEngine().boardName_(),
                    slotSize_: target ? target.size : 0,
                    nowMs_: lazyEngine().now_(),
                    sequence_: lazyRecords().lowestSequence_(lazyRecords().loadRecord_(), layout.running_),
                }, !!settings.allowDowngrade);
                var desc = lazyImage().parseDesc_(read$1(layout.running_.address, 288 /* Size.DESC_END */));
                lazyManifest().checkProject_(manifest, settings.project || (desc ? desc.projectName : lazyRecords().loadRecord_().project));
                var image = manifest.image;
                if (!image)
                    return done(null, manifest, true);
                holdsImage(layout, layout.running_, image.size, lazyManifest().digestOf_(manifest), function (failure, running) {
                    tryOr(function () {
                        if (!failure && !running && image.storage && !settings.allowStorageLoss)
                            lazySlots().checkStorage_(image.storage);
                        done(failure, manifest, running);
                    }, done);
                });
            }, done);
        }
        function onText(error, text) {
            if (error)
                return done(error);
            tryOr(function () {
                verifyManifest(text, settings.keys, settings.threshold, onPayload);
            }, done);
        }
        if (settings.manifest)
            onText(null, settings.manifest);
        else
            fetchText(settings, onText);
    }
    /** Step 2: the slot to write. */
    function chooseTarget(layout, label) {
        var target = label === undefined ? lazySlots().nextSlot_(layout, layout.running_) : lazySlots().slotByLabel_(layout, label);
        if (!target)
            throw otaError(261 /* Code.NOT_FOUND */, "no slot is called " + label);
        if (target.address === layout.running_.address)
            throw otaError(5377 /* Code.OTA_PARTITION_CONFLICT */, "slot " + target.label + " is running");
        return target;
    }
    /** Step 2: refuses while an update would cost the device its program, or the slot to fall back to. */
    function checkDevice(settings, layout) {
        /**
         * Counts a refusal: the slot of the last update was selected before the last restart, and the bootloader started
         * another.
         */
        function noteRefusal(layout) {
            var slot = lazySlots().slotByLabel_(layout, lazyRecords().loadRecord_().slot);
            if (!slot || slot.address === layout.running_.address)
                return;
            var selected = lazyOtadata().selectedSlot_(layout, lazyOtadata().readEntries_(layout.otadata_)).address === slot.address;
            if ((selected && !lazyEngine().isRestartPending_()) || lazyOtadata().stateOf_(layout, slot) === 4 /* State.ABORTED */)
                lazyRecords().recordRefused_(slot.label);
        }
        lazyOtadata().checkConfirmed_(layout);
        if (!settings.allowSavedState && lazyEngine().readFile_(".varimg") !== undefined)
            throw otaError(259 /* Code.INVALID_STATE */, "save() keeps the program (Storage file .varimg), and other firmware drops it at its start: keep it in .boot0 " +
                "or by E.setBootCode() and erase .varimg, or set allowSavedState");
        noteRefusal(layout);
        if (!settings.allowUnconfirmed)
            lazyRecords().checkNotOnTrial_(layout.running_);
    }
    // An update, from begin() to the commit point. The order of its steps is its safety argument:
    //   1. arguments, the lock, free memory                                   begin
    //   2. partition table, otadata, the running slot and the target slot     begin
    //   3. manifest: fetch, verify the signature, parse, policy (with `keys`) begin
    //   4. files: fetch into Storage, verify there; nothing points to them    begin
    //      image: connect, first 1024 bytes; their header is checked          begin, first perform
    //   5. room for the boot record of a trial; otadata stops naming the target slot   first perform
    //   6. sectors: erase one ahead, write, read back; the first word stays blank      perform
    //   7. segments, length, digest or checksum, from flash                   finish
    //   8. the first word; the boot record of the trial, with the set of files finish
    //   9. select: one entry of otadata, the commit point. For a release of    finish
    //      files alone the record of step 8 is the commit point
    // Each step is marked where it happens: 1 to 4 here, in plan.ts and files.ts; the check of the header, 5 and 6 in receiver.ts;
    // 7 to 9 in finish.ts.
    // A failure before step 5 changes no slot and no otadata. Step 5 can undo a setBootPartition() after which the device has
    // not restarted. Apart from that, a failure before step 9 leaves the next start as it was. After a failure before step 8 the
    // slot holds no image that could start. Steps 2 and 3 may write one boot record each: a refusal by the bootloader is
    // counted, and the digest of the running image is kept. Step 4 erases files that no record names.
    // Source: the states of IDF esp_https_ota.c.
    /**
     * Step 4: waits for the first Size.HEAD bytes of the image, then calls `begin`. They stay in the buffer of the
     * download.
     */
    function awaitHead(download, begin, failed) {
        function fail(error) {
            lazyDownload().closeDownload_(download);
            failed(error);
        }
        download.failed_ = fail;
        download.consumer_ = function (data, ended) {
            var length = data.length;
            if (length < 1024 /* Size.HEAD */ && !ended)
                return;
            download.consumer_ = null;
            tryOr(function () {
                if (length < 1024 /* Size.HEAD */)
                    throw otaError(260 /* Code.INVALID_SIZE */, "file of " + length + " bytes, an image has at least " + 1024 /* Size.HEAD */);
                begin();
            }, fail);
        };
        lazyDownload().read_(download);
    }
    // Step 2: which slot runs, and which one is written?
    // a manifest may bring files alone, which need no other slot
    var layout = lazySlots().readLayout_(!!settings.keys);
    var target = layout.otadata_ ? chooseTarget(layout, settings.partition) : null;
    if (!offerOnly)
        checkDevice(settings, layout);
    /** Step 4. `present`: the target slot holds this image already. */
    function fetchImage(plan, slot, present) {
        var download = createDownload(settings, plan.url_, plan.size_ < 0 ? slot.size : plan.size_, emit);
        function begin() {
            done(lazySession().openSession_(plan, emit, layout, slot, download, present, !!settings.push));
        }
        download.total_ = plan.size_;
        if (present || settings.push)
            begin();
        else
            awaitHead(download, begin, failed);
    }
    /** Step 4, when the files are there. `set`: their list in Storage, "" without files. */
    function fetchRest(plan, filesOnly, set) {
        plan.set_ = set;
        // nothing of a slot is written: as if it held the image already
        if (filesOnly)
            return fetchImage(plan, layout.running_, true);
        holdsImage(layout, target, plan.size_, plan.digest_, function (failure, present) {
            tryOr(function () {
                if (failure)
                    throw failure;
                fetchImage(plan, target, present);
            }, failed);
        });
    }
    /** `imageRuns`: its image, if it has one, runs already. */
    function onManifest(error, manifest, imageRuns) {
        tryOr(function () {
            if (error || !manifest)
                throw error;
            var again = !!settings.allowSameVersion;
            var files = /*@__NOINLINE__*/ lazyIncoming().planFiles_(manifest);
            var filesOnly = !!files && !!imageRuns && !(again && manifest.image && target);
            // an image, and this table has no other slot: throws with its reason
            if (!target && !filesOnly && (!imageRuns || again))
                lazySlots().readLayout_();
            var running = !!imageRuns && (!files || files.running_);
            var waiting = running ? undefined : lazyIncoming().findWaiting_(layout, manifest, files, !!imageRuns);
            var due = settings.allowEarly ? 0 /* Due.NOW */ : lazyIncoming().dueOf_(manifest, lazyEngine().now_());
            if (offerOnly)
                return done(null, lazyIncoming().offerOf_(manifest, files, !!imageRuns, running, !!waiting, due));
            if ((running || waiting) && !again)
                return done(null, undefined, waiting);
            if (due)
                return done(null, undefined, undefined, due);
            var plan = lazyIncoming().planOf_(settings, manifest, files, filesOnly);
            if (!files)
                return fetchRest(plan, false, "");
            lazyIncoming().fetchFiles_(settings, files, emit, function (failure, set) {
                tryOr(function () {
                    if (failure)
                        throw failure;
                    fetchRest(plan, filesOnly, set);
                }, failed);
            });
        }, failed);
    }
    // Step 3: who says which image may run?
    if (settings.keys)
        getManifest(settings, layout, target, function (error, manifest, imageRuns) {
            // later, when what has verified and parsed it is freed
            tryOr(function () {
                after(0, function () { return onManifest(error, manifest, imageRuns); });
            }, failed);
        });
    else
        fetchImage(lazyIncoming().planOf_(settings), target, false);
}
/**
 * Acquires the lock, runs the steps as far as `mode` says, and releases the lock at the end. Resolves with an Offer, a Handle
 * or an UpdateResult.
 * More than 60 lines: every callback needs the same few variables, see open(). What it makes for an update, in functions of its own
 * with scopes of their own, took 26 JsVars more at the peak.
 */
function run(config, mode) {
    /** Keeps the result of an update for getStatus(). */
    function noteResult(result) {
        lastResult = result;
    }
    /** In phase READY. `resolve`: with IN_PROGRESS, or OK when the last byte is in flash. */
    function perform(session, resolve, reject) {
        var download = session.download_;
        session.resolve_ = resolve;
        session.reject_ = reject;
        session.phase_ = 1 /* Phase.WORKING */;
        if (!session.receive_)
            session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
        if (session.verified_)
            return tryOr(function () { return session.receive_("", true); }, download.failed_);
        download.consumer_ = session.receive_;
        lazyDownload().read_(download);
    }
    /** More than 30 lines: a table of methods, which share the session and the lock. */
    function createHandle(session, lock) {
        /**
         * In phase READY of a pushed update: takes `data`, which is at `offset` of the file. Bytes that are there already are
         * passed over. `resolve`: with the offset of the byte that is wanted next, the file's size when all are there.
         */
        function push(session, data, offset, resolve, reject) {
            /** What was pushed is taken, and the file has not ended. */
            function pause(session) {
                if (session.phase_ !== 1 /* Phase.WORKING */)
                    return;
                session.download_.consumer_ = null;
                session.download_.inbox_.room_ = 0;
                lazySession().succeed_(session, false);
            }
            var download = session.download_;
            var inbox = download.inbox_;
            var total = session.size_;
            var wanted = lazyDownload().received_(download);
            if (offset > wanted)
                throw otaError(258 /* Code.INVALID_ARG */, "bytes from " + offset + ", expected from " + wanted + ": go on there");
            var done = function () { return resolve(session.complete_ ? session.written_ : lazyDownload().received_(download)); };
            session.pushed_ = offset + data.length;
            if (session.verified_)
                return perform(session, done, reject);
            session.resolve_ = done;
            session.reject_ = reject;
            session.phase_ = 1 /* Phase.WORKING */;
            if (!session.receive_)
                session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
            inbox.end_ = total < 0 ? 2147483647 /* Body.ENDLESS */ : total;
            download.consumer_ = session.receive_;
            tryOr(function () {
                data = data.substr(wanted - offset);
                download.deliver_(total < 0 ? data : data.substr(0, total - wanted));
                pause(session);
            }, download.failed_);
        }
        /** No more bytes will be pushed: the file ends here. `resolve`, `reject`: of perform(). */
        function endPush(session, resolve, reject) {
            var download = session.download_;
            session.resolve_ = resolve;
            session.reject_ = reject;
            session.phase_ = 1 /* Phase.WORKING */;
            download.ended_ = true;
            download.consumer_ = session.receive_;
            tryOr(function () { return download.deliver_(""); }, download.failed_);
        }
        // What begin() resolves with: the user calls the steps of one update. Their order, and what each phase allows:
        // session.ts.
        /** For `call` in a phase that does not allow it: the error that no call has been told yet, if there is one. */
        function wrongState(session, call) {
            var unheard = session.unheard_;
            session.unheard_ = undefined;
            var ended = session.phase_ >= 5 /* Phase.FAILED */;
            return (unheard ||
                otaError(259 /* Code.INVALID_STATE */, call +
                    "() called " +
                    (ended
                        ? "after the update ended"
                        : session.phase_ === 3 /* Phase.COMPLETE */
                            ? "after the last byte"
                            : "before the previous call ended")));
        }
        /** Runs `step`, which may be called in phase READY and in `phase`. */
        function start(call, phase, step) {
            return new Promise(function (resolve, reject) {
                tryOr(function () {
                    if (session.phase_ !== 0 /* Phase.READY */ && session.phase_ !== phase)
                        throw wrongState(session, call);
                    lock.armWatchdog_();
                    step(function (outcome) {
                        resolve(outcome);
                        lock.watchdogPaused_ = true;
                    }, reject);
                }, reject);
            });
        }
        /** perform() and write() are for two ways that the bytes come. */
        function checkPush(push, remedy) {
            if (session.push_ !== push)
                throw otaError(259 /* Code.INVALID_STATE */, remedy);
        }
        return {
            perform: function () {
                return start("perform", 0 /* Phase.READY */, function (resolve, reject) {
                    checkPush(false, "with push the bytes come by write()");
                    perform(session, resolve, reject);
                });
            },
            write: function (data, offset) {
                return start("write", 0 /* Phase.READY */, function (resolve, reject) {
                    checkPush(true, "write() needs begin() with push");
                    push(session, binary(data), offset === undefined ? session.pushed_ : offset, resolve, reject);
                });
            },
            getImgDesc: function () {
                if (session.phase_ === 5 /* Phase.FAILED */ || session.phase_ === 6 /* Phase.DEAD */)
                    throw wrongState(session, "getImgDesc");
                session.emit_("GET_IMG_DESC");
                var desc = lazyImage().parseDesc_(session.written_
                    ? read$1(session.target_.address, 288 /* Size.DESC_END */)
                    : lazyBytes().bytesOf_(session.download_.inbox_.buffered_.substr(0, 288 /* Size.DESC_END */)));
                if (!desc)
                    throw otaError(261 /* Code.NOT_FOUND */, "the image has no app descriptor");
                return desc;
            },
            isCompleteDataReceived: function () { return session.complete_; },
            finish: function () {
                return start("finish", 3 /* Phase.COMPLETE */, function (resolve, reject) {
                    // while the size is unknown, this call is the end of the file, as esp_ota_end() is
                    if (session.push_ && session.receive_ && session.size_ < 0)
                        endPush(session, function () { return lazyFinish().finish_(session, resolve, reject); }, reject);
                    else
                        lazyFinish().finish_(session, resolve, reject);
                });
            },
            abort: function () {
                if (session.phase_ >= 6 /* Phase.DEAD */ || session.phase_ === 4 /* Phase.FINISHING */)
                    throw wrongState(session, "abort");
                lazySession().abortSession_(session);
            },
            getImageLenRead: function () { return session.written_; },
            getImageSize: function () { return session.size_; },
            getStatusCode: function () { return session.download_.status_; },
            getPartition: function () { return session.target_; },
        };
    }
    // What is decided before the first byte of an image is fetched: may this call update this device, which slot is
    // written, and what is installed. Parts of steps 1 to 3 of update.ts.
    /** Step 1: checks memory, configuration and keys. */
    function checkCall(config, mode) {
        var free = lazyEngine().freeVars_();
        // before the keys are parsed, which takes memory
        if (!lazyEngine().heldLock_() && free < 1600 /* Needed.UPDATE */)
            throw otaError(257 /* Code.NO_MEM */, free + " JsVars are free, an update needs " + 1600 /* Needed.UPDATE */, true);
        var settings = lazyConfig().checkConfig_(config);
        if (settings.keys)
            lazyKeys().checkKeys_(settings.keys);
        else if (mode === 0 /* Mode.CHECK */)
            throw otaError(258 /* Code.INVALID_ARG */, "checkForUpdate needs keys");
        if (settings.push && mode === 2 /* Mode.UPDATE */)
            throw otaError(258 /* Code.INVALID_ARG */, "push is for begin(): its handle.write() takes the bytes");
        return settings;
    }
    /**
     * The result of a call that has nothing to install. Throws INVALID_VERSION for begin(), which resolves with a handle
     * only.
     */
    function resultOfNothing(isBegin, offer, waiting, due) {
        if (isBegin && due)
            throw otaError(269 /* Code.NOT_ALLOWED */, "the rollout has not reached this device; allowEarly installs the release", true);
        if (isBegin)
            throw otaError(266 /* Code.INVALID_VERSION */, waiting
                ? "what the manifest names is installed and waits for the restart"
                : "what the manifest names is running already");
        if (due)
            return { upToDate: false, due: due };
        return offer || (waiting ? { upToDate: false, waiting: true, partition: waiting } : { upToDate: true });
    }
    return new Promise(function (resolve, reject) {
        var lock = null;
        var session = null;
        var settings;
        var onEvent;
        /** `error`: what the call ended with, null when all went well. */
        function release(error) {
            // a second call is refused while the first one runs, and says nothing of the first one's result
            if (lazyEngine().heldLock_() !== lock)
                return;
            if (mode !== 0 /* Mode.CHECK */)
                noteResult(error ? error.name + ": " + error.message : "ESP_OK");
            if (lock)
                lock.release_();
        }
        function fail(given) {
            var error = given || otaError(259 /* Code.INVALID_STATE */, "update aborted");
            if (session)
                lazySession().abortSession_(session, error);
            else if (lock) {
                settings.canceled_ = error;
                if (settings.cancel_)
                    settings.cancel_(error);
            }
            reject(error);
            release(error);
        }
        function emit(name, data, total) {
            try {
                if (onEvent)
                    onEvent(name, data, total);
            }
            catch (thrown) {
                lazyEngine().printLater_(thrown);
            }
        }
        /** update(): perform, then finish, then the result. */
        function onStep(outcome) {
            var one = session;
            if (outcome === 36865 /* Code.IN_PROGRESS */)
                perform(one, onStep, fail);
            else if (one.phase_ === 3 /* Phase.COMPLETE */)
                lazyFinish().finish_(one, onStep, fail);
            else
                resolve({ upToDate: false, partition: one.target_, size: one.written_ });
        }
        tryOr(function () {
            // More than 30 lines: step 1, and what open() hands over.
            // Step 1: nothing has been touched yet
            settings = checkCall(config, mode);
            config = undefined; // so that its keys are freed when the signature is verified
            onEvent = settings.onEvent;
            lock = acquireLock(fail, settings.deadline);
            if (mode !== 0 /* Mode.CHECK */)
                emit("START");
            /*@__NOINLINE__*/ open(settings, emit, mode === 0 /* Mode.CHECK */, function (opened, offer, waiting, due) {
                session = opened;
                if (!opened) {
                    resolve(resultOfNothing(mode === 1 /* Mode.BEGIN */, offer, waiting, due));
                    return release(null);
                }
                settings = undefined; // 60 JsVars: memory is shortest while the digest is computed
                var mine = lock;
                opened.release_ = release;
                if (lazyEngine().heldLock_() !== mine)
                    lazySession().abortSession_(opened); // the update was ended meanwhile
                else if (mode === 2 /* Mode.UPDATE */)
                    onStep(36865 /* Code.IN_PROGRESS */);
                else {
                    opened.stepwise_ = true;
                    resolve(createHandle(opened, mine));
                    mine.watchdogPaused_ = true;
                }
            }, fail);
        }, fail);
    });
}
/** Ends the running update, or the selection of a slot. The promise of that call rejects with ESP_ERR_INVALID_STATE. */
function abort() {
    var lock = lazyEngine().heldLock_();
    if (lock)
        lock.stop_();
}
/**
 * Checks the device, verifies the manifest if `keys` are given, connects, and waits for the image's first 1024 bytes;
 * no slot is written yet. Rejects with ESP_ERR_INVALID_VERSION when the manifest's image is running already.
 * One update at a time: until `finish` or `abort` another one is ESP_ERR_OTA_ALREADY_IN_PROGRESS. `esp_https_ota_begin`
 */
function begin(config) {
    return run(config, 1 /* Mode.BEGIN */);
}
/**
 * The whole update: begin, perform until done, finish. It does not restart the device: call `restart()` when that
 * suits. `esp_https_ota`
 */
function update(config) {
    return run(config, 2 /* Mode.UPDATE */);
}
/**
 * Fetches and verifies the manifest, and compares it with this device. Writes at most one record in Storage, with the
 * digest of the running image. Needs `keys`.
 */
function checkForUpdate(config) {
    return run(config, 0 /* Mode.CHECK */);
}



/** A report on the device. It reads flash and writes nothing. */
function getStatus() {
    // getStatus(): a report on the device. It writes nothing.
    function whyDifferent(layout, selected, record) {
        if (selected.address === layout.running_.address)
            return "";
        var slot = "slot " + selected.label;
        try {
            lazyImage().walkSegments_(layout.chip_, selected.size, function (offset, length) { return read$1(selected.address + offset, length); });
        }
        catch (thrown) {
            return slot + " can't start: " + thrown.message;
        }
        if (lazyEngine().isRestartPending_())
            return slot + " was selected, and not restarted into since";
        return "the bootloader refused " + slot + (record.refused ? ", " + record.refused + " times before" : "");
    }
    function describe(layout, slot) {
        var version;
        if (slot.address === layout.running_.address)
            version = lazyEngine().firmwareVersion_();
        else
            tryOr(function () {
                lazyImage().walkSegments_(layout.chip_, slot.size, function (offset, length) { return read$1(slot.address + offset, length); });
                var image = lazyRecords().knownImage_(slot);
                var desc = lazyImage().parseDesc_(read$1(slot.address, 288 /* Size.DESC_END */));
                version = (image && image.version) || (desc ? desc.version : undefined);
            }, noop);
        return { label: slot.label, size: slot.size, state: lazyOtadata().stateOf_(layout, slot), version: version };
    }
    var layout = lazySlots().readLayout_(true);
    var record = lazyRecords().loadRecord_();
    var set = lazyFiles().currentSet_();
    var selected = lazyOtadata().selectedSlot_(layout, lazyOtadata().readEntries_(layout.otadata_));
    var slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
    var storage = lazyEngine().storageStats_();
    return {
        running: layout.running_.label,
        boot: selected.label,
        next: layout.otadata_ ? lazySlots().nextSlot_(layout, layout.running_).label : "",
        state: lazyOtadata().stateOf_(layout, layout.running_),
        version: lazyEngine().firmwareVersion_(),
        sequence: record.sequence,
        release: set ? { version: set.version, entry: set.entry, files: set.files.map(function (one) { return one.name; }) } : null,
        trial: lazyOtadata().isOnTrial_(layout) ? { boots: Math.max(record.boots, 0), previous: record.previous } : null,
        rolledBack: record.bad.map(function (bad) { return (bad.indexOf(":") < 0 ? "fsverity-sha256:" /* Prefix.CONFIG */ + bad : bad); }),
        rollbackReason: record.reason,
        slots: slots.map(function (slot) { return describe(layout, slot); }),
        storage: { free: storage.freeBytes, trash: storage.trashBytes },
        last: lastResult,
        differs: whyDifferent(layout, selected, record),
    };
}




// Tells a server how this device is: docs/fleet.md#reports.
/**
 * POSTs `getStatus()`, with serial number, board, free JsVars and the reason of the last reset, as JSON to `url`. Resolves
 * with 0 when the server took it. What matters is in the boot record and so in the next report too: why the last image was
 * rolled back, and what is on trial. Rejects like an update that gets no manifest.
 */
function report(url, headers) {
    /** Why the chip was reset: soc_reset_reason_t. */
    function resetReason() {
        var register = chipId() === 0 /* Esp32.ESP_CHIP_ID */ ? 1072988212 /* Esp32.RTC_CNTL_RESET_STATE_REG */ : 1610645560 /* Esp32c3.RTC_CNTL_RESET_STATE_REG */;
        return peek32(register, 1) & 63 /* Esp32.RTC_CNTL_RESET_CAUSE_PROCPU */;
    }
    /**
     * POSTs `body`, JSON, to `url`. Calls `done` once: with null when the server has accepted it (2xx), else with the error of
     * the answer or of the network.
     * More than 30 lines: a closure, whose functions share the timer and the request.
     */
    function post(url, body, headers, done) {
        // One request with a body. Of the answer only the status is used. No redirect is followed, because the body is for the
        // server that the caller has named.
        var TIMEOUT = 20000; // ms for the whole exchange
        var timer;
        var outgoing;
        var ended = false;
        function end(error) {
            if (ended)
                return;
            ended = true;
            if (timer !== undefined)
                cancel(timer);
            lazyExchange().disconnect_(outgoing);
            done(error);
        }
        function send() {
            var parts = lazyExchange().parseUrl_(url);
            var all = { "Content-Type": "application/json", "Content-Length": "" + body.length };
            if (parts.auth_)
                all.Authorization = "Basic " + lazyBytes().base64_(parts.auth_);
            for (var name in headers)
                all[name] = headers[name];
            outgoing = lazyExchange().openRequest_(lazyExchange().requestTo_(parts, "POST", all), function (response) {
                tryOr(function () {
                    response.on("data", function () { });
                    var status = +response.statusCode;
                    if (status >= 200 && status < 300)
                        return end(null);
                    lazyExchange().parseAnswer_(status, response.headers); // throws the error for this status
                    end(otaError(264 /* Code.INVALID_RESPONSE */, "HTTP status " + status));
                }, end);
            }, function (error) { return end(otaError(28674 /* Code.HTTP_CONNECT */, "connection: " + error.message, true)); }, body);
        }
        tryOr(function () {
            timer = after(TIMEOUT, function () { return end(otaError(28683 /* Code.HTTP_READ_TIMEOUT */, "no answer for " + TIMEOUT + " ms", true)); }, true);
            // later: this call may come from a data listener of another connection
            after(20 /* Pause.SETTLE */, function () { return tryOr(send, end); }, true);
        }, end);
    }
    return new Promise(function (resolve, reject) {
        tryOr(function () {
            if (typeof url !== "string")
                throw otaError(258 /* Code.INVALID_ARG */, "report: url must be a string");
            var about = getStatus();
            about.serial = lazyEngine().serialNumber_();
            about.board = lazyEngine().boardName_();
            about.free = lazyEngine().freeVars_();
            about.reset = resetReason();
            post(url, JSON.stringify(about), headers ? lazyExchange().checkHeaders_(headers) : {}, function (error) {
                if (error)
                    reject(error);
                else
                    resolve(0);
            });
        }, reject);
    });
}














/**
 * Looks for an update now and then, and installs it. Never throws: what is wrong is told to `failed`. The first look comes
 * within an hour, at a time that differs from device to device; a failure of the network is tried again after a minute,
 * then two and so on, but not before the server's Retry-After (a day at most). Nothing is kept over a restart.
 * A look can be lost when no JsVar is left: its promise stays open, no timer could be made for the next one, or the timer
 * fired and what it calls did not run. So an interval, which needs no memory to start again, looks once an hour for what
 * does not go on.
 */
function poll(config) {
    /** As every(), but undefined when there is no memory: for a caller that does not depend on the interval. */
    function tryEvery(ms, callback) {
        return setInterval(callback, ms);
    }
    // One look of poll(), from its timer to the timer of the next one. Its states are in poll.ts. A file of its own, because the
    // build then makes most of these functions when a look begins, and frees them at its end (docs/decisions/lazy-scopes.md).
    /** Nothing new begins after it. */
    function stop(state) {
        state.stopped_ = true;
        if (state.timer_ !== undefined)
            cancel(state.timer_);
        if (state.guard_ !== undefined)
            cancel(state.guard_);
        state.timer_ = state.guard_ = undefined;
    }
    /** Sets the timer of the next look. When there is no memory for it, or for what it calls, the guard finds that. */
    function later(state, ms) {
        if (state.stopped_)
            return;
        state.hours_ = ms / 3600000 /* Ms.HOUR */ + 1;
        tryOr(function () {
            state.timer_ = after(ms, state.begin_, true);
        }, noop);
    }
    /** The time of the next look, differently for each device and each round. */
    function next(state, ms, least) {
        later(state, Math.max(ms * (0.9 + 0.2 * lazyEngine().spread_(++state.round_)), least || 0));
    }
    function sendReport(state, done) {
        var url = state.config_.report;
        state.reported_ = true;
        if (url)
            report(url).then(done, done);
        else
            done();
    }
    function onError(state, thrown) {
        var error = toOtaError(thrown);
        var every = state.every_;
        var config = state.config_;
        if (config.failed)
            lazyEngine().callUser_(function () { return config.failed(error); });
        sendReport(state, noop);
        // nothing will come of this configuration
        if (error.code === 258 /* Code.INVALID_ARG */)
            return stop(state);
        if (!error.retry)
            return next(state, every);
        var wait = 60000 /* Ms.BACKOFF */ * Math.pow(2, state.failures_++);
        next(state, Math.min(wait, every), Math.min(error.wait_ || 0, 86400000 /* Ms.DAY */));
    }
    /** The fields of `config` that are for an update. */
    function ownFields(config) {
        var fields = {};
        Object.keys(config).forEach(function (name) {
            if (["every", "perDay", "ready", "installed", "failed", "report"].indexOf(name) < 0)
                fields[name] = config[name];
        });
        return fields;
    }
    /** What the timer calls, and the guard after a lost look. */
    function beginLook(state) {
        function onResult(state, result) {
            var every = state.every_;
            var config = state.config_;
            var done = !result.upToDate && !result.waiting && !result.due;
            state.failures_ = 0;
            // installed() may restart: the report goes first
            if (done || !state.reported_)
                sendReport(state, function () {
                    if (done && config.installed)
                        lazyEngine().callUser_(function () { return config.installed(result); });
                });
            var until = result.due > 0 ? result.due * 1000 - lazyEngine().now_() : every;
            if (until > 0 && until < every)
                later(state, until);
            else
                next(state, every);
        }
        /** Ends `look` and calls `then`, unless another look has begun because this one was taken for lost. */
        function ending(state, look, then) {
            return function (value) {
                if (state.look_ !== look)
                    return;
                state.look_ = undefined;
                state.asking_ = false;
                then(state, value);
            };
        }
        /**
         * The second half of a look, after `yes`, the answer of ready(). It is a look of its own, so that the time which ready() took
         * does not count as lost.
         */
        function install(state, look, yes) {
            if (state.stopped_)
                return;
            // as often as the looks of a day allow
            if (!yes)
                return next(state, Math.min(state.every_, Math.max(600000 /* Ms.POSTPONED */, 86400000 /* Ms.DAY */ / state.perDay_)));
            state.look_ = look;
            update(look).then(ending(state, look, onResult), ending(state, look, onError));
        }
        /** Asks ready() about `offer`. `fail`: for a promise that it rejects. */
        function onOffer(state, look, offer, fail) {
            if (state.look_ !== look || state.stopped_)
                return;
            if (!offer.available)
                return ending(state, look, onResult)({ upToDate: !offer.due, waiting: offer.waiting, due: offer.due });
            var answer = state.config_.ready(offer);
            // once: a thenable may call again
            var onAnswer = ending(state, look, function (_, yes) { return install(state, ownFields(look), yes); });
            state.asking_ = answer && typeof answer.then === "function";
            if (state.asking_)
                answer.then(onAnswer, fail);
            else
                onAnswer(answer);
        }
        var time = lazyEngine().now_();
        state.timer_ = state.look_ = undefined;
        // a clock that was set counts as a new day
        if (time - state.day_ >= 86400000 /* Ms.DAY */ || time < state.day_) {
            state.day_ = time;
            state.looks_ = 0;
        }
        if (state.looks_++ >= state.perDay_)
            return later(state, state.day_ + 86400000 /* Ms.DAY */ - time);
        var look = ownFields(state.config_);
        if (!state.config_.ready)
            return install(state, look, true);
        state.look_ = look;
        var fail = ending(state, look, onError);
        checkForUpdate(look).then(function (offer) { return tryOr(function () { return onOffer(state, look, offer, fail); }, fail); }, fail);
    }
    // Looks for updates again and again, so that a fleet does not ask at once: docs/fleet.md#polling. What must differ between
    // devices comes from the serial number, because Math.random() is the same sequence on every board after every start.
    //
    //   state      marked by                     left by
    //   waiting    timer_, no look_              the timer: a look begins
    //   looking    look_                         an offer that ready() is asked for; a result or an error: back to waiting
    //   asking     look_, with its asking_       the answer of ready(): back to looking, or to waiting when it is false
    //   lost       no look_, and no timer_ or    the guard, once an hour: a look begins
    //              one that is overdue; or a
    //              look_ that does not go on
    //   stopped    stopped_                      nothing; an update that has begun goes on to its end
    //
    // When a look was taken for lost, look_ is another one: the result of the lost one is ignored, should it come after all.
    // What a look does is in look.ts.
    /**
     * Looks each hour for what was lost. A lock whose watchdog has not counted since the last time is held by an update that was
     * lost; a look that has not ended, and does not hold the lock either, is lost too.
     */
    function startGuard(state) {
        var seen; // the look that had not ended an hour ago, who held the lock, and its age
        var seenLock = null;
        var seenAge = 0;
        function watch() {
            var old = state.guard_;
            // the engine drops an interval whose callback runs out of memory. So a new one comes first, as in boot/lock.ts
            state.guard_ = tryEvery(3600000 /* Ms.HOUR */, watch);
            var lock = lazyEngine().heldLock_();
            if (lock && lock === seenLock && lock.ageMs_ === seenAge)
                lock.stop_();
            seenLock = lock;
            seenAge = lock ? lock.ageMs_ : 0;
            var look = state.look_;
            if (look ? look === seen && !state.asking_ && !lazyEngine().heldLock_() : state.timer_ === undefined || --state.hours_ < 0)
                state.begin_();
            seen = state.look_;
            if (old !== undefined)
                cancel(old);
        }
        state.guard_ = tryEvery(3600000 /* Ms.HOUR */, watch);
    }
    // More than 30 lines: defaults, a table of fields, and the check of the configuration.
    var options = config || {};
    var every = options.every === undefined ? 86400000 /* Ms.DAY */ : options.every;
    var perDay = options.perDay === undefined ? 24 : options.perDay;
    var state = {
        config_: options,
        every_: every,
        perDay_: perDay,
        looks_: 0,
        day_: lazyEngine().now_(),
        round_: 0,
        failures_: 0,
        begin_: function () { return beginLook(state); },
    };
    tryOr(function () {
        if (typeof config !== "object" || !config || !(every >= 1000 && every <= 365 * 86400000 /* Ms.DAY */) || !(perDay >= 1))
            throw otaError(258 /* Code.INVALID_ARG */, "poll: expected a configuration, every in ms (1000 to a year) and perDay of 1 or more");
        if (options.ready && typeof options.ready !== "function")
            throw otaError(258 /* Code.INVALID_ARG */, "poll: ready must be a function");
        // told at once, and not in an hour
        lazyConfig().checkConfig_(ownFields(config));
        startGuard(state);
        later(state, Math.min(every, 3600000 /* Ms.HOUR */) * lazyEngine().spread_(0));
    }, function (error) { return onError(state, error); });
    return { stop: function () { return stop(state); } };
}




/**
 * To be called when the program starts. Counts the starts of an image, or of files, on trial; after `attempts` of them
 * without `markValid()` it rolls back and restarts. Further calls in one start are not counted; if the loader runs, it has
 * counted the start already. Resolves with true while the running image, or its files, are on trial. Writes one record in
 * Storage at each start on trial, and nothing at other starts. If a start cannot be recorded, it rolls back.
 * Rejects with ESP_ERR_INVALID_ARG for an unknown option.
 */
// More than 30 lines: one way with several ends, each of which returns.
function boot(options) {
    // Trial boots on bootloaders without rollback: an image that `update` installed must be confirmed within a few starts.
    // Otherwise the slot that ran before is selected again. This cannot help if an image fails before JavaScript runs.
    // Source: docs/design.md#trial-boots.
    var ATTEMPTS = 3;
    /** Throws for an unknown option: a misspelt one would silently have no effect. */
    function checkBootOptions(options) {
        var given = options;
        if (typeof given !== "object" || !given)
            throw otaError(258 /* Code.INVALID_ARG */, "boot: the options must be an object");
        Object.keys(given).forEach(function (name) {
            var value = given[name];
            var problem = "";
            if (name === "onTrial" || name === "onFirstStart") {
                if (typeof value !== "function")
                    problem = " must be a function";
            }
            else if (name !== "attempts")
                problem = " is not an option";
            else if (!(value >= 1 && Math.floor(value) === value))
                problem = " must be a whole number above 0";
            if (problem && value !== undefined)
                throw otaError(258 /* Code.INVALID_ARG */, "boot: " + name + problem);
        });
    }
    /** The version of the running release, as its manifest says it; "" if it is unknown. */
    function versionOf(record, running) {
        var set = lazyFiles().currentSet_();
        var image = lazyRecords().findImage_(record, running.label);
        return set ? set.version : image ? image.version : "";
    }
    return new Promise(function (resolve, reject) {
        tryOr(function () {
            if (options !== undefined)
                checkBootOptions(options);
            var given = options || {};
            var attempts = given.attempts === undefined ? ATTEMPTS : given.attempts;
            var record = lazyRecords().loadRecord_();
            if (!record.slot || record.boots === -2 /* Boots.CONFIRMED */)
                return resolve(false);
            var running = lazySlots().readLayout_(true).running_;
            if (!lazyRecords().isSelected_(record, running))
                return resolve(false);
            var counted = lazyEngine().startState_() > 0 && record.boots > 0;
            // if Storage cannot take the record, the start is not counted: the trial would never end
            if (!counted && record.boots !== -1 /* Boots.GIVEN_UP */ && record.boots < attempts)
                tryOr(function () {
                    lazyRecords().countStart_(record);
                    lazyEngine().setStartState_(1 /* Start.COUNTED */);
                    counted = true;
                }, noop);
            if (!counted) {
                lazySlots().fallBack_(false, "not confirmed in " + attempts + " starts").then(function () { return resolve(false); }, reject);
                return;
            }
            resolve(true);
            if (given.onTrial)
                lazyEngine().callUser_(function () { return given.onTrial(record.boots, attempts); });
            if (given.onFirstStart && record.boots === 1 && lazyEngine().startState_() < 2 /* Start.TOLD */) {
                lazyEngine().setStartState_(2 /* Start.TOLD */);
                lazyEngine().callUser_(function () { return given.onFirstStart(versionOf(record, running)); });
            }
        }, reject);
    });
}
/**
 * Decides a trial: `ms` from now it calls `check()`. If this returns true, or a promise of true, the running image is
 * confirmed. Otherwise it is rolled back, which ends a running update. If the check throws, or its promise is rejected, the
 * image is rolled back too, but counts as bad only at the third time: until then it can be installed again. The engine
 * prints the error, and `getStatus().rollbackReason` keeps it. A promise that never settles decides nothing: then the
 * starts that boot() counts decide.
 * `onEvent` is called with "ROLLBACK" and the reason before the rollback.
 * Does nothing if the image is confirmed already. Resolves with true if the image is confirmed, false after a rollback.
 * Rejects with ESP_ERR_INVALID_ARG, and decides nothing, unless `ms` is a whole number and `check` a function.
 */
function confirmAfter(ms, check, onEvent) {
    // More than 30 lines: its callbacks share both ends of the promise.
    return new Promise(function (resolve, reject) {
        function leave(reason, verdict) {
            if (onEvent)
                lazyEngine().callUser_(function () { return onEvent("ROLLBACK", reason); });
            lazySlots().fallBack_(verdict, reason).then(function () { return resolve(false); }, reject);
        }
        function onThrown(thrown) {
            lazyEngine().printLater_(thrown);
            leave("check() threw: " + toOtaError(thrown).message, false);
        }
        function onAnswer(answer) {
            tryOr(function () {
                // while the promise was pending, another call may have decided
                if (!lazyOtadata().isOnTrial_(lazySlots().readLayout_(true)))
                    return resolve(true);
                if (answer !== true)
                    return leave("check() did not answer true", true);
                markValid();
                resolve(true);
            }, reject);
        }
        function decide() {
            var answer;
            if (!lazyOtadata().isOnTrial_(lazySlots().readLayout_(true)))
                return resolve(true);
            try {
                answer = check();
            }
            catch (thrown) {
                return onThrown(thrown);
            }
            if (answer && typeof answer.then === "function")
                answer.then(onAnswer, onThrown);
            else
                onAnswer(answer);
        }
        tryOr(function () {
            if (!(ms >= 0 && Math.floor(ms) === ms) || typeof check !== "function")
                throw otaError(258 /* Code.INVALID_ARG */, "confirmAfter(ms, check): ms must be a whole number, check a function");
            if (onEvent !== undefined && typeof onEvent !== "function")
                throw otaError(258 /* Code.INVALID_ARG */, "confirmAfter: onEvent must be a function");
            tryOr(function () {
                var record = lazyRecords().loadRecord_();
                // count the first start, also if boot() does not count starts
                if (record.boots || !lazyRecords().isSelected_(record, lazySlots().readLayout_(true).running_))
                    return;
                lazyRecords().countStart_(record);
                lazyEngine().setStartState_(1 /* Start.COUNTED */);
            }, noop);
            after(ms, function () { return tryOr(decide, reject); }, true);
        }, reject);
    });
}

/**
 * Over-the-air firmware update for the ESP32, inside Espruino: `require("https-ota")`.
 * Names and numbers follow ESP-IDF's esp_https_ota.h and esp_ota_ops.h.
 */
Object.defineProperty(exports, "ERR", { get: errorNumbers });

exports.abort = abort;
exports.begin = begin;
exports.boot = boot;
exports.canRollback = canRollback;
exports.checkForUpdate = checkForUpdate;
exports.compactStorage = compactStorage;
exports.confirmAfter = confirmAfter;
exports.file = file;
exports.findPartition = findPartition;
exports.getBootPartition = getBootPartition;
exports.getBootloaderDescription = getBootloaderDescription;
exports.getDescription = getDescription;
exports.getLastInvalidPartition = getLastInvalidPartition;
exports.getNextUpdatePartition = getNextUpdatePartition;
exports.getRunningPartition = getRunningPartition;
exports.getState = getState;
exports.getStatus = getStatus;
exports.markValid = markValid;
exports.poll = poll;
exports.report = report;
exports.restart = restart;
exports.rollback = rollback;
exports.setBootPartition = setBootPartition;
exports.update = update;
