// What the Storage of a new board holds: loader, module and boot record first, then the Wi-Fi, then the first release under
// the names of its contents.
import { setText } from "../../boot/file-set.ts";
import { sizeText } from "../formats/bytes.ts";
import { WIFI_FILE } from "../formats/factory-folder.ts";
import { fsverity } from "../formats/fsverity.ts";
import { buildStorage, type StorageFile, storageUse, storedSize } from "../formats/storage-image.ts";
import { LOADER, type LoaderConfig, loaderText } from "../push/loader.ts";
import { builtFile, MODULE_FILE } from "../push/storage-file.ts";
import type { Claims } from "../release/manifest.ts";
import { type Program, sha256Of } from "../release/program.ts";
import { fileSetOf, nameInStorage } from "../release/space.ts";
import { refuse } from "../ui/errors.ts";
import type { EspruinoBuild } from "./espruino-build.ts";
import { firstRecord, RECORD_FILE, RECORD_SIZE } from "./record.ts";
import { type Wifi, wifiFile } from "./wifi.ts";

export interface Release {
  /** the manifest, for messages */
  file: string;
  claims: Claims;
  program: Program;
}

export interface StoragePlan {
  build: EspruinoBuild;
  config: LoaderConfig;
  release: Release | null;
  wifi: Wifi | null;
}

export interface Storage {
  bytes: Buffer;
  files: StorageFile[];
  used: number;
  free: number;
  notes: string[];
}

/** The files of the release, each content once, and the list of them first. */
function releaseFiles({ claims, program }: Release): StorageFile[] {
  const list = Buffer.from(setText(fileSetOf(claims)), "latin1");
  const contents = new Map<string, Uint8Array>([[nameInStorage(sha256Of(list)), list]]);
  for (const { bytes } of program.files) if (bytes.length) contents.set(nameInStorage(sha256Of(bytes)), bytes);
  return [...contents].map(([name, bytes]) => ({ name, bytes }));
}

function recordFile({ app, slot }: EspruinoBuild, { claims }: Release, set: string): StorageFile {
  const digest = fsverity(app.bytes).replace(/^sha256:/, "");
  return {
    name: RECORD_FILE,
    bytes: firstRecord({ claims, slot: slot.label, app, digest, set }),
    size: RECORD_SIZE,
  };
}

function filesOf({ build, config, release, wifi }: StoragePlan): StorageFile[] {
  const own: StorageFile[] = [
    { name: LOADER, bytes: Buffer.from(loaderText(config), "latin1") },
    { name: "https-ota", bytes: Buffer.from(builtFile(MODULE_FILE), "latin1") },
  ];
  const program = release ? releaseFiles(release) : [];
  if (release) own.push(recordFile(build, release, program[0].name));
  if (wifi) own.push({ name: WIFI_FILE, bytes: wifiFile(wifi) });
  return [...own, ...program];
}

/** Refuses what does not fit. A device creates the second file of its boot record later, and needs the room for it. */
export function storageFor(plan: StoragePlan): Storage {
  const { storage } = plan.build.app;
  const files = filesOf(plan);
  const used = storageUse(files);
  const record = plan.release ? storedSize(RECORD_SIZE) : 2 * storedSize(RECORD_SIZE);
  const free = storage.size - used - record;
  if (free < 0)
    refuse(
      plan.release?.program.where ?? "Storage",
      `loader, module, boot record and files take ${used + record} bytes of Storage, this board has ${storage.size} ` +
        `(${sizeText(storage.size)}): leave files out, or sign them with --minify`,
    );
  const notes: string[] = [];
  const again = plan.release ? storageUse(releaseFiles(plan.release)) : 0;
  if (again > free)
    notes.push(
      `${free} bytes of Storage stay free, the files of this release take ${again}: ` +
        "a second release only fits when it shares files with this one",
    );
  return { bytes: buildStorage(files, storage.size), files, used, free, notes };
}
