/** The type of `ERR`: ESP-IDF's numbers by their names. */
interface ErrorNumbers {
    readonly OK: 0;
    readonly FAIL: -1;
    readonly NO_MEM: 0x101;
    readonly INVALID_ARG: 0x102;
    readonly INVALID_STATE: 0x103;
    readonly INVALID_SIZE: 0x104;
    readonly NOT_FOUND: 0x105;
    readonly NOT_SUPPORTED: 0x106;
    readonly TIMEOUT: 0x107;
    readonly INVALID_RESPONSE: 0x108;
    readonly INVALID_VERSION: 0x10a;
    readonly NOT_ALLOWED: 0x10d;
    readonly OTA_PARTITION_CONFLICT: 0x1501;
    readonly OTA_SELECT_INFO_INVALID: 0x1502;
    readonly OTA_VALIDATE_FAILED: 0x1503;
    readonly OTA_SMALL_SEC_VER: 0x1504;
    readonly OTA_ROLLBACK_FAILED: 0x1505;
    readonly OTA_ROLLBACK_INVALID_STATE: 0x1506;
    readonly OTA_ALREADY_IN_PROGRESS: 0x1507;
    readonly OTA_SPI_MODE_MISMATCH: 0x1508;
    readonly FLASH_OP_FAIL: 0x6001;
    readonly HTTP_MAX_REDIRECT: 0x7001;
    readonly HTTP_CONNECT: 0x7002;
    readonly HTTP_NOT_MODIFIED: 0x7009;
    readonly HTTP_RANGE_NOT_SATISFIABLE: 0x700a;
    readonly HTTP_READ_TIMEOUT: 0x700b;
    readonly HTTP_INCOMPLETE_DATA: 0x700c;
    readonly HTTP_REDIRECT_DOWNGRADE: 0x700d;
    readonly IN_PROGRESS: 0x9001;
}
/** What every failure rejects with (or throws, from a synchronous call). */
interface OtaError extends Error {
    /** ESP-IDF's number: compare with `ERR`. */
    code: number;
    /** ESP-IDF's name, such as `ESP_ERR_OTA_VALIDATE_FAILED`. */
    name: string;
    /**
     * true: the same call may succeed later without a change of the device or the release (network, busy server, 404 and
     * 410, a file that changed while it was fetched). false: the same call fails again.
     */
    retry: boolean;
    /** HTTP status of the answer that caused it; undefined without an answer */
    status?: number;
}

/** A row of the partition table, as IDF's `esp_partition_t`; `address` and `size` in bytes. */
interface Partition {
    label: string;
    type: number;
    subtype: number;
    address: number;
    size: number;
}

/** `esp_app_desc_t`: what an image says about itself. */
interface AppDesc {
    secureVersion: number;
    version: string;
    projectName: string;
    time: string;
    date: string;
    idfVer: string;
    /** SHA-256 of the ELF file, hexadecimal: no other build has the same */
    appElfSha256: string;
}

/** How `rollback` ends. */
interface RollbackOptions {
    /**
     * false: the image that was rolled back runs on until the program restarts the device.
     * @default true
     */
    restart?: boolean;
    /** For `getStatus().rollbackReason`. Default: that rollback() was called. */
    reason?: string;
}
/** The partition called `label`, of any type; null when the table has none. `esp_partition_find_first` */
declare function findPartition(label: string): Partition | null;
/** The slot whose image is running. `esp_ota_get_running_partition` */
declare function getRunningPartition(): Partition;
/**
 * The slot that otadata selects. It differs from the running one after an update and after a fallback.
 * `esp_ota_get_boot_partition`
 */
declare function getBootPartition(): Partition;
/**
 * The slot that an update would write. With `from`, a slot or its label, the result is the slot that an update would write
 * if `from` were running, as with IDF's `start_from`. It can then be the running slot, which an update never writes. Throws
 * ESP_ERR_NOT_FOUND when this device has no slot `from`. `esp_ota_get_next_update_partition`
 */
