/**
 * Holds Encrypt to Status: the key_id of an Encrypt must be one that Status said between the last answer before
 * it and the first one after it. kube-apiserver drops what says another.
 */

interface Said {
  readonly startedAt: number;
  readonly endedAt: number;
  readonly keyId: string;
}

/** See above. Times of the shared clock. */
export interface KeyIdCheck {
  status(said: Said): void;
  encrypt(said: Said): void;
}

const keptStatuses = 500;

/** @param onWrong told what was wrong, in a sentence */
export function createKeyIdCheck(onWrong: (what: string) => void): KeyIdCheck {
  const statuses: Said[] = [];
  let pending: Said[] = [];
  return {
    encrypt: (said) => void pending.push(said),
    status(said) {
      statuses.push(said);
      if (statuses.length > keptStatuses) statuses.shift();
      const ready = pending.filter(({ endedAt }) => endedAt <= said.startedAt);
      pending = pending.filter(({ endedAt }) => endedAt > said.startedAt);
      for (const { startedAt, keyId } of ready) {
        const before = statuses.findLast(({ endedAt }) => endedAt <= startedAt);
        const around = statuses.filter((each) => each.startedAt >= (before?.startedAt ?? 0));
        if (!around.some((each) => each.keyId === keyId))
          onWrong(`Encrypt said key_id ${keyId}, which Status did not say around it`);
      }
    },
  };
}
