// What the program uses of the device, for the compiler.
declare function require(name: "Storage"): { read(name: string): string | undefined };
declare function require(name: "https-ota"): {
  file(name: string): string;
  confirmAfter(ms: number, check: () => boolean): void;
};
declare function setInterval(callback: () => void, ms: number): number;