declare function getNextUpdatePartition(from?: Partition | string): Partition;
/**
 * The app descriptor of the image in a partition, given as a partition or by its label, with the fields of
 * `handle.getImgDesc()`. Throws ESP_ERR_NOT_FOUND when the table has no such partition, or when the partition holds no
 * image, or an image without descriptor (IDF 3.2 and older); ESP_ERR_NOT_SUPPORTED when it is not for an app;
 * ESP_ERR_INVALID_ARG when neither a partition nor a label is given. Unlike IDF, it finds no image in a slot whose last
 * update did not end, or was refused. `esp_ota_get_partition_description`
 */
declare function getDescription(partition: Partition | string): AppDesc;
/** The slot last marked INVALID or ABORTED, or null. `esp_ota_get_last_invalid_partition` */
declare function getLastInvalidPartition(): Partition | null;
/**
 * `esp_ota_img_states_t` of a slot, given as a partition or by its label: 0 new, 1 pending verify, 2 valid, 3 invalid,
 * 4 0xffffffff undefined. Throws ESP_ERR_NOT_SUPPORTED for factory, ESP_ERR_NOT_FOUND when otadata does not name the
 * slot. `esp_ota_get_state_partition`
 */
declare function getState(partition: Partition | string): number;
/**
 * Verifies the image in a slot, given as a partition or by its label, then makes it the one that starts next. Rejects
 * with ESP_ERR_OTA_ALREADY_IN_PROGRESS while an update is running. `esp_ota_set_boot_partition`
 */
declare function setBootPartition(partition: Partition | string): Promise<number>;
/**
 * Marks the running image and its files as good, so that nothing rolls them back, and erases the files that they
 * replace. `esp_ota_mark_app_valid_cancel_rollback`
 */
declare function markValid(): void;
/**
 * Does a slot hold an image that `rollback()` could go back to? It checks the slots that `rollback()` would check, but only
 * header, segments and length of an image. The checksum takes seconds: `rollback()` verifies it before it selects a slot,
 * while IDF verifies it here too. Also true while files alone are on trial, because the files before them come back. Else
 * false on a table with one slot.
 * `esp_ota_check_rollback_is_possible`
 */
declare function canRollback(): boolean;
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
declare function rollback(options?: RollbackOptions): Promise<number>;

/** `esp_bootloader_desc_t`, and what the bootloader does. */
interface BootloaderDesc {
    /** CONFIG_BOOTLOADER_PROJECT_VER of its build, 0 when it is unknown */
    version: number;
    /** the secure version for the anti-rollback of bootloaders, 0 when it is unknown */
    secureVersion: number;
    /** the ESP-IDF that it was built with, such as "v5.5.1"; "" when it is unknown */
    idfVer: string;
    /** when it was compiled, such as "Jul  1 2026 12:00:00"; "" when it is unknown */
    dateTime: string;
    /** does it obey the states of otadata (IDF 3.3 and later)? undefined when it is unknown */
    states: boolean | undefined;
    /** does it roll back an image that was not confirmed? undefined when it is unknown: a descriptor does not say it */
    rollback: boolean | undefined;
}
/**
 * Which bootloader this device has: what its descriptor says (IDF 5.2 and later), else what is known about the ones that
 * came with published Espruino builds for the classic ESP32. For any other one `idfVer` is "". Throws ESP_ERR_NOT_FOUND if
 * flash has no bootloader at its address, or is encrypted. `esp_ota_get_bootloader_description`
 */
declare function getBootloaderDescription(): BootloaderDesc;

/** Names of ESP-IDF's ESP_HTTPS_OTA_* events (esp_https_ota.h) without the prefix, and WRITE_FILE, which IDF lacks. */
type EventName = "START" | "CONNECTED" | "GET_IMG_DESC" | "VERIFY_CHIP_ID" | "VERIFY_CHIP_REVISION" | "WRITE_FLASH" | "WRITE_FILE" | "UPDATE_BOOT_PARTITION" | "FINISH" | "ABORT";
/**
 * What `onEvent` is called with. VERIFY_CHIP_ID: the image's chip id. VERIFY_CHIP_REVISION: the lowest chip revision
 * that the image runs on. WRITE_FLASH: bytes in flash so far, and bytes of the file, -1 when the server does not say.
 * WRITE_FILE: bytes of files in Storage so far, and bytes of all files that this update fetches.
 * UPDATE_BOOT_PARTITION: the subtype of the selected slot.
 */
