// Broken updaters. Each is the readable bundle with an edit that takes one safeguard away, and the cell of the matrix
// in which the campaign notices. An edit that no longer applies fails its test.

import type { Campaign } from "./runner.ts";

export type Sabotage = {
  name: string;
  /** Each must be there exactly once. */
  edits: [RegExp, string][];
  /** Where it is caught, and by which campaign. */
  cell: string;
  campaign: Campaign["name"];
  /** What the campaign says of it. */
  says: RegExp;
};

const EVERY = "every";

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: "selects the slot before its image is verified",
    edits: [
      [
        /deselect_\(layout, target\);\n(\s+)begun = true;/,
        "deselect_(layout, target);\n$1lazyOtadata().select_(layout, target, 0);\n$1begun = true;",
      ],
    ],
    cell: "toy-two/one/current/update",
    campaign: EVERY,
    says: /falls back from ota_1/,
  },
  {
    name: "does not verify the image",
    edits: [
      [
        /verifyImage\(session\.layout_\.chip_, session\.target_\.address, session\.written_, plan\.digest_, session\.word_, onVerified\)/,
        "onVerified(null)",
      ],
    ],
    cell: "toy-two/one/current/corrupt",
    campaign: EVERY,
    says: /falls back from ota_1/,
  },
  {
    name: "compares no digest",
    edits: [[/wanted && digest !== wanted/, "false"]],
    cell: "toy-two/one/current/other",
    campaign: EVERY,
    says: /boots first/,
  },
  {
    name: "judges the checksum of a file that nobody vouches for by nothing",
    edits: [[/if \(sum\.value\(\) !== wanted\)/, "if (false)"]],
    cell: "toy-factory-one/blank/current/corrupt-insecure",
    campaign: EVERY,
    says: /falls back from ota_0/,
  },
  {
    name: "overwrites the entry of the slot that runs",
    edits: [[/copyToKeep\(layout, entries\) === 0 \? 1 : 0/, "copyToKeep(layout, entries) === 0 ? 0 : 1"]],
    cell: "toy-factory-two/one/current/update",
    campaign: EVERY,
    says: /boots factory/,
  },
  {
    name: "writes the slot that runs",
    edits: [
      [/lazySlots\(\)\.nextSlot_\(layout, layout\.running_\) :/, "layout.running_ :"],
      [/if \(target\.address === layout\.running_\.address\)/, "if (false)"],
      [/if \(slot\.address === layout\.running_\.address\)(\s+throw)/, "if (false)$1"],
    ],
    cell: "toy-two/one/current/update",
    campaign: EVERY,
    says: /while ota_0 runs|nothing boots/,
  },
  {
    name: "counts the sequence number one too far",
    edits: [[/return next < ERASED \? next : 0;/, "return next + 1;"]],
    cell: "toy-two/one/current/update",
    campaign: EVERY,
    says: /comes to no end/,
  },
  {
    name: "takes the next sequence number, whatever slot it names",
    edits: [[/ \+ \(\(index - slotOfSeq\(seq \+ 1, count\) \+ count\) % count\)/, ""]],
    cell: "toy-three/two-1/current/setBoot:ota_0",
    campaign: EVERY,
    says: /boots ota_2/,
  },
  {
    name: "does not read back what it wrote",
    edits: [
      [/flash\.write\(bytes, addr\);\n\s+if \(!holds\(addr, bytes\)\)/, "flash.write(bytes, addr);\n    if (false)"],
    ],
    cell: "toy-two/one/current/setBoot:ota_1",
    campaign: "lies",
    says: /was reported as done/,
  },
  {
    name: "does not read back what it erased",
    edits: [[/flash\.erasePage\(addr\);\n\s+if \(!isBlank\(addr\)\)/, "flash.erasePage(addr);\n    if (false)"]],
    cell: "toy-two/one/current/second",
    campaign: "lies",
    says: /./,
  },
  {
    name: "goes on with whatever the slot holds",
    edits: [[/if \(!holds\(slot\.address \+ at, .*\)\)/, "if (false)"]],
    cell: "toy-two/pieces/current/update",
    campaign: EVERY,
    says: /fetched/,
  },
  {
    name: "believes that what it went on with fits",
    edits: [
      [/session\.verified_ = !error;/, "session.verified_ = true;"],
      [/lazySession\(\)\.succeed_\(session, !error\);/, "lazySession().succeed_(session, true);"],
    ],
    cell: "toy-two/one/current/resumed-alike",
    campaign: EVERY,
    says: /falls back|boots/,
  },
  {
    name: "erases no sector ahead",
    edits: [
      [/if \(more\)(?=\s+makeBlank\(sector \+ )/, "if (false)"],
      [/if \(more && !ahead\)/, "if (false)"],
    ],
    cell: "toy-two/pieces/current/update",
    campaign: EVERY,
    says: /fetched/,
  },
  {
    name: "confirms the other slot's entry",
    edits: [
      [
        /seqFor\(layout, entries, layout\.running_\), 2 \/\* State\.VALID \*\/\);\n\s+erase/,
        "seqFor(layout, entries, lazySlots().nextSlot_(layout, layout.running_)), 2);\n    erase",
      ],
    ],
    cell: "toy-two/one/current/markValid",
    campaign: EVERY,
    says: /old/,
  },
  {
    name: "confirms by erasing first",
    edits: [
      [
        /writeEntry\(layout, 1 - copy, (seqFor\(layout, entries, layout\.running_\)), 2 \/\* State\.VALID \*\/\);\n\s+erase\((.*)\);/,
        "var seq = $1; erase($2); writeEntry(layout, 1 - copy, seq, 2);",
      ],
    ],
    cell: "toy-two/one/current/markValid",
    campaign: EVERY,
    says: /boots old/,
  },
  {
    name: "erases the active copy first when factory is selected",
    edits: [[/var active = (.*) === 1 \? 1 : 0/, "var active = $1 === 1 ? 0 : 1"]],
    cell: "toy-factory-two/two-0/current/setBoot:factory",
    campaign: EVERY,
    says: /boots ota_1/,
  },
  {
    name: "leaves the slot selected that it is about to write",
    edits: [[/lazyOtadata\(\)\.deselect_\(layout, target\);\n(\s+begun = true;)/, "$1"]],
    cell: "toy-two/one/current/second",
    campaign: EVERY,
    says: /falls back from ota_1/,
  },
  {
    name: "overwrites the entry of the slot that runs when another one is selected",
    edits: [[/var keep = copyOf\(layout, entries, layout\.running_\);/, "var keep = -1;"]],
    cell: "toy-three/two-1/rollback/chosen-twice",
    campaign: EVERY,
    says: /ends in|comes to no end/,
  },
  {
    name: "leaves the other entry naming the slot that it is about to write",
    edits: [[/if \(names\(layout, entries\[1 - last\], target\)\)/, "if (false)"]],
    cell: "toy-two/two-0/current/update",
    campaign: EVERY,
    says: /an entry names ota_1, which holds no whole image/,
  },
  {
    name: "deselects without making sure that the slot that runs is left",
    edits: [[/if \(selected !== layout\.running_\.address && !left\)/, "if (false)"]],
    cell: "toy-factory-two/alone/current/update",
    campaign: EVERY,
    says: /boots factory/,
  },
  {
    name: "leaves a broken slot selected whose fallback leads to the slot that it is about to write",
    edits: [[/if \(selected !== layout\.running_\.address && !left\)/, "if (selected === target.address && !left)"]],
    cell: "toy-factory-two/past/current/given-up",
    campaign: EVERY,
    says: /ends in new/,
  },
  {
    name: "writes an image's first word before it is verified",
    edits: [[/var skipped = sector === slot\.address \? 4 .* : 0;/, "var skipped = 0;"]],
    cell: "toy-two/one/current/other",
    campaign: EVERY,
    says: /holds first, which could start/,
  },
  {
    name: "leaves the first word of an image that is about to become another one",
    edits: [[/lazyEngine\(\)\.clearWord_\(slot\.address\);/, ";"]],
    cell: "toy-two/one/current/refused-again",
    campaign: EVERY,
    says: /could start/,
  },
  {
    name: "obeys states where the bootloader does not",
    edits: [[/return \(own >= 0 &&\n(\s+)!entries\[own\]\.valid_/, "return (false &&\n$1!entries[own].valid_"]],
    cell: "toy-two/aborted/idf3/update",
    campaign: EVERY,
    says: /boots ota_0/,
  },
  {
    name: "believes in any release that is signed",
    edits: [[/manifest\.sequence < facts\.sequence_/, "false"]],
    cell: "toy-two/one/current/signed-replay",
    campaign: EVERY,
    says: /was accepted|ends in first/,
  },
  {
    name: "confirms whatever the check says",
    edits: [[/answer !== true/, "false"]],
    cell: "toy-two/one/current/confirmAfter-no",
    campaign: EVERY,
    says: /ends in new/,
  },
  {
    name: "does not count the starts of a trial",
    edits: [[/lazyRecords\(\)\.countStart_\(record\);(?=\s+counted)/, ""]],
    cell: "toy-two/one/current/trial",
    campaign: EVERY,
    says: /./,
  },
  {
    name: "writes the trial down after the slot is selected",
    edits: [
      [
        /(lazyRecords\(\)\.recordSelected_\([^;]*\);)\n\s+\/\/[^\n]*\n\s+(lazyOtadata\(\)\.select_\(layout, target, 0 \/\* State\.NEW \*\/\);)/,
        "$2 $1",
      ],
    ],
    cell: "toy-two/one/current/given-up",
    campaign: EVERY,
    says: /ends in new/,
  },
  {
    name: "forgets which image it gave up",
    edits: [[/record\.bad = \[digest\]/, "record.bad = []"]],
    cell: "toy-two/one/current/bad-image",
    campaign: EVERY,
    says: /comes to no end/,
  },
  {
    name: "selects a slot that was not verified",
    edits: [
      [
        /verifyImage\(layout\.chip_, slot\.address, slot\.size, "", "", function \(failure\) \{/,
        "(function (fn) { fn(null); })(function (failure) {",
      ],
    ],
    cell: "toy-two/fallen/current/refused",
    campaign: EVERY,
    says: /was accepted/,
  },
  {
    name: "removes the last record before the next one is written",
    edits: [
      [/ \|\| !append\(record, sealed\)\)(?=\s+create)/, " || true)"],
      [/create\(record, before \? 0 : 1, sealed, 3\)/, "create(record, before < 0 ? 0 : before, sealed, 3)"],
    ],
    cell: "toy-two/one/current/trial",
    campaign: EVERY,
    says: /ends in new/,
  },
  {
    name: "does not look at the room in Storage",
    edits: [[/if \(free < needed\)/, "if (false)"]],
    cell: "toy-two/storage-trash/current/update",
    campaign: EVERY,
    says: /erase at 0x3\w+ while/,
  },
  {
    name: "believes that a record is there which it has written",
    edits: [[/return .*\.substr\(record\.end_, sealed\.length\) === sealed;/, "return true;"]],
    cell: "toy-two/one/current/given-up",
    campaign: "lies",
    says: /ends in new|comes to no end/,
  },
  {
    name: "does not ask where an image keeps its files",
    edits: [[/if \(claim\)\s+lazy\w+\(\)\.checkStorage_\(claim\);/, ""]],
    cell: "toy-two/moved/current/other-storage",
    campaign: EVERY,
    says: /app\.js is gone/,
  },
  {
    name: "does not look at load addresses",
    edits: [[/if \(!isLoadable\(chipId, loadAddr, length\)\)/, "if (false)"]],
    cell: "toy-two/one/idf33/corrupt-address",
    campaign: EVERY,
    says: /nothing boots/,
  },
  {
    name: "writes a record together with its file's header",
    edits: [
      [/(writeFile_\(NAME \+ file), String\.fromCharCode\(255\)/, "$1, sealed"],
      [/ && append\(record, sealed\)\)\n(\s+)return;/, ")\n$1return;"],
    ],
    cell: "toy-two/storage-torn/current/update",
    campaign: EVERY,
    says: /Storage is corrupt/,
  },
  {
    name: "lets a file's header lie across two pages",
    edits: [[/\(stats\.totalBytes - free\) % 4096/, "0 % 4096"]],
    cell: "toy-two/storage-across/current/update",
    campaign: EVERY,
    says: /Storage is corrupt/,
  },
];

/** The bundle with the safeguard gone. Throws when an edit does not apply, or in more than one place. */
export function sabotage(bundle: string, { name, edits }: Sabotage): string {
  let broken = bundle;
  for (const [pattern, replacement] of edits) {
    const found = broken.match(new RegExp(pattern.source, "g"))?.length ?? 0;
    if (found !== 1) throw new Error(`${name}: ${found} places match ${pattern}: rewrite this edit`);
    broken = broken.replace(pattern, replacement);
  }
  return broken;
}
