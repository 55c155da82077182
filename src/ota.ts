// An update, from begin to finish. The order of its steps is its safety argument, and it is all here:
//   1. arguments, one update at a time, memory            (begin)
//   2. partition table, otadata, running and target slot  (begin)
//   3. connect, redirects, status, length, first 1024 bytes (begin)
//   4. those bytes are judged                             (first perform)
//   5. otadata stops naming the target slot               (first perform)
//   6. sector by sector: erase, read back, write, read back (perform)
//   7. segments, length, digest or checksum, from flash   (finish)
//   8. select: the only commit point                      (finish)
// Whatever fails before 8 leaves the device starting what it started before.
// Source: DESIGN.md 3; state rules: reference 1.5 (IDF esp_https_ota.c).

import { checkConfig, type Config, digestOf, type EventName, type Settings } from "./config";
import { createDownload, type Download } from "./download";
import { after, chipRevision, freeVars, read, SECTOR } from "./hal";
import { type AppDesc, checkHead, FIRST_SEGMENT, HEAD_LENGTH, parseDesc, parseHeader, spiModeOf } from "./image";
import type { Partition } from "./partitions";
import { writeSector } from "./sectors";
import { checkConfirmed, deselect, select } from "./select";
import { type Layout, nextSlot, readLayout, slotByLabel } from "./slot";
import { asFault, Code, fault, guarded, type OtaError } from "./status";
import { verifyImage } from "./verify";

const DESC_END = FIRST_SEGMENT + 256;
const NEEDED_VARS = 1500; // an update's peak with room to spare: npm run bench

/** What `update` resolves with. */
export interface UpdateResult {
  /** true: nothing was to be done */
  upToDate: boolean;
  /** the slot that starts after the next restart */
  partition: Partition;
  /** bytes of the image file */
  size: number;
}

/** An update under way. After `finish` or `abort` it is dead: every call is ESP_ERR_INVALID_STATE. */
export interface Handle {
  /**
   * One step: at most one sector. Resolves with `ERR.IN_PROGRESS`, or `ERR.OK` when the last byte is in flash. Callers
   * may wait as long as they like between two calls; the connection is closed meanwhile if need be, and made again.
   */
  perform(): Promise<number>;
  /** The image's app descriptor; throws ESP_ERR_NOT_FOUND for images without one, which can be installed all the same. */
  getImgDesc(): AppDesc;
  /** Has every byte of the file arrived? */
  isCompleteDataReceived(): boolean;
  /** Verifies the image in flash, then selects its slot; resolves with `ERR.OK`. Whatever happens, the handle is dead after it. */
  finish(): Promise<number>;
  /** Gives the update up. Nothing is undone: the target slot was not selected. */
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

const enum Phase {
  READY,
  WORKING,
  COMPLETE,
  FINISHING,
  DEAD,
}

let busy = false;

function chooseTarget(layout: Layout, label: string | undefined): Partition {
  const target = label === undefined ? nextSlot(layout, layout.running_) : slotByLabel(layout, label);
  if (!target) throw fault(Code.NOT_FOUND, "no slot is called " + label);
  if (target.address === layout.running_.address)
    throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + target.label + " is running");
  return target;
}