type UpdateEvent = [name: "START" | "CONNECTED" | "GET_IMG_DESC" | "FINISH" | "ABORT", data: undefined, total: undefined] | [name: "VERIFY_CHIP_ID" | "VERIFY_CHIP_REVISION" | "UPDATE_BOOT_PARTITION", data: number, total: undefined] | [name: "WRITE_FLASH" | "WRITE_FILE", data: number, total: number];
/** A function that is called with an UpdateEvent. It may take fewer parameters. */
type EventHandler = ((...event: UpdateEvent) => void) | ((...event: UpdateEvent extends infer E ? E extends [infer N, infer D, unknown] ? [name: N, data: D] : never : never) => void) | ((...event: UpdateEvent extends infer E ? (E extends [infer N, unknown, unknown] ? [name: N] : never) : never) => void);
/** Gives the bytes of a file: see `source` of a configuration. */
type Source = (offset: number, done: (error: unknown, data?: string | Uint8Array | null) => void, file: string) => void;
/** The fields of every configuration. */
interface CommonConfig {
    /**
     * http or https. With `keys` it names a signed manifest, otherwise the image itself. Required unless `source` or `push`
     * is given.
     */
    url?: string;
    /**
     * Gives the bytes instead of a server. It is called with the offset of the next byte, and must call
     * `done(error, data)` once, now or later, with one or more bytes from this offset on: a binary string or a
     * Uint8Array, best 1 to 4 KB. No data (`""`, null or undefined) is the end of the file. After an error, or when `done`
     * is not called within `timeout`, it is called again, as often as `retries` allows. `file` names the file: it is `url`
     * for the manifest, or for the image when there is no manifest; else the image's URL as the manifest gives it.
     */
    source?: Source;
    /**
     * For `begin()`: the program gives the bytes of the image to `handle.write()`. With `keys` it must give the manifest as
     * `manifest`.
     * @default false
     */
    push?: boolean;
    /**
     * Values by names. They are sent with each request to the origin of `url`, never to another origin. A function is called
     * before each such request and returns its headers: for tokens that expire. If it throws, or its headers are not valid,
     * the call ends with ESP_ERR_INVALID_ARG.
     */
    headers?: {
        [name: string]: string;
    } | (() => {
        [name: string]: string;
    });
    /**
     * DER as a binary string (`atob` of the base64 between the lines of a PEM), or the name of a file in Storage; passed on
     * to Espruino's http. Espruino does not verify the server with it. `cert` and `key` show the server who the device is.
     */
    ca?: string;
    /** The certificate of the device, passed on to Espruino's http. */
    cert?: string;
    /** The private key of the device, passed on to Espruino's http. */
    key?: string;
    /**
     * ms without a byte from the server before a connection is closed. The module checks every quarter of this time, so the
     * end can come a quarter later.
     * @default 20000
     */
    timeout?: number;
    /**
     * How often the module connects again without progress before the update fails.
     * @default 5
     */
    retries?: number;
    /**
     * ms for the whole update, counted in whole seconds. Pauses between the steps of a handle count too. 0 sets no limit.
     * @default 3600000
     */
    deadline?: number;
    /** @default 5 */
    maxRedirects?: number;
    /**
     * Bytes per ranged request. 0 asks for the whole file in one request. If a TLS record of the server does not fit into the
     * buffer of this build, the module asks for smaller ranges by itself.
     * @default 0
     */
    maxRequestSize?: number;
    /**
     * Install an image that runs already.
     * @default false
     */
    allowSameVersion?: boolean;
    /**
     * Install a manifest with a lower sequence than the highest one that was confirmed on this device.
     * @default false
     */
    allowDowngrade?: boolean;
    /**
     * Install an image that was rolled back on this device, or that its bootloader refused.
     * @default false
     */
    allowRolledBack?: boolean;
    /**
     * Install an image whose Espruino cannot read the files in Storage. After the restart no program runs.
     * @default false
     */
    allowStorageLoss?: boolean;
    /**
     * Install although `save()` keeps the program (file `.varimg`). Other firmware deletes it at its first start.
     * @default false
     */
    allowSavedState?: boolean;
    /**
     * Update although `boot()` or `confirmAfter()` has the running image on trial. This overwrites the slot that a rollback
     * would go back to.
     * @default false
     */
    allowUnconfirmed?: boolean;
    /**
     * The manifest must have this project. Default: the project of the running image's app descriptor, else of the last
     * manifest that was installed.
     */
    project?: string;
    /**
     * Install a release whose rollout has not reached this device.
     * @default false
     */
    allowEarly?: boolean;
    /** Label of the slot to write. Default: the next update partition. */
    partition?: string;
    /** Called synchronously. An error that it throws does not end the update: the engine prints it. */
    onEvent?: EventHandler;
}
/** The manifest must be signed by trusted keys, and the image must be the one that it names. */
interface SignedConfig extends CommonConfig {
    /** Trusted public keys (JWK). */
    keys: Jwk[];
    /**
     * How many of `keys` must have signed a manifest.
     * @default 1
     */
    threshold?: 1 | 2;
    /** The text of the signed manifest. It is then not fetched. The URL of its image may be relative to `url`. */
    manifest?: string;
    digest?: undefined;
    insecure?: false;
}
/** The image must have this digest. */
interface DigestConfig extends CommonConfig {
    /**
     * The fs-verity digest of the image, from a source that is trusted: "fsverity-sha256:" (or "sha256:", as
     * fsverity-utils prints it) and 64 hexadecimal digits.
     */
    digest: string;
    keys?: undefined;
    threshold?: undefined;
    insecure?: false;
}
/** Installs what `url` serves, without authentication: Espruino's https does not authenticate the server. */
interface InsecureConfig extends CommonConfig {
    insecure: true;
    keys?: undefined;
    threshold?: undefined;
    digest?: undefined;
}
/** Where the bytes come from: a server, a function, or `handle.write()`. */
type Origin = {
    url: string;
    source?: undefined;
    push?: false;
} | {
    source: Source;
    push?: false;
} | {
    push: true;
    source?: undefined;
};
/** Exactly one of `keys`, `digest` and `insecure` says which image may run. */
type Config = (SignedConfig | DigestConfig | InsecureConfig) & Origin;
/**
 * An RSA public key, RFC 7517: `n` and `e` in base64url. `kid` is ignored, because the module names a key by
 * its RFC 7638 thumbprint.
 */
