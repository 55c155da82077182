// A serial port as Web Serial has it, with an Espressif chip behind it: the protocol of ROM and stub as far as esptool-js uses
// it, over a flash in memory. Source: docs.espressif.com, esptool "Serial Protocol", and esptool-js 0.7.0.
import { createHash } from "node:crypto";
import { inflateSync } from "node:zlib";

const END = 0xc0;
const ESC = 0xdb;
const OP = {
  FLASH_BEGIN: 0x02,
  MEM_BEGIN: 0x05,
  MEM_END: 0x06,
  MEM_DATA: 0x07,
  SYNC: 0x08,
  WRITE_REG: 0x09,
  READ_REG: 0x0a,
  CHANGE_BAUDRATE: 0x0f,
  DEFL_BEGIN: 0x10,
  DEFL_DATA: 0x11,
  DEFL_END: 0x12,
  FLASH_MD5: 0x13,
  SECURITY_INFO: 0x14,
  ERASE_FLASH: 0xd0,
} as const;

const SECTOR = 0x1000;
const STATUS = { ok: [0, 0], failed: [1, 5] };

export type ChipOptions = {
  chip: "esp32" | "esp32c3" | "esp32s3";
  flash: Uint8Array;
  /** The chip's answer to RDID: the third byte is log2 of the size. */
  sizeId?: number;
  /** A cable that changes a byte of the image on its way. */
  noisy?: boolean;
  /** What the board prints when it starts. */
  greeting?: string;
};

/** The registers that tell a classic ESP32, and where each chip has its SPI. */
const MAGIC = { esp32: 0x00f01d83, esp32c3: 0x6921506f, esp32s3: 0x9 };
const CHIP_ID = { esp32: 0, esp32c3: 5, esp32s3: 9 };
const MAGIC_REG = 0x40001000;
const SPI = { esp32: 0x3ff42000, esp32c3: 0x60002000, esp32s3: 0x60002000 };
const W0 = { esp32: 0x80, esp32c3: 0x58, esp32s3: 0x58 };
const CLKDIV: Record<number, number> = { 1072955412: 347, 1610612756: 347 };

export type Board = {
  port: SerialPort;
  /** commands that came, by their numbers */
  ops: number[];
  /** how often it was started with IO0 high */
  starts: number;
  readonly isOpen: boolean;
  /** what was sent to the console, as text */
  readonly typed: string;
};

