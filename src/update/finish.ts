// The end of a file, and steps 7 to 9 of an update: the image in flash is verified, then its slot is selected.

import { checkNotRolledBack, recordSelected } from "../boot/boot-record";
import { select } from "../boot/boot-selection";
import { State } from "../boot/otadata";
import { checkStorage, findStorage } from "../boot/storage";
import type { StorageClaim } from "../boot/storage-claim";
import { Code, fault, guarded, type OtaError } from "../errors";
import { hashFlash, verifyImage } from "../image/verify";
import { seek } from "../net/download";
import { completeImage } from "../platform/first-word";
import { after } from "../platform/timers";
import { closeSession, failSession, Phase, type Session, succeed } from "./session";

/** Steps 8 and 9. `claim`: how the image reads Storage, null when that need not be asked. */
function commit(session: Session, claim: StorageClaim | null): void {
  const plan = session.plan_;
  const target = session.target_;
  const layout = session.layout_;
  if (!plan.allowRolledBack_) checkNotRolledBack(plan.digest_);
  if (claim) checkStorage(claim);
  // Step 8: now there is an image, and the record that counts its starts
  if (session.word_) completeImage(target.address, session.word_);
  recordSelected(target, layout.running_, session.written_, plan);
  // Step 9: the commit point
  select(layout, target, State.NEW);
  session.emit_("UPDATE_BOOT_PARTITION", target.subtype);
}

/** The last byte is in flash. */
export function endFile(session: Session): void {
  if (!session.resumed_) return succeed(session, true);
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
  // not before the receiver has returned: a file that does not fit is read again from its beginning
  after(0, () => {
    if (session.phase_ === Phase.VERIFYING)
      verifyImage(
        session.layout_.chip_,
        session.target_.address,
        session.written_,
        session.plan_.digest_,
        session.word_,
        onVerified,
      );
  });
}

/** In phase COMPLETE, or READY, which is too early. */
export function finish(session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void): void {
  const plan = session.plan_;
  const complete = session.phase_ === Phase.COMPLETE;
  session.reject_ = reject;
  session.phase_ = Phase.FINISHING;

  function end(error: OtaError | null): void {
    closeSession(session, error ? Phase.DEAD : Phase.FINISHED);
    session.emit_("FINISH");
    if (error) reject(error);
    else resolve(Code.OK);
    session.release_(error);
  }

  /** What is still to be asked of a verified image: its digest where nobody has given one, then how it reads Storage. */
  function onVerified(error: OtaError | null, found?: string | StorageClaim | null): void {
    if (session.phase_ !== Phase.FINISHING) return;
    // a mixture of two files: the next try may get one of them
    if (error && error.code === Code.OTA_VALIDATE_FAILED) error.retry = !!session.download_.mixed_;
    if (error) return end(error);
    guarded(() => {
      if (typeof found === "string") {
        plan.digest_ = found;
        found = null;
      }
      if (!plan.digest_) return hashFlash(session.target_.address, session.written_, session.word_, "", onVerified);
      if (plan.askStorage_) {
        plan.askStorage_ = false;
        return findStorage(session.target_.address, onVerified);
      }
      // in a later pass: until this one ends, what has read the image holds its memory
      after(0, () => {
        let failure: OtaError | null = null;
        if (session.phase_ !== Phase.FINISHING) return;
        guarded(
          () => commit(session, found as StorageClaim | null),
          (thrown) => {
            failure = thrown;
          },
        );
        end(failure);
      });
    }, end);
  }

  // Step 7: what is in flash is judged, not what came over the network
  const bytes = session.size_;
  if (!complete || (plan.size_ >= 0 && session.written_ !== bytes))
    onVerified(
      fault(
        Code.OTA_VALIDATE_FAILED,
        "image incomplete: " + session.written_ + (bytes < 0 ? "" : " of " + bytes) + " bytes",
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
    );
}