interface Jwk {
    kty: string;
    n: string;
    e: string;
    kid?: string;
}

/**
 * The name in Storage of a file of the release that runs, for `require("Storage").read()`: pictures, fonts, tables. An
 * empty file is not stored: reading it gives undefined. Throws ESP_ERR_NOT_FOUND when no release of files runs, or when the
 * release does not have this file.
 */
declare function file(name: string): string;
/**
 * Compacts Storage, which frees the room of erased files. **A loss of power during this can destroy every file in Storage**,
 * also this module and the program: call it only while the power supply cannot fail. No other function of this module
 * compacts. Throws ESP_ERR_INVALID_STATE while an update runs. It takes seconds, in which nothing else runs.
 */
declare function compactStorage(): void;

/** Restarts the device at once. `esp_restart` */
declare function restart(): void;

/** Where a build keeps Storage; `address` and `size` in bytes. */
interface StorageClaim {
    /** label of the partition through which it reads */
    partition: string;
    address: number;
    size: number;
}

/** A file of a release, as its manifest describes it. */
interface ManifestFile {
    /** 1 to 28 printable ASCII characters, such as "app.js" or "lib/sensor.js" */
    name: string;
    /** in bytes */
    size: number;
    /** 64 hexadecimal digits */
    sha256: string;
    /** relative to the URL of the manifest; without it `name` is the URL */
    url?: string;
}
/** Which devices take the release, and when: `share`, or `start` and `hours`. */
interface Rollout {
    /** percent of the devices */
    share?: number;
    /** seconds since 1970: the first devices take the release at this time, the last ones `hours` later */
    start?: number;
    hours?: number;
}
/** What a manifest says (docs/formats.md#manifest). `iat` and `exp` in seconds since 1970. */
interface Manifest {
    format: number;
    project: string;
    version: string;
    chip: string;
    board?: string;
    sequence: number;
    iat: number;
    exp?: number;
    /** undefined in a release of files alone */
    image?: {
        url: string;
        size: number;
        fsverity: string;
        sha256?: string;
        /** where an Espruino image keeps Storage */
        storage?: StorageClaim;
    };
    /** with format 2 */
    files?: ManifestFile[];
    /** name of the file that is the program */
    entry?: string;
    /** with format 2; without it every device takes the release at once */
    rollout?: Rollout;
}

