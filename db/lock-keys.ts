/**
 * Keys of all advisory locks of the system, in one place so that no two are equal: a lock taken for one thing must never
 * wait for another one. Keys below a thousand past the first are ours; tests use higher ones.
 */
export const lockKeys = {
  /** Held by a run of migrations. */
  migrations: 7_305_001,
  /** The first account, and changes that could leave no administrator. */
  accounts: 7_305_002,
  /** Changes of settings. */
  settings: 7_305_008,
  /** Creating saved commands, whose number is limited. */
  savedCommands: 7_305_009,
  /** First of two keys, the second is the hash of a host name: registrations of one name. */
  hostnames: 7_305_003,
  /** One worker at a time does each duty; held as long as its session lives. */
  duties: {
    outboxDrainer: 7_305_010,
    commandExpiry: 7_305_011,
    reconciler: 7_305_012,
    sealer: 7_305_013,
    presenceSweep: 7_305_014,
    eventRetention: 7_305_015,
    idempotencyRetention: 7_305_016,
    lagReport: 7_305_017,
    sessionRetention: 7_305_018,
    taskArchival: 7_305_019,
    attemptRetention: 7_305_020,
  },
} as const;