function createHandle(
  config: Settings,
  emit: (name: EventName, data?: number, total?: number) => void,
  layout: Layout,
  target: Partition,
  download: Download,
): Handle {
  let phase = Phase.READY;
  let written = 0;
  let giveUp: ((error: OtaError) => void) | null = null; // rejects the perform that is under way

  function free(): void {
    phase = Phase.DEAD;
    giveUp = null;
    download.close_();
    busy = false;
  }

  function wrongState(call: string): OtaError {
    return fault(Code.INVALID_STATE, call + (phase === Phase.DEAD ? " after the update ended" : " at the wrong time"));
  }

  function judgeHead(): void {
    const head = download.buffer_;
    const running = read(layout.running_.address, DESC_END);
    const header = parseHeader(head);
    if (header) {
      emit("VERIFY_CHIP_ID", header.chipId_);
      emit("VERIFY_CHIP_REVISION", header.minRevision_);
    }
    const size = download.total_() < 0 ? target.size : download.total_();
    checkHead(head, layout.chip_, chipRevision(layout.chip_), spiModeOf(running), size);
    deselect(layout, target);
  }

  function step(): number {
    const fill = download.fill_();
    const offset = download.offset_();
    if (fill) {
      if (!offset) judgeHead();
      writeSector(
        layout,
        target,
        offset,
        fill === SECTOR ? download.buffer_ : new Uint8Array(download.buffer_.buffer, 0, fill),
      );
      download.consume_();
      written = offset + fill;
      emit("WRITE_FLASH", written, download.total_());
    }
    phase = download.ended_() && !download.fill_() ? Phase.COMPLETE : Phase.READY;
    return phase === Phase.COMPLETE ? Code.OK : Code.IN_PROGRESS;
  }

  function perform(): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      if (phase !== Phase.READY) return reject(wrongState("perform"));
      phase = Phase.WORKING;
      giveUp = reject;
      download.want_(SECTOR, (error) => {
        let outcome = Code.OK;
        try {
          if (error) throw error;
          outcome = step();
        } catch (thrown) {
          free();
          return reject(asFault(thrown));
        }
        resolve(outcome);
      });
    });
  }

  function finish(): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      if (phase !== Phase.READY && phase !== Phase.COMPLETE) return reject(wrongState("finish"));
      const complete = phase === Phase.COMPLETE;
      phase = Phase.FINISHING;
      function done(error: OtaError | null): void {
        let failure = error;
        if (!failure)
          try {
            select(layout, target);
            emit("UPDATE_BOOT_PARTITION", target.subtype);
          } catch (thrown) {
            failure = asFault(thrown);
          }
        free();
        emit("FINISH");
        if (failure) reject(failure);
        else resolve(Code.OK);
      }
      if (complete) verifyImage(target, written, digestOf(config), done);
      else {
        const total = download.total_();
        done(fault(Code.OTA_VALIDATE_FAILED, "incomplete: " + written + (total < 0 ? "" : " of " + total) + " bytes"));
      }
    });
  }

  return {
    perform: perform,
    getImgDesc: () => {
      if (phase === Phase.DEAD) throw wrongState("getImgDesc");
      emit("GET_IMG_DESC");
      const desc = parseDesc(written ? read(target.address, DESC_END) : download.buffer_);
      if (!desc) throw fault(Code.NOT_FOUND, "the image has no app descriptor");
      return desc;
    },
    isCompleteDataReceived: () => phase === Phase.COMPLETE || phase === Phase.FINISHING,
    finish: finish,
    abort: () => {
      if (phase === Phase.DEAD || phase === Phase.FINISHING) throw wrongState("abort");
      emit("ABORT");
      const reject = giveUp;
      const waiting = phase === Phase.WORKING;
      free();
      if (reject && waiting) reject(fault(Code.INVALID_STATE, "aborted"));
    },
    getImageLenRead: () => written,
    getImageSize: () => download.total_(),
    getStatusCode: () => download.status_(),
    getPartition: () => target,
  };
}

/**
 * Checks the device, connects, and waits for the first 1024 bytes; nothing is written yet.
 * `esp_https_ota_begin`. One update at a time: until `finish` or `abort` another one is
 * ESP_ERR_OTA_ALREADY_IN_PROGRESS.
 */
export function begin(config: Config): Promise<Handle> {
  function start(settings: Settings, resolve: (handle: Handle) => void, reject: (error: OtaError) => void): void {
    function emit(name: EventName, data?: number, total?: number): void {
      try {
        if (settings.onEvent) settings.onEvent(name, data, total);
      } catch (thrown) {
        // it must not harm the update, nor be lost: thrown from the idle loop the engine prints it
        after(0, () => {
          throw thrown;
        });
      }
    }
    emit("START");
    const layout = readLayout();
    const target = chooseTarget(layout, settings.partition);
    checkConfirmed(layout);
    const download = createDownload(settings, target.size, () => {
      emit("CONNECTED");
    });
    download.want_(HEAD_LENGTH, (error) => {
      const short = download.fill_() < HEAD_LENGTH;
      if (!error && !short) return resolve(createHandle(settings, emit, layout, target, download));
      download.close_();
      busy = false;
      reject(
        error ||
          fault(Code.INVALID_SIZE, "file of " + download.fill_() + " bytes, an image has at least " + HEAD_LENGTH),
      );
    });
  }

  return new Promise<Handle>((resolve, reject) => {
    let mine = false;
    guarded(
      () => {
        const settings = checkConfig(config);
        if (settings.keys) throw fault(Code.NOT_SUPPORTED, "signed manifests are not there yet: use digest");
        if (busy) throw fault(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way");
        const free = freeVars();
        if (free < NEEDED_VARS)
          throw fault(Code.NO_MEM, free + " JsVars are free, an update needs " + NEEDED_VARS, true);
        busy = mine = true;
        start(settings, resolve, reject);
      },
      (error) => {
        if (mine) busy = false;
        reject(error);
      },
    );
  });
}

/** The whole update: begin, perform until done, finish. It never restarts: call `restart()` when it suits. */
export function update(config: Config): Promise<UpdateResult> {
  return new Promise<UpdateResult>((resolve, reject) => {
    let handle: Handle;
    let size = 0;
    function onFinish(): void {
      resolve({ upToDate: false, partition: handle.getPartition(), size: size });
    }
    let perform: () => void;
    function onPerform(outcome: number): void {
      if (outcome === Code.IN_PROGRESS) return perform();
      size = handle.getImageLenRead();
      handle.finish().then(onFinish, reject);
    }
    perform = () => {
      handle.perform().then(onPerform, reject);
    };
    begin(config).then((begun) => {
      handle = begun;
      perform();
    }, reject);
  });
}