/** What a manifest offers. */
interface Offer {
    /** is it something else than what runs or waits for the restart? */
    available: boolean;
    /** an update has installed it since the start, and it waits for the restart */
    waiting: boolean;
    /**
     * the rollout has not reached this device, so it is not available: seconds since 1970 when it will be due, -1 when only
     * another manifest can make it due; 0: it is due
     */
    due: number;
    version: string;
    sequence: number;
    /** bytes of the image; 0 without one */
    size: number;
    /** names of the files that Storage does not hold */
    files: string[];
    /** most bytes that an update would fetch: of the image, unless it runs already, and of `files` */
    bytes: number;
    manifest: Manifest;
}

/** What `update` resolves with. */
interface UpdateResult {
    /** true: what the manifest names is running already, and nothing was done */
    upToDate: boolean;
    /** true: an earlier update has installed it, and it waits for the restart; nothing was done */
    waiting?: boolean;
    /** the rollout has not reached this device, and nothing was done: see `Offer`; `allowEarly` installs it */
    due?: number;
    /** the slot that starts after the next restart */
    partition?: Partition;
    /** bytes of the image file; 0 for a release of files alone */
    size?: number;
}

/** What `poll` takes besides the fields of an update. */
interface PollOptions {
    /**
     * ms between two looks, about: each is up to a tenth shorter or longer, by the serial number.
     * @default 86400000
     */
    every?: number;
    /**
     * Most looks in a day, retries included.
     * @default 24
     */
    perDay?: number;
    /**
     * Asked before an update begins, with what is offered; false, or a promise of false, postpones it: by ten minutes, or as
     * long as the looks of a day need, an hour by default.
     */
    ready?: (offer: Offer) => boolean | Promise<boolean>;
    /** Called when an update is installed, after its report: `restart()` starts it. */
    installed?: (result: UpdateResult) => void;
    /** Called with each failure. */
    failed?: (error: OtaError) => void;
    /** Where report() goes: after the first look, and after each update or failure. */
    report?: string;
}

interface Poll {
    /** Nothing new begins after it. An update that has begun goes on: abort() ends it. */
    stop(): void;
}
/**
 * Looks for an update now and then, and installs it. Never throws: what is wrong is told to `failed`. The first look comes
 * within an hour, at a time that differs from device to device; a failure of the network is tried again after a minute,
 * then two and so on, but not before the server's Retry-After (a day at most). Nothing is kept over a restart.
 * A look can be lost when no JsVar is left: its promise stays open, no timer could be made for the next one, or the timer
 * fired and what it calls did not run. So an interval, which needs no memory to start again, looks once an hour for what
 * does not go on.
 */
declare function poll(config: SignedConfig & Origin & PollOptions): Poll;

