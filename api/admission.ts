/** So many of each key in a window, and how many were left out: what may be written without being a way to flood. */

/** Keys remembered at once; above, those whose window is over are forgotten, and then the oldest. */
const MAX_REMEMBERED = 10_000;

interface Window {
  endsAt: number;
  admitted: number;
  leftOut: number;
}

export interface AdmissionOptions {
  /** Admitted of one key in one window. */
  most: number;
  windowMs: number;
  /** Milliseconds; replaced in tests. */
  now?: () => number;
}

export interface Admission {
  /** How many of this key were left out since the last one, or null when this one is to be left out as well. */
  admit(key: string): number | null;
}

export function createAdmission({ most, windowMs, now = Date.now }: AdmissionOptions): Admission {
  const windows = new Map<string, Window>();
  return {
    admit(key) {
      const at = now();
      const last = windows.get(key);
      if (last !== undefined && last.endsAt > at) {
        if (last.admitted >= most) {
          last.leftOut += 1;
          return null;
        }
        last.admitted += 1;
        return 0;
      }
      if (windows.size >= MAX_REMEMBERED) forgetSome(at);
      windows.delete(key);
      windows.set(key, { endsAt: at + windowMs, admitted: 1, leftOut: 0 });
      return last?.leftOut ?? 0;
    },
  };

  function forgetSome(at: number): void {
    for (const [key, { endsAt }] of windows) {
      // Oldest first: a map keeps the order in which its keys came.
      if (endsAt > at && windows.size < MAX_REMEMBERED) return;
      windows.delete(key);
    }
  }
}