export function createBoard({ chip, flash, sizeId = 0x16, noisy, greeting = "" }: ChipOptions): Board {
  let stub = false;
  let open = false;
  let out: ReadableStreamDefaultController<Uint8Array> | null = null;
  let typed = "";
  let signals = { dtr: false, rts: false };
  let download = false;
  let running = false;
  let pending: Buffer[] = [];
  let target = { offset: 0, size: 0 };
  const board: Board = {
    port: {} as SerialPort,
    ops: [],
    starts: 0,
    get isOpen() {
      return open;
    },
    get typed() {
      return typed;
    },
  };

  const send = (bytes: Uint8Array) => out?.enqueue(bytes);

  function sendFrame(bytes: Uint8Array): void {
    const framed = [END];
    for (const byte of bytes)
      if (byte === END) framed.push(ESC, 0xdc);
      else if (byte === ESC) framed.push(ESC, 0xdd);
      else framed.push(byte);
    send(Uint8Array.from([...framed, END]));
  }

  function reply(op: number, value = 0, data: Uint8Array = new Uint8Array(0), status = STATUS.ok): void {
    // the ROM of later chips and of the ESP32 ends with four bytes, the stub with two
    const tail = stub ? status : [...status, 0, 0];
    const body = Buffer.concat([data, Buffer.from(tail)]);
    const frame = Buffer.alloc(8 + body.length);
    frame[0] = 1;
    frame[1] = op;
    frame.writeUInt16LE(body.length, 2);
    frame.writeUInt32LE(value >>> 0, 4);
    frame.set(body, 8);
    sendFrame(frame);
  }

  function readReg(addr: number): number {
    if (addr === MAGIC_REG) return MAGIC[chip];
    if (addr === SPI[chip] + W0[chip]) return (sizeId << 16) | 0x40c8;
    return CLKDIV[addr] ?? 0;
  }

  function erase(offset: number, size: number): void {
    flash.fill(0xff, offset, Math.ceil((offset + size) / SECTOR) * SECTOR);
  }

  const checksum = (data: Uint8Array) => data.reduce((sum, byte) => sum ^ byte, 0xef);

  function run(op: number, data: Buffer, sum: number): void {
    board.ops.push(op);
    switch (op) {
      case OP.SYNC:
        // a ROM says something else than 0
        for (let i = 0; i < 8; i++) reply(op, stub ? 0 : 0x20120707);
        return;
      case OP.READ_REG:
        return reply(op, readReg(data.readUInt32LE(0)));
      case OP.SECURITY_INFO: {
        if (chip === "esp32") {
          for (let i = 0; i < 8; i++) reply(op, 0, undefined, STATUS.failed);
          return;
        }
        const info = Buffer.alloc(20);
        info.writeUInt32LE(CHIP_ID[chip], 12);
        return reply(op, 0, info);
      }
      case OP.MEM_DATA:
        return reply(op, 0, undefined, checksum(data.subarray(16)) === sum ? STATUS.ok : STATUS.failed);
      case OP.MEM_END:
        reply(op);
        stub = true;
        return sendFrame(Buffer.from("OHAI"));
      case OP.ERASE_FLASH:
        flash.fill(0xff);
        return reply(op);
      case OP.DEFL_BEGIN:
        target = { size: data.readUInt32LE(0), offset: data.readUInt32LE(12) };
        pending = [];
        erase(target.offset, target.size);
        return reply(op);
      case OP.DEFL_DATA: {
        const block = data.subarray(16);
        pending.push(Buffer.from(block));
        return reply(op, 0, undefined, checksum(block) === sum ? STATUS.ok : STATUS.failed);
      }
      case OP.DEFL_END: {
        const bytes = inflateSync(Buffer.concat(pending)).subarray(0, target.size);
        bytes.forEach((byte, i) => {
          flash[target.offset + i] &= byte;
        });
        if (noisy) flash[target.offset + 100] ^= 1;
        return reply(op);
      }
      case OP.FLASH_MD5: {
        const [at, size] = [data.readUInt32LE(0), data.readUInt32LE(4)];
        const digest = createHash("md5")
          .update(flash.subarray(at, at + size))
          .digest();
        return reply(op, 0, stub ? digest : Buffer.from(digest.toString("hex")));
      }
      default:
        return reply(op);
    }
  }

  let frame: number[] | null = null;
  let escaping = false;
  function take(byte: number): void {
    if (byte === END) {
      const whole = frame;
      frame = whole?.length ? null : [];
      if (!whole?.length) return;
      const bytes = Buffer.from(whole);
      if (bytes[0] === 0 && bytes.length === 8 + bytes.readUInt16LE(2))
        run(bytes[1], bytes.subarray(8), bytes.readUInt32LE(4));
    } else if (frame) {
      if (byte === ESC) escaping = true;
      else {
        frame.push(escaping ? (byte === 0xdc ? END : ESC) : byte);
        escaping = false;
      }
    }
  }

  function setSignals({ dataTerminalReady: dtr = signals.dtr, requestToSend: rts = signals.rts }: SerialOutputSignals) {
    // both transistors of the usual circuit: EN is low with RTS alone, IO0 is low with DTR alone
    const before = signals;
    signals = { dtr, rts };
    const inReset = (one: typeof signals) => one.rts && !one.dtr;
    if (inReset(before) && !inReset(signals)) {
      download = dtr && !rts;
      stub = false;
      running = !download;
      if (running) {
        board.starts++;
        send(Buffer.from(greeting));
      }
    }
  }

  board.port = {
    readable: null as ReadableStream<Uint8Array> | null,
    writable: null as WritableStream<Uint8Array> | null,
    getInfo: () => ({ usbVendorId: 0x10c4, usbProductId: 0xea60 }),
    async open(this: any) {
      if (open) throw new DOMException("The port is already open.", "InvalidStateError");
      open = true;
      this.readable = new ReadableStream<Uint8Array>({
        start(controller) {
          out = controller;
        },
        cancel() {
          out = null;
        },
      });
      this.writable = new WritableStream<Uint8Array>({
        write(bytes) {
          if (download || stub) for (const byte of bytes) take(byte);
          else typed += Buffer.from(bytes).toString();
        },
      });
    },
    async close(this: any) {
      open = false;
      out = null;
      this.readable = this.writable = null;
    },
    async setSignals(given: SerialOutputSignals) {
      setSignals(given);
    },
  } as unknown as SerialPort;
  return board;
}