/** What a report has besides the status: nothing of it is secret. */
interface Identity {
    /** getSerial(): on an ESP32 its MAC address */
    serial: string;
    /** process.env.BOARD */
    board: string;
    /** free JsVars */
    free: number;
    /** why the chip was reset: IDF's soc_reset_reason_t, such as 1 for power on, 15 for a brown-out */
    reset: number;
}
/**
 * POSTs `getStatus()`, with serial number, board, free JsVars and the reason of the last reset, as JSON to `url`. Resolves
 * with 0 when the server took it. What matters is in the boot record and so in the next report too: why the last image was
 * rolled back, and what is on trial. Rejects like an update that gets no manifest.
 */
declare function report(url: string, headers?: {
    [name: string]: string;
}): Promise<number>;

/** A running update. After `finish` or `abort` it has ended: only the getters still answer. */
interface Handle {
    /**
     * One step: at most one sector. Resolves with `ERR.IN_PROGRESS`, or `ERR.OK` when the last byte is in flash. Callers
     * may wait between two calls, until the deadline; a connection that waits too long is closed, and made again.
     */
    perform(): Promise<number>;
    /**
     * With `push`: takes bytes of the image, a binary string or a Uint8Array, and writes them. `offset`: where they are in
     * the file; without it they follow those of the last call. Resolves when more may come, with the offset of the byte
     * that is wanted next, or the file's size when all are there. It may be far ahead, when an earlier update has left a
     * part in the slot, or 0 when that part was of another file. Bytes that are there already are passed over; bytes
     * further on are ESP_ERR_INVALID_ARG. `esp_ota_write`, `esp_ota_write_with_offset`
     */
    write(data: string | Uint8Array, offset?: number): Promise<number>;
    /** The image's app descriptor; throws ESP_ERR_NOT_FOUND for an image without one, which can still be installed. */
    getImgDesc(): AppDesc;
    /** Has every byte of the file arrived? After `finish` it answers as before it. */
    isCompleteDataReceived(): boolean;
    /**
     * Verifies the image in flash, then selects its slot; resolves with `ERR.OK`. The handle ends, also when it rejects.
     */
    finish(): Promise<number>;
    /** Aborts the update. The target slot is not selected; what was written stays in flash. */
    abort(): void;
    /** bytes in flash so far */
    getImageLenRead(): number;
    /** bytes of the file, -1 when the server does not say */
    getImageSize(): number;
    /** HTTP status of the last answer, -1 before the first */
    getStatusCode(): number;
    /** the slot being written */
    getPartition(): Partition;
}

/** Ends the running update, or the selection of a slot. The promise of that call rejects with ESP_ERR_INVALID_STATE. */
declare function abort(): void;
/**
 * Checks the device, verifies the manifest if `keys` are given, connects, and waits for the image's first 1024 bytes;
 * no slot is written yet. Rejects with ESP_ERR_INVALID_VERSION when the manifest's image is running already.
 * One update at a time: until `finish` or `abort` another one is ESP_ERR_OTA_ALREADY_IN_PROGRESS. `esp_https_ota_begin`
 */
declare function begin(config: Config): Promise<Handle>;
/**
 * The whole update: begin, perform until done, finish. It does not restart the device: call `restart()` when that
 * suits. `esp_https_ota`
 */
declare function update(config: Config): Promise<UpdateResult>;
/**
 * Fetches and verifies the manifest, and compares it with this device. Writes at most one record in Storage, with the
 * digest of the running image. Needs `keys`.
 */
declare function checkForUpdate(config: SignedConfig & Origin): Promise<Offer>;

