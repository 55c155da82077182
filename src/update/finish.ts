// The end of a file, and steps 7 to 9 of an update: verifies the image in flash, then selects its slot.

import { checkNotRolledBack, recordSelected } from "../boot/boot-record";
import { readEntries, select, selectedSlot } from "../boot/boot-selection";
import { State } from "../boot/otadata";
import { checkStorage, findStorage } from "../boot/storage";
import type { StorageClaim } from "../boot/storage-claim";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import { hashFlash, verifyImage } from "../image/verify";
import { seek } from "../net/download";
import { completeImage } from "../platform/first-word";
import { after } from "../platform/timers";
import { closeSession, failSession, Phase, type Session, succeed } from "./session";

/** Steps 8 and 9. `claim`: where the image keeps Storage, null when that is not checked. */
function commit(session: Session, claim: StorageClaim | null): void {
  const plan = session.plan_;
  const target = session.target_;
  const layout = session.layout_;
  checkNotRolledBack(plan);
  if (claim) checkStorage(claim);
  // Step 8: the slot now holds an image, and the boot record counts its starts
  if (session.word_) completeImage(target.address, session.word_);
  const filesOnly = target.address === layout.running_.address;
  // another slot that was selected since the start is given up, as by step 5: the files are for the one that runs
  if (filesOnly && selectedSlot(layout, readEntries(layout.otadata_)).address !== target.address)
    select(layout, target, State.VALID);
  recordSelected(target, layout.running_, session.written_, plan);
  // of a release of files alone that record is the commit point
  if (filesOnly) return;
  // Step 9: the commit point
  select(layout, target, State.NEW);
  session.emit_("UPDATE_BOOT_PARTITION", target.subtype);
}

/** To be called when the last byte is in flash. A resumed file is verified before perform() ends. */
export function endFile(session: Session): void {
  session.phase_ = Phase.VERIFYING;
  function onVerified(error: OtaError | null): void {
    if (session.phase_ !== Phase.VERIFYING) return;
    if (error && error.code !== Code.OTA_VALIDATE_FAILED) return failSession(session, error);
    session.resumed_ = false;
    session.verified_ = !error;
    // the resumed part belonged to another file
    if (error) seek(session.download_, 0);
    succeed(session, !error);
  }
  // after the receiver has returned: its memory is needed, and a wrong file is read again from byte 0
  after(0, () => {
    if (session.phase_ !== Phase.VERIFYING) return;
    if (!session.resumed_) return succeed(session, true);
    verifyImage(
      session.layout_.chip_,
      session.target_.address,
      session.written_,
      session.plan_.digest_,
      session.word_,
      onVerified,
      session.hasher_,
    );
  });
}

/** Steps 8 and 9, in a later idle pass: until this one ends, the functions that have read the image hold their memory. */
function commitLater(session: Session, claim: StorageClaim | null, end: (error: OtaError | null) => void): void {
  after(0, () => {
    let failure: OtaError | null = null;
    if (session.phase_ !== Phase.FINISHING) return;
    tryOr(
      () => commit(session, claim),
      (thrown) => {
        failure = thrown;
      },
    );
    end(failure);
  });
}

/**
 * In phase COMPLETE; in READY it rejects, because it is too early.
 * More than 30 lines: its callbacks share the session, and each further closure would hold more JsVars while the image is hashed.
 */
export function finish(session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void): void {
  const plan = session.plan_;
  session.reject_ = reject;
  session.phase_ = Phase.FINISHING;

  function end(error: OtaError | null): void {
    closeSession(session, error ? Phase.DEAD : Phase.FINISHED);
    session.hasher_ = undefined;
    session.emit_("FINISH");
    if (error) reject(error);
    else resolve(Code.OK);
    session.release_(error);
  }

  /** After the image is verified: computes its digest where none was given, then finds where it keeps Storage. */
  function onVerified(error: OtaError | null, found?: string | StorageClaim | null): void {
    if (session.phase_ !== Phase.FINISHING) return;
    // parts of two files may be mixed: the next try may get one whole file
    if (error && error.code === Code.OTA_VALIDATE_FAILED) error.retry = !!session.download_.mixed_;
    if (error) return end(error);
    tryOr(() => {
      if (typeof found === "string") {
        plan.digest_ = found;
        found = null;
      }
      if (!plan.digest_)
        return hashFlash(session.target_.address, session.written_, session.word_, "", onVerified, session.hasher_);
      if (plan.askStorage_) {
        plan.askStorage_ = false;
        return findStorage(session.target_.address, onVerified);
      }
      commitLater(session, found as StorageClaim | null, end);
    }, end);
  }

  // Step 7: the bytes in flash are verified, not those that came over the network
  if (!session.complete_ || (plan.size_ >= 0 && session.written_ !== session.size_))
    onVerified(
      otaError(
        Code.OTA_VALIDATE_FAILED,
        "image incomplete: " + session.written_ + (session.size_ < 0 ? "" : " of " + session.size_) + " bytes",
      ),
    );
  else if (session.verified_) onVerified(null);
  else
    verifyImage(
      session.layout_.chip_,
      session.target_.address,
      session.written_,
      plan.digest_,
      session.word_,
      onVerified,
      session.hasher_,
    );
}