/** What a slot holds. */
interface SlotStatus {
    label: string;
    /** in bytes: the size of the largest image that fits */
    size: number;
    /** `esp_ota_img_states_t`, undefined when otadata does not name it */
    state: number | undefined;
    /**
     * For the running slot Espruino's own version. For others the version of the manifest that the image came with, or of
     * its app descriptor; undefined when the slot holds no whole image, or when its version is unknown.
     */
    version: string | undefined;
}
/** The release of files whose program runs. */
interface ReleaseStatus {
    version: string;
    /** name of the program */
    entry: string;
    /** names of all files */
    files: string[];
}
/** For remote diagnosis: what runs, what starts next, and why they may differ. Slots are named by their labels. */
interface Status {
    running: string;
    boot: string;
    /** the slot that an update would write; "" if the table has no other slot */
    next: string;
    /** `esp_ota_img_states_t` of the running slot, undefined when otadata does not name it */
    state: number | undefined;
    /** process.env.VERSION */
    version: string;
    /** highest confirmed sequence */
    sequence: number;
    /** the release of files that runs, null for none */
    release: ReleaseStatus | null;
    /** starts so far and the slot to fall back to; null unless the running image or its files are on trial */
    trial: {
        boots: number;
        previous: string;
    } | null;
    /**
     * what counts as bad because it was rolled back or the bootloader refused it, the last one first: the digest of an image,
     * as `digest` takes it; for a release of files "release-sha256:" and its id
     */
    rolledBack: string[];
    /** why the last image was rolled back, such as the error that check() threw; "" if none was since the last update */
    rollbackReason: string;
    /** all slots, the running one too */
    slots: SlotStatus[];
    /** bytes of Storage: `free` behind the last file, `trash` of erased files, which a compaction frees */
    storage: {
        free: number;
        trash: number;
    };
    /**
     * how the last update since the start has ended: "ESP_OK", or name and message of its error; "" before the first
     */
    last: string;
    /** why another slot than the selected one runs; "" if the selected one runs */
    differs: string;
}
/** A report on the device. It reads flash and writes nothing. */
declare function getStatus(): Status;

interface BootOptions {
    /** the image must be confirmed within this many starts; default 3 */
    attempts?: number;
    /** called at each start on trial, with the number of this start and the number of allowed starts */
    onTrial?: (boots: number, attempts: number) => void;
    /** called in the first start of a release, with its version ("" where the manifest is unknown): for migrations */
    onFirstStart?: (version: string) => void;
}
/**
 * To be called when the program starts. Counts the starts of an image, or of files, on trial; after `attempts` of them
 * without `markValid()` it rolls back and restarts. Further calls in one start are not counted; if the loader runs, it has
 * counted the start already. Resolves with true while the running image, or its files, are on trial. Writes one record in
 * Storage at each start on trial, and nothing at other starts. If a start cannot be recorded, it rolls back.
 * Rejects with ESP_ERR_INVALID_ARG for an unknown option.
 */
declare function boot(options?: BootOptions): Promise<boolean>;
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
declare function confirmAfter(ms: number, check: () => boolean | Promise<boolean>, onEvent?: (name: "ROLLBACK", reason: string) => void): Promise<boolean>;

/**
 * Over-the-air firmware update for the ESP32, inside Espruino: `require("https-ota")`.
 * Names and numbers follow ESP-IDF's esp_https_ota.h and esp_ota_ops.h.
 */

/** ESP-IDF's numbers by their names without `ESP_` or `ESP_ERR_`; `IN_PROGRESS` is ESP_ERR_HTTPS_OTA_IN_PROGRESS. */
declare const ERR: ErrorNumbers;

export { ERR, abort, begin, boot, canRollback, checkForUpdate, compactStorage, confirmAfter, file, findPartition, getBootPartition, getBootloaderDescription, getDescription, getLastInvalidPartition, getNextUpdatePartition, getRunningPartition, getState, getStatus, markValid, poll, report, restart, rollback, setBootPartition, update };
export type { AppDesc, BootOptions, BootloaderDesc, CommonConfig, Config, DigestConfig, ErrorNumbers, EventHandler, EventName, Handle, Identity, InsecureConfig, Jwk, Manifest, ManifestFile, Offer, Origin, OtaError, Partition, Poll, PollOptions, ReleaseStatus, RollbackOptions, Rollout, SignedConfig, SlotStatus, Source, Status, StorageClaim, UpdateEvent, UpdateResult };
